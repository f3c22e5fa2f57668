-- All that the telemetry shows, at one instant; `snapshot.lua` says what it returns.
local function snapshot()
  local products = {}
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'catalogue')) do products[#products + 1] = product_row(id) end

  -- Orders stand in the queue in the order of their acceptance, but for those that were deferred.
  local oldest = tonumber(redis.call('ZRANGE', P .. 'retried', 0, 0, 'WITHSCORES')[2]) or NOW
  local first = redis.call('XRANGE', P .. 'queue', '-', '+', 'COUNT', 1)[1]
  if first then oldest = math.min(oldest, tonumber(redis.call('HGET', order_key(first[2][2]), O.accepted)) or NOW) end

  local processing = redis.call('ZCARD', P .. 'delayed')
  if redis.call('EXISTS', P .. 'queue') == 1 then
    local ok = redis.pcall('XPENDING', P .. 'queue', GROUP)
    if not ok.err then processing = processing + ok[1] end
  end

  local workers = redis.call('ZRANGE', P .. 'workers', 0, -1, 'WITHSCORES')
  for i = 2, #workers, 2 do workers[i] = tostring(NOW - workers[i]) end
  local recent = window(10, 'settled')
  local settled, failed, took, begun, eta_error = window(60, 'settled', 'failed', 'took', 'begun', 'eta_error')
  return {NOW, redis.call('HGETALL', P .. 'totals'), products, queue_length(), processing, NOW - oldest,
          redis.call('ZCARD', P .. 'dead'), drain_milli(), recent, settled, failed, took, begun, eta_error, workers,
          redis.call('HGETALL', P .. 'refused')}
end
