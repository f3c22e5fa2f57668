-- Notes how the sale stands now, for whoever looks back later, and forgets what is too long ago. The processes of a fleet
-- all do so: of one second the first point is kept. Safe to send twice.
-- Needs:   shard
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 when in ms, 2 the figures as text, 3 how long to keep them in ms
-- Returns: 1 if it was noted, 0 if that second had its point
local APART, AHEAD = 600, 10000 -- what is further ahead was noted before the clock was set back
local past, when = P .. 'past', tonumber(ARGV[1])
local function at(time) return string.format('%.0f', time) end
local function has_point() return redis.call('ZCOUNT', past, at(when - APART), '+inf') > 0 end
if has_point() then
  redis.call('ZREMRANGEBYSCORE', past, at(when + AHEAD), '+inf')
  if has_point() then return 0 end
end
redis.call('ZADD', past, at(when), ARGV[2])
if math.floor(when / 1000) % 10 == 0 then -- is often enough
  redis.call('ZREMRANGEBYSCORE', past, '-inf', '(' .. at(when - ARGV[3]))
  redis.call('PEXPIRE', past, ARGV[3])
end
return 1
