-- Takes changes of orders off the feed that are too old to be kept, the oldest first. Safe to send twice, from any number of
-- processes.
-- Needs:   trim
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 how long they are kept in ms, 2 how many entries at most
-- Returns: 1 if there is no more to do, else 0
return trim_events(NOW - ARGV[1], tonumber(ARGV[2])) and 1 or 0
