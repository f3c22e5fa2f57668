-- Places a list of orders, each on its own: one refusal does not touch the next order. Safe to send twice.
-- Needs:   pace, buyers, tickets
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 reservation in ms, 2 idempotency in ms, 3 id of this call, 4 ms that a user may cancel one order in (0 for any
--          number), 5 length of a window of a sale by ticket in ms, then 10 per order:
--          order id, product, user, quantity, idempotency digest or '', fingerprint of the request, traceparent,
--          reference or '', payment token or '', ticket: round and number of one that is right, '?' of another, or ''
-- Returns: per order {accepted, units left, accepted and expires in ms, place in the queue, ETA in ms, price, currency}, or
--          {accepted|replayed, -1, order row} of one that was placed before, or {outcome, units left or -1}; outcome is
--          idempotency_conflict, unknown_product, sale_not_open, sale_closed, sale_paused, limit_exceeded, sold_out, ticket_required,
--          ticket_invalid, not_your_turn or rate_limited; -1: nobody looked; of the last two, in place of the units: in how
--          many ms to try again; store_unavailable: what the store holds of this product or user is damaged, and nothing
--          was written
local RESERVATION, IDEMPOTENCY, CALL, INTERVAL = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local WINDOW = tonumber(ARGV[5])

local FIRST, EACH = 6, 10
local UNTIL = text(NOW + RESERVATION)

-- What the orders of this call may meet, read in one command: of the order whose arguments begin at i, from `met[i]` on, the order,
-- when the user's cancellations are due, and where there is a digest, what was placed under it and who claimed it.
local names, met = {P .. 'call:' .. CALL}, {}
for i = FIRST, #ARGV, EACH do
  local n, digest = #names, ARGV[i + 4]
  met[i] = n + 1
  names[n + 1], names[n + 2] = order_key(ARGV[i]), cancels_key(ARGV[i + 2])
  if digest ~= '' then names[n + 3], names[n + 4] = P .. 'idem:' .. digest, P .. 'claim:' .. digest end
end
local found = read_all(names)
local placed_now = {} -- by this call, by digest

-- 64 bits tell two requests with one key apart.
local function half(fingerprint) return string.sub(fingerprint, 1, 16) end

local function seen_before(i, id, digest)
  local at = met[i]
  if digest ~= '' then
    if found[at + 3] then return {'idempotency_conflict', 0} end -- by a request for a product of another shard
    local placed = placed_now[digest] or found[at + 2]
    if placed then
      local first = long(string.sub(placed, 1, 14))
      local known = order_row(first)
      if known then
        if string.sub(placed, 15) ~= half(ARGV[i + 5]) then return {'idempotency_conflict', 0} end
        return {first == id and 'accepted' or 'replayed', -1, known}
      end
    end
  end
  local known = (found[at] or held[id]) and order_row(id)
  return known and {'accepted', -1, known}
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

-- A product as this call leaves it, nil if there is none. What is no figure is found here, before anything is written.
local products = {}
local function product_of(id)
  local product = products[id]
  if product then return product end
  local v = redis.call('HMGET', product_key(id), 'stock', 'held', 'opens', 'price', 'limit', 'closes', 'currency', 'halted',
                       'admission')
  if not v[1] or v[8] == 'archived' then return nil end
  for i = 1, 6 do
    local none = i > 4 and v[i] == '' -- no limit, and a sale that does not close
    if not none and not string.match(v[i] or '', '^-?%d+$') then error('ERR a figure of a product is no number', 0) end
  end
  product = {key = product_key(id), stock = tonumber(v[1]), opens = tonumber(v[3]), price = tonumber(v[4]),
             limit = tonumber(v[5]), closes = tonumber(v[6]), currency = v[7], paused = v[8] == 'paused',
             by_ticket = v[9] == 'ticket'}
  products[id] = product
  return product
end

local function refusal(id, product, user, quantity, ticket, due)
  local early = INTERVAL > 0 and due and too_early(due, INTERVAL) or 0
  if early > 0 then return {'rate_limited', early} end
  if not product then return {'unknown_product', 0} end
  local stock = product.stock
  if NOW < product.opens then return {'sale_not_open', stock} end
  if product.closes and NOW >= product.closes then return {'sale_closed', stock} end
  if product.paused then return {'sale_paused', stock} end
  if stock <= 0 then return {'sold_out', 0} end -- before the limit: a process says so without knowing the buyer
  local away = product.by_ticket and turned_away(id, ticket, product.opens, stock)
  if away then return away end
  local has = units_of(user, id)
  if product.limit and has + quantity > product.limit then return {'limit_exceeded', stock} end
  if stock < quantity then return {'sold_out', stock} end
  if product.by_ticket and stock == quantity then redis.call('HSET', product_key(id), 'moved', 0) end
  return nil, has
end

local accepted, order = {}, blank_order()
order.state, order.accepted, order.expires = 'pending', NOW, NOW + RESERVATION

local function accept(i, product, has)
  local id, quantity, digest = ARGV[i], tonumber(ARGV[i + 3]), ARGV[i + 4]
  order.position, order.eta = promise() -- before anything is written: it fails where the queue is no stream
  order.id, order.product, order.user, order.quantity = id, ARGV[i + 1], ARGV[i + 2], quantity
  order.price, order.currency = product.price, product.currency
  order.trace, order.reference, order.token = ARGV[i + 6], ARGV[i + 7], ARGV[i + 8]
  enqueue(order)
  index_by_user(order, has + quantity)
  save(order)
  product.stock = product.stock - quantity
  add(product.key, 'stock', -quantity)
  add(product.key, 'held', quantity)
  gather('ZADD', 'deadlines', UNTIL, id)
  accepted[#accepted + 1] = short(id)
  note_change(order, 'pending', 0)
  if product.by_ticket then count('by_ticket') end
  if digest ~= '' then
    local value = short(id) .. half(ARGV[i + 5])
    redis.call('SET', P .. 'idem:' .. digest, value, 'PX', IDEMPOTENCY)
    placed_now[digest] = value
  end
  return {'accepted', product.stock, NOW, order.expires, order.position, math.max(order.eta, 0), product.price,
          product.currency}
end

-- What is of another type, or no figure, is found before anything is written.
redis.call('ZCARD', P .. 'deadlines')
if not tonumber(redis.call('HGET', P .. 'totals', 'pending') or 0) then
  return redis.error_reply('WRONGTYPE the number of orders is none')
end

-- A refusal leaves no order behind, so the call remembers it: sent twice, it says the same and counts once.
local said = found[1]
local refused = {}
for i, reason, left in string.gmatch(said or '', '(%d+) (%S+) (%d+)') do
  refused[tonumber(i)] = {reason, tonumber(left)}
end

local function answer(i)
  local reply = refused[i] or seen_before(i, ARGV[i], ARGV[i + 4])
  if reply then return reply end
  local product = product_of(ARGV[i + 1])
  local has
  reply, has = refusal(ARGV[i + 1], product, ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 9], found[met[i] + 1])
  return reply or accept(i, product, has)
end

return commit_after(function()
  local replies, refusals, reasons = {}, {}, {}
  for i = FIRST, #ARGV, EACH do
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
