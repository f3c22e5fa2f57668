-- Says that a consumer is alive, and gives it entries of those whose heartbeat stopped. A consumer with nothing left
-- is forgotten. Safe to send twice: an entry given by a reply that was lost is in the caller's own pending list.
-- Needs:   time
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 consumer, 2 silence in ms that means death, 3 how many entries at most
-- Returns: entries {entry id, {'o', order id, 't', traceparent}}
local me, room = ARGV[1], tonumber(ARGV[3])
local queue, workers = P .. 'queue', P .. 'workers'
redis.call('ZADD', workers, NOW, me)
-- A heartbeat from the future is left from before the clock was set back: its silence begins now.
for _, consumer in ipairs(redis.call('ZRANGEBYSCORE', workers, '(' .. NOW, '+inf')) do
  redis.call('ZADD', workers, NOW, consumer)
end
-- Who was forgotten and reads again, or read before its first heartbeat, has no heartbeat to stop: it gets one here.
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', queue, GROUP)) do
  redis.call('ZADD', workers, 'NX', NOW, consumer[2])
end
local taken = {}
local known = redis.call('ZRANGE', workers, 0, -1, 'WITHSCORES')
for i = 1, #known, 2 do
  local silent = known[i]
  if room <= 0 or since(known[i + 1]) < tonumber(ARGV[2]) then break end
  local ids = {}
  for _, row in ipairs(redis.call('XPENDING', queue, GROUP, '-', '+', room, silent)) do ids[#ids + 1] = row[1] end
  if #ids > 0 then
    for _, entry in ipairs(redis.call('XCLAIM', queue, GROUP, me, 0, unpack(ids))) do taken[#taken + 1] = entry end
    room = room - #ids
  else
    redis.call('XGROUP', 'DELCONSUMER', queue, GROUP, silent)
    redis.call('ZREM', workers, silent)
  end
end
return taken
