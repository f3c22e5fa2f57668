-- A consumer goes. What it holds unfinished is given to the next consumer at once. Safe to send twice.
-- Needs:   shard
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 consumer
-- Returns: how many entries it left behind
local mine = 0
for _, row in ipairs(redis.call('XPENDING', P .. 'queue', GROUP)[4] or {}) do
  if row[1] == ARGV[1] then mine = tonumber(row[2]) end
end
if mine == 0 then
  redis.call('XGROUP', 'DELCONSUMER', P .. 'queue', GROUP, ARGV[1])
  redis.call('ZREM', P .. 'workers', ARGV[1])
else
  redis.call('ZADD', P .. 'workers', 0, ARGV[1])
end
return mine
