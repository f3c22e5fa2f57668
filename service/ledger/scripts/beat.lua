-- Writes, to show that the shard takes writes, and notes that the store is at work. Safe to send twice.
-- Keys:    1 the shard's prefix
-- Returns: 1
beat()
return 1
