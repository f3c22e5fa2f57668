-- Writes, to show that the shard takes writes, and notes that the store is at work. Safe to send twice.
-- Needs:   time
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 '1' if the caller has written here before: then a shard without a trace of it was emptied meanwhile
-- Returns: 1
if ARGV[1] == '1' and not beat_times().known and redis.call('EXISTS', P .. 'beat') == 0 then
  set_aside('store', 'emptied', 'all that it held is gone')
end
-- What was to be done at a time has to be done as much earlier when the clock was set back.
local MANY = 100000
local function earlier(list, by)
  local rows = redis.call('ZRANGE', P .. list, 0, MANY - 1, 'WITHSCORES')
  for i = 1, #rows, 2 do redis.call('ZADD', P .. list, rows[i + 1] - by, rows[i]) end
end
if beat_times().back > 0 then
  earlier('delayed', beat_times().back)
  earlier('refunds', beat_times().back)
  local this = math.floor(NOW / 1000)
  for s = this, this + 120 do redis.call('UNLINK', P .. 'second:' .. s) end
end
beat()
return 1
