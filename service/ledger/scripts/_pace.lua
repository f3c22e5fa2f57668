-- The pace of the queue: docs/decisions/orders-pace.md says why it is measured so.
-- Needs:   time, writes

-- Notes whether anything happened in this second and the n before: a step that needs many reads none at rest.
local at_rest = false
local function look_for_seconds(n)
  local keys, this = {}, math.floor(NOW / 1000)
  for s = this - n, this do keys[#keys + 1] = P .. 'second:' .. s end
  at_rest = redis.call('EXISTS', unpack(keys)) == 0
end

-- Sums the fields over the last n whole seconds.
local function window(n, ...)
  local sums, this = {}, math.floor(NOW / 1000)
  for i = 1, select('#', ...) do sums[i] = 0 end
  if at_rest then return unpack(sums) end
  for s = this - n, this - 1 do
    local row = redis.call('HMGET', P .. 'second:' .. s, ...)
    for i = 1, #sums do sums[i] = sums[i] + (tonumber(row[i]) or 0) end
  end
  return unpack(sums)
end

-- Orders waiting or being processed.
local function queue_length()
  return redis.call('XLEN', P .. 'queue') + redis.call('ZCARD', P .. 'delayed')
end

-- Orders that no worker has in hand: those that stand before the next one.
local function line_length()
  local held = redis.pcall('XPENDING', P .. 'queue', GROUP)
  return math.max(redis.call('XLEN', P .. 'queue') - (held.err and 0 or held[1]), 0)
end

-- Orders per 1000 s that the workers settle while a line waits, by `busy_n` and `busy_ms`; else as last known, else 0.
local EVIDENCE, ENOUGH = 200, 10000
local function capacity_milli(n, ms)
  local now = at_rest and {} or redis.call('HMGET', P .. 'second:' .. math.floor(NOW / 1000), 'busy_n', 'busy_ms')
  n, ms = n + (tonumber(now[1]) or 0), ms + (tonumber(now[2]) or 0)
  if ms >= EVIDENCE then return math.floor(n * 1000000 / ms), ms end
  return tonumber(redis.call('HGET', P .. 'totals', 'capacity')) or 0, 0
end

-- Orders per 1000 s: drain (by which waits are predicted), capacity, and what was settled in the last 10 s.
local function rates()
  local settled, n, ms = window(10, 'settled', 'busy_n', 'busy_ms')
  local capacity, seen = capacity_milli(n, ms)
  local drain = seen >= ENOUGH and capacity or math.max(capacity, settled * 100)
  if drain == 0 then drain = tonumber(redis.call('HGET', P .. 'totals', 'drain')) or 0 end
  return drain, capacity, settled * 100
end

-- Notes that n orders were settled just now, and the time since the last settlement if a line waited all the while: of it,
-- no more than the workers took over the longest of these orders, which is `worked` ms.
local LONGEST = 60000
local function pace(n, worked)
  local since = tonumber(redis.call('HGET', P .. 'totals', 'busy')) or 0
  if since > resumed() then
    incr_window('busy_n', n)
    incr_window('busy_ms', math.max(math.min(NOW - since, worked, LONGEST), 0))
  end
  local _, capacity, settled = rates()
  redis.call('HSET', P .. 'totals', 'busy', line_length() > 0 and NOW or 0, 'capacity', capacity)
  if settled > 0 then redis.call('HSET', P .. 'totals', 'drain', settled) end
end

-- Notes that workers took orders in hand: when they have all of them, nobody waits any more.
local function took_in_hand()
  local busy = redis.call('HGET', P .. 'totals', 'busy')
  if busy and busy ~= '0' and line_length() == 0 then redis.call('HSET', P .. 'totals', 'busy', 0) end
end

-- The place that the next order takes in the queue, and how long it will wait for a worker in ms; -1 when nobody knows.
local queued, line, drain
local function promise()
  queued, line = queued or queue_length(), line or line_length()
  local ahead = line
  queued, line = queued + 1, line + 1
  if ahead == 0 then return queued, 0 end
  drain = drain or rates()
  return queued, drain > 0 and math.floor(ahead * 1000000 / drain) or -1
end
