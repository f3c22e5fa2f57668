-- Reads the key that signs the tickets of the shard.
-- Needs:   shard
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Returns: the key, or nil if no ticket was ever given
return redis.call('GET', P .. 'ticket_key')
