-- Adds what one process gathered to the windows of all. Safe to send twice: a lot counts once.
-- Keys:    1 the prefix of all keys, with a hash tag; 2 another that never exists
-- Args:    1 the process, 2 number of the lot, 3 seconds a slot, 4 seconds to keep, 5 errors to keep, 6 silence in ms,
--          7 the lot in JSON:
--          {slots: [[age in ms, {field: count}]], errors: [[epoch in ms, text]], now: text}
-- Returns: 1 if it counted or there was nothing to count, 0 if it had counted before
local P, SOURCE, NUMBER = KEYS[1], ARGV[1], tonumber(ARGV[2])
local SLOT, KEEP, ERRORS, SILENCE = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local lot = cjson.decode(ARGV[7])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

-- Figures that end by themselves: a key that somebody overwrote is begun anew.
local function begun_anew(key, kind)
  if redis.call('TYPE', key).ok ~= kind then redis.call('UNLINK', key) end
end

-- What a process says of itself stands until it is silent; a lot sent again says it again. What is of the future was said
-- before the clock was set back.
begun_anew(P .. 'now', 'hash')
local says = redis.call('HGETALL', P .. 'now')
for i = 1, #says, 2 do
  local age = now - (tonumber(string.match(says[i + 1], '^%d+ ')) or 0)
  if age > SILENCE or age < -SILENCE then redis.call('HDEL', P .. 'now', says[i]) end
end
redis.call('HSET', P .. 'now', SOURCE, string.format('%.0f', now) .. ' ' .. lot.now)
redis.call('EXPIRE', P .. 'now', KEEP)
if #lot.slots == 0 and #lot.errors == 0 then return 1 end

local last = P .. 'lot:' .. SOURCE
begun_anew(last, 'string')
for key, kind in pairs({cleared = 'string', latest = 'string', errors = 'zset'}) do begun_anew(P .. key, kind) end
if (tonumber(redis.call('GET', last)) or 0) >= NUMBER then return 0 end
redis.call('SET', last, NUMBER, 'EX', KEEP)
local cleared = tonumber(redis.call('GET', P .. 'cleared')) or 0
if cleared > now then cleared = 0 end

-- Slots of the future are left from before the clock was set back: what is counted now would be added to them.
local this = math.floor(now / 1000 / SLOT)
local latest = math.min(tonumber(redis.call('GET', P .. 'latest')) or 0, this + KEEP / SLOT)
if latest > this then
  for number = this, latest do redis.call('UNLINK', P .. 'window:' .. number) end
end
redis.call('SET', P .. 'latest', this, 'EX', KEEP)

for _, slot in ipairs(lot.slots) do
  local at = now - slot[1]
  local start = math.floor(at / 1000 / SLOT) * SLOT
  if at >= cleared and start + KEEP > now / 1000 then
    local key = P .. 'window:' .. start / SLOT
    for field, count in pairs(slot[2]) do
      count = string.format('%.0f', count)
      if type(redis.pcall('HINCRBY', key, field, count)) == 'table' then
        redis.call('UNLINK', key)
        redis.call('HINCRBY', key, field, count)
      end
    end
    redis.call('EXPIREAT', key, start + KEEP)
  end
end

if #lot.errors > 0 then
  local key = P .. 'errors'
  for _, entry in ipairs(lot.errors) do
    if entry[1] >= cleared then redis.call('ZADD', key, string.format('%.0f', entry[1]), entry[2]) end
  end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - KEEP * 1000)
  redis.call('ZREMRANGEBYRANK', key, 0, -ERRORS - 1)
  redis.call('EXPIRE', key, KEEP)
end
return 1
