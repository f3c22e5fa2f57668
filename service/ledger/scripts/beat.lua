-- Writes, to show that the shard takes writes, and notes that the store is at work. Safe to send twice.
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 '1' if the caller has written here before: then a shard without a trace of it was emptied meanwhile
-- Returns: 1
if ARGV[1] == '1' and redis.call('EXISTS', P .. 'beat') == 0 then
  set_aside('store', 'emptied', 'all that it held is gone')
end
beat()
return 1
