-- Takes or keeps a lease: one holder at a time, until its time runs out. Safe to send twice.
-- Needs:   lease
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 name of the lease, 2 who asks, 3 how long in ms
-- Returns: 1 if it is the caller's now, else 0
return take_lease(ARGV[1], ARGV[2], ARGV[3])
