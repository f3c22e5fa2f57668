-- What the workers have of the queue: how many entries, and the id of the last that they were given; nil without a group.
-- Needs:   pace, products
local function in_hand()
  local groups = redis.pcall('XINFO', 'GROUPS', P .. 'queue')
  if groups.err or not groups[1] then return 0, nil end
  local found = {}
  for i = 1, #groups[1], 2 do found[groups[1][i]] = groups[1][i + 1] end
  return found.pending, found['last-delivered-id']
end

-- How long the first order of the line has stood in the queue, in ms; 0 when there is no line. An entry's id is its time.
-- While the store stood still nobody could take it, so that time does not count.
local function waited(last)
  local head = last and redis.call('XRANGE', P .. 'queue', '(' .. last, '+', 'COUNT', 1)[1]
  return head and since(math.max(tonumber(string.match(head[1], '^%d+')), resumed())) or 0
end

-- How old the oldest change is that the webhook was not told of, in ms; 0 when there is none.
local function webhook_lag()
  local place = string.match(redis.call('GET', P .. 'webhook') or '-', '^%S+')
  local first = feed(place, '+', 1)[1]
  return first and since(string.match(first[1], '^%d+')) or 0
end

-- All that the telemetry shows, at one instant; `snapshot.lua` says what it returns.
local function snapshot()
  local products = {}
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'catalogue')) do products[#products + 1] = product_row(id) end

  -- Most of the time there is nothing in any of these, and at rest no second either.
  local seldom = {P .. 'delayed', P .. 'retried', P .. 'dead', P .. 'damaged'}
  local some = look_for_seconds(60, unpack(seldom)) and redis.call('EXISTS', unpack(seldom)) > 0
  local function in_some(count, list) return some and redis.call(count, P .. list) or 0 end

  local queued, delayed = redis.call('XLEN', P .. 'queue'), in_some('ZCARD', 'delayed')
  local held, last = in_hand()

  -- Orders stand in the queue in the order of their acceptance, but for those that were deferred.
  local oldest = some and tonumber(redis.call('ZRANGE', P .. 'retried', 0, 0, 'WITHSCORES')[2]) or NOW
  local first = queued > 0 and redis.call('XRANGE', P .. 'queue', '-', '+', 'COUNT', 1)[1]
  if first then oldest = math.min(oldest, (load_order(first[2][2]) or {accepted = NOW}).accepted) end

  local workers = redis.call('ZRANGE', P .. 'workers', 0, -1, 'WITHSCORES')
  for i = 2, #workers, 2 do workers[i] = tostring(since(workers[i])) end
  local recent = window(10, 'settled')
  local totals, known = redis.call('HGETALL', P .. 'totals'), {}
  for i = 1, #totals, 2 do known[({capacity = 1, drain = 2})[totals[i]] or 3] = totals[i + 1] end
  local drain, capacity = rates(false, known)
  local settled, failed, took, promised, eta_error = window(60, 'settled', 'failed', 'took', 'promised', 'eta_error')
  return {'now', NOW, 'totals', totals, 'products', products,
          'queue_length', queued + delayed, 'waiting', math.max(queued - held, 0), 'processing', held + delayed,
          'oldest_ms', oldest < NOW and since(oldest) or 0, 'waited_ms', queued > 0 and waited(last) or 0, 'dead_letters', in_some('ZCARD', 'dead'),
          'drain', drain, 'capacity', capacity, 'settled_10s', recent, 'settled', settled, 'failed', failed,
          'took_ms', took, 'promised', promised, 'eta_error_ms', eta_error,
          'webhook_lag_ms', webhook_lag(), 'damaged', in_some('HLEN', 'damaged'),
          'workers', workers, 'refused', redis.call('HGETALL', P .. 'refused')}
end
