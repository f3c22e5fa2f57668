-- Places a list of orders, each on its own: one refusal does not touch the next order. Safe to send twice.
-- Keys:    1 the shard's prefix
-- Args:    1 reservation in ms, 2 idempotency in ms, 3 id of this call, then 7 per order:
--          order id, product, user, quantity, idempotency digest or '', fingerprint of the request, traceparent
-- Returns: per order {outcome, units left, order row or nil}; outcome is accepted, replayed, idempotency_conflict,
--          unknown_product, sale_not_open, sale_closed, limit_exceeded or sold_out
local RESERVATION, IDEMPOTENCY, CALL = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local drain = drain_milli()

local function seen_before(id, digest, fingerprint)
  if digest ~= '' then
    local known, claimed = unpack(redis.call('MGET', P .. 'idem:' .. digest, P .. 'claim:' .. digest))
    if claimed then return {'idempotency_conflict', 0} end -- by a request for a product of another shard
    if known then
      local space = string.find(known, ' ', 1, true)
      local first = string.sub(known, 1, space - 1)
      local row = order_row(first)
      if row then
        if string.sub(known, space + 1) ~= fingerprint then return {'idempotency_conflict', 0} end
        return {first == id and 'accepted' or 'replayed', 0, row}
      end
    end
  end
  local row = order_row(id)
  return row and {'accepted', 0, row}
end

local function refusal(product, user, quantity)
  local v = redis.call('HMGET', product_key(product), 'stock', 'limit', 'opens', 'closes', 'price', 'currency')
  if not v[1] then return {'unknown_product', 0} end
  local stock = tonumber(v[1])
  if NOW < tonumber(v[3]) then return {'sale_not_open', stock} end
  if v[4] ~= '' and NOW >= tonumber(v[4]) then return {'sale_closed', stock} end
  if v[2] ~= '' then
    local has = tonumber(redis.call('HGET', buyers_key(product), user)) or 0
    if has + quantity > tonumber(v[2]) then return {'limit_exceeded', stock} end
  end
  if stock < quantity then return {'sold_out', stock} end
  return nil, stock, v[5], v[6]
end

local function accept(order, price, currency, digest, fingerprint)
  hold(order.product, order.user, order.quantity)
  local position, eta = promise(drain)
  redis.call('HSET', order_key(order.id), O.state, 'pending', O.product, order.product, O.user, order.user,
             O.quantity, order.quantity, O.price, price, O.currency, currency, O.accepted, NOW,
             O.expires, NOW + RESERVATION, O.position, position, O.eta, eta, O.trace, order.trace)
  redis.call('ZADD', P .. 'user:' .. order.user, NOW, order.id)
  redis.call('ZADD', P .. 'deadlines', NOW + RESERVATION, order.id)
  enqueue(order)
  count('pending')
  if digest ~= '' then
    redis.call('SET', P .. 'idem:' .. digest, order.id .. ' ' .. fingerprint, 'PX', IDEMPOTENCY)
  end
end

-- A refusal leaves no order behind, so the call remembers it: sent twice, it says the same and counts once.
local said = redis.call('GET', P .. 'call:' .. CALL)
local refused = {}
for i, reason, left in string.gmatch(said or '', '(%d+) (%S+) (%d+)') do
  refused[tonumber(i)] = {reason, tonumber(left)}
end

local replies, refusals, reasons = {}, {}, {}
for i = 4, #ARGV, 7 do
  local id, product, user, quantity = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local digest, fingerprint = ARGV[i + 4], ARGV[i + 5]
  local reply, stock, price, currency = refused[i] or seen_before(id, digest, fingerprint)
  if not reply then
    reply, stock, price, currency = refusal(product, user, quantity)
  end
  if not reply then
    accept({id = id, product = product, user = user, quantity = quantity, trace = ARGV[i + 6]},
           price, currency, digest, fingerprint)
    reply = {'accepted', stock - quantity, order_row(id)}
  end
  replies[#replies + 1] = reply
  if not reply[3] then
    refusals[#refusals + 1] = i .. ' ' .. reply[1] .. ' ' .. reply[2]
    reasons[reply[1]] = (reasons[reply[1]] or 0) + 1
  end
end
if not said and #refusals > 0 then
  for reason, n in pairs(reasons) do redis.call('HINCRBY', P .. 'refused', reason, n) end
  redis.call('SET', P .. 'call:' .. CALL, table.concat(refusals, '\n'), 'PX', 60000)
end
return replies
