-- Reads how the sale stood, the oldest first.
-- Needs:   shard
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Returns: the figures of each second that was noted
return redis.call('ZRANGE', P .. 'past', 0, -1)
