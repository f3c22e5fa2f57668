-- What a process does once a second for its fleet in a store of one shard: `lease.lua`, then `snapshot.lua`. Safe to send twice.
-- Needs:   snapshot, lease
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 name of the lease, 2 who asks, 3 how long in ms
-- Returns: {1 if the lease is the caller's now, else 0, what `snapshot.lua` returns}
return {take_lease(ARGV[1], ARGV[2], ARGV[3]), snapshot()}
