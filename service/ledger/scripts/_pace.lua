-- The pace of the queue: docs/decisions/orders-pace.md says why it is measured so.
-- Needs:   time, writes

-- Notes whether anything happened in this second and the n before: a step that needs many reads none at rest. Returns whether
-- there is one of them, or of other keys.
local at_rest = false
local function look_for_seconds(n, ...)
  local keys, this = {...}, math.floor(NOW / 1000)
  for s = this - n, this do keys[#keys + 1] = P .. 'second:' .. s end
  at_rest = redis.call('EXISTS', unpack(keys)) == 0
  return not at_rest
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

-- Orders that no worker has in hand: those that stand before the next one, of so many in the queue.
local function line_length(entries)
  local pending = redis.pcall('XPENDING', P .. 'queue', GROUP)
  return math.max((entries or redis.call('XLEN', P .. 'queue')) - (pending.err and 0 or pending[1]), 0)
end

-- Orders per 1000 s: drain (by which waits are predicted), capacity, and what was settled in the last 10 s. Capacity is what the
-- workers settle while a line waits, by `busy_n` and `busy_ms`; else as last known, else 0. The last 10 s are whole seconds, so
-- that their sums are the same all through the present one: a step that writes may keep them there, as `before`. `known`: the capacity and the drain of the totals, where they were read.
local EVIDENCE, ENOUGH = 200, 10000
local function rates(keep, known)
  local now = at_rest and {} or redis.call('HMGET', SECOND, 'before', 'busy_n', 'busy_ms')
  local settled, n, ms = string.match(now[1] or '', '^(%d+) (%d+) (%d+)$')
  if settled then
    settled, n, ms = tonumber(settled), tonumber(n), tonumber(ms)
  else
    settled, n, ms = window(10, 'settled', 'busy_n', 'busy_ms')
    if keep then
      redis.call('HSET', SECOND, 'before', string.format('%d %d %d', settled, n, ms))
      redis.call('EXPIRE', SECOND, 120)
    end
  end
  n, ms = n + (tonumber(now[2]) or 0), ms + (tonumber(now[3]) or 0)
  local last = known or redis.call('HMGET', TOTALS, 'capacity', 'drain')
  local capacity, seen = tonumber(last[1]) or 0, 0
  if ms >= EVIDENCE then capacity, seen = math.floor(n * 1000000 / ms), ms end
  local drain = seen >= ENOUGH and capacity or math.max(capacity, settled * 100)
  if drain == 0 then drain = tonumber(last[2]) or 0 end
  return drain, capacity, settled * 100
end

-- Notes that n orders were settled just now, and the time since the last settlement if a line waited all the while: of it,
-- no more than the workers took over the longest of these orders, which is `worked` ms.
local LONGEST = 60000
local function pace(n, worked)
  local since = tonumber(redis.call('HGET', TOTALS, 'busy')) or 0
  if since > resumed() then
    incr_window('busy_n', n)
    incr_window('busy_ms', math.max(math.min(NOW - since, worked, LONGEST), 0))
  end
  commit() -- what is read below
  local _, capacity, settled = rates(true)
  local busy = line_length() > 0 and AT or '0'
  if settled > 0 then
    redis.call('HSET', TOTALS, 'busy', busy, 'capacity', text(capacity), 'drain', text(settled))
  else
    redis.call('HSET', TOTALS, 'busy', busy, 'capacity', text(capacity))
  end
end

-- Notes that workers took orders in hand: when they have all of them, nobody waits any more.
local function took_in_hand()
  commit()
  local busy = redis.call('HGET', TOTALS, 'busy')
  if busy and busy ~= '0' and line_length() == 0 then redis.call('HSET', TOTALS, 'busy', 0) end
end

-- The place that the next order takes in the queue, and how long it will wait for a worker in ms; -1 when nobody knows.
local queued, line, drain
local function promise()
  if not queued then
    local entries = redis.call('XLEN', P .. 'queue')
    queued, line = entries + redis.call('ZCARD', P .. 'delayed'), line_length(entries)
  end
  local ahead = line
  queued, line = queued + 1, line + 1
  if ahead == 0 then return queued, 0 end
  drain = drain or rates(true)
  return queued, drain > 0 and math.floor(ahead * 1000000 / drain) or -1
end
