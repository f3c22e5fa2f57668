-- Places a list of orders, each on its own: one refusal does not touch the next order. Safe to send twice.
-- Needs:   orders, pace, ends, tickets
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 reservation in ms, 2 idempotency in ms, 3 id of this call, 4 ms that a user may cancel one order in (0 for any
--          number), 5 length of a window of a sale by ticket in ms, then 10 per order:
--          order id, product, user, quantity, idempotency digest or '', fingerprint of the request, traceparent,
--          reference or '', payment token or '', ticket: round and number of one that is right, '?' of another, or ''
-- Returns: per order {outcome, units left or -1, order row or nil}; outcome is accepted, replayed, idempotency_conflict,
--          unknown_product, sale_not_open, sale_closed, sale_paused, limit_exceeded, sold_out, ticket_required,
--          ticket_invalid, not_your_turn or rate_limited; -1: nobody looked; of the last two, in place of the units: in how
--          many ms to try again; store_unavailable: what the store holds of this product or user is damaged, and nothing
--          was written
local RESERVATION, IDEMPOTENCY, CALL, INTERVAL = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local WINDOW = tonumber(ARGV[5])

-- 64 bits tell two requests with one key apart.
local function half(fingerprint) return string.sub(fingerprint, 1, 16) end

local function seen_before(id, digest, fingerprint)
  if digest ~= '' then
    local known, claimed = unpack(redis.call('MGET', P .. 'idem:' .. digest, P .. 'claim:' .. digest))
    if claimed then return {'idempotency_conflict', 0} end -- by a request for a product of another shard
    if known then
      local first = long(string.sub(known, 1, 14))
      local found = order_row(first)
      if found then
        if string.sub(known, 15) ~= half(fingerprint) then return {'idempotency_conflict', 0} end
        return {first == id and 'accepted' or 'replayed', -1, found}
      end
    end
  end
  local found = order_row(id)
  return found and {'accepted', -1, found}
end

-- Why a sale by ticket does not take this one's order now; nil if it does.
local function turned_away(product, ticket, opens, stock)
  if ticket == '' then return {'ticket_required', stock} end
  local sale = sale_by_ticket(product, opens, stock, true, WINDOW, CALL)
  local round, number = string.match(ticket, '^(%d+) (%d+)$')
  number = tonumber(number)
  if tonumber(round) ~= sale.round or number >= sale.given then return {'ticket_invalid', stock} end
  -- A place costs some work to find, and whoever was there before the draw is below `drawn`.
  if number < sale.drawn and sale.turn >= sale.drawn then return nil end
  local wait = sale.wait(sale.place(number))
  if wait > 0 then return {'not_your_turn', wait} end
end

local function refusal(product, user, quantity, ticket)
  local early = cancelled_too_much(user, INTERVAL)
  if early > 0 then return {'rate_limited', early} end
  local v = redis.call('HMGET', product_key(product), 'stock', 'limit', 'opens', 'closes', 'price', 'currency',
                       'halted', 'admission')
  if not v[1] or v[7] == 'archived' then return {'unknown_product', 0} end
  local stock = tonumber(v[1])
  if NOW < tonumber(v[3]) then return {'sale_not_open', stock} end
  if v[4] ~= '' and NOW >= tonumber(v[4]) then return {'sale_closed', stock} end
  if v[7] == 'paused' then return {'sale_paused', stock} end
  if stock <= 0 then return {'sold_out', 0} end -- before the limit: a process says so without knowing the buyer
  local by_ticket = v[8] == 'ticket'
  local away = by_ticket and turned_away(product, ticket, tonumber(v[3]), stock)
  if away then return away end
  if v[2] ~= '' then
    if units_of(user, product) + quantity > tonumber(v[2]) then return {'limit_exceeded', stock} end
  end
  if stock < quantity then return {'sold_out', stock} end
  if by_ticket and stock == quantity then redis.call('HSET', product_key(product), 'moved', 0) end
  return nil, stock, v[5], v[6]
end

local accepted = {}

local function accept(order, price, currency, digest, fingerprint)
  order.position, order.eta = promise() -- before anything is written: it fails where the queue is no stream
  hold(order.product, order.user, order.quantity)
  order.state, order.price, order.currency = 'pending', price, currency
  order.accepted, order.expires = NOW, NOW + RESERVATION
  order.attempts, order.generation, order.settled, order.begun = 0, 0, 0, 0
  order.reason, order.payment, order.call = '', '', ''
  index_by_user(order)
  accepted[#accepted + 1] = short(order.id)
  redis.call('ZADD', P .. 'deadlines', NOW + RESERVATION, order.id)
  enqueue(order)
  save(order)
  note_change(order, 'pending', 0)
  if digest ~= '' then
    redis.call('SET', P .. 'idem:' .. digest, short(order.id) .. half(fingerprint), 'PX', IDEMPOTENCY)
  end
  return row(order)
end

-- A refusal leaves no order behind, so the call remembers it: sent twice, it says the same and counts once.
local said = redis.call('GET', P .. 'call:' .. CALL)
local refused = {}
for i, reason, left in string.gmatch(said or '', '(%d+) (%S+) (%d+)') do
  refused[tonumber(i)] = {reason, tonumber(left)}
end

-- What is of another type, or no figure, is found before anything is written.
redis.call('ZCARD', P .. 'deadlines')
if not tonumber(redis.call('HGET', P .. 'totals', 'pending') or 0) then
  return redis.error_reply('WRONGTYPE the number of orders is none')
end

local function answer(i)
  local id, product, user, quantity = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local digest, fingerprint = ARGV[i + 4], ARGV[i + 5]
  local reply, stock, price, currency = refused[i] or seen_before(id, digest, fingerprint)
  if not reply then
    reply, stock, price, currency = refusal(product, user, quantity, ARGV[i + 9])
  end
  if not reply then
    local order = {id = id, product = product, user = user, quantity = quantity, trace = ARGV[i + 6],
                   reference = ARGV[i + 7], token = ARGV[i + 8], parts = {}, refunded = 0}
    reply = {'accepted', stock - quantity, accept(order, tonumber(price), currency, digest, fingerprint)}
  end
  return reply
end

return with_feed(function()
  local replies, refusals, reasons = {}, {}, {}
  for i = 6, #ARGV, 10 do
    local ok, reply = pcall(answer, i)
    if not ok then
      if not is_damage(reply) then return as_error(reply) end
      heal_user(ARGV[i + 2])
      reply = {'store_unavailable', -1}
    end
    replies[#replies + 1] = reply
    if ok and not reply[3] then
      refusals[#refusals + 1] = i .. ' ' .. reply[1] .. ' ' .. reply[2]
      reasons[reply[1]] = (reasons[reply[1]] or 0) + 1
    end
  end
  if #accepted > 0 then list_accepted(table.concat(accepted)) end
  if not said and #refusals > 0 then
    for reason, n in pairs(reasons) do redis.call('HINCRBY', P .. 'refused', reason, n) end
    redis.call('SET', P .. 'call:' .. CALL, table.concat(refusals, '\n'), 'PX', 60000)
  end
  return replies
end)
