-- What a step writes.
-- Needs:   streams

-- Adds n to a counter of the present second; `window` sums them.
local function incr_window(field, n)
  local key = P .. 'second:' .. math.floor(NOW / 1000)
  if redis.call('HINCRBY', key, field, n) == n then redis.call('EXPIRE', key, 120) end
end

local function count(status) redis.call('HINCRBY', P .. 'totals', status, 1) end

-- Adds what so many units of an order cost to a total. One that can hold no more, at 2^63, stops no settlement.
local function earn(total, order, units, key)
  redis.pcall('HINCRBY', key or P .. 'totals', total .. order.currency, string.format('%d', order.price * units))
end

-- Writes an order. One that ended keeps what a caller can ask for and no more, and a dead letter what it would be paid with.
-- `accepted` is told from when its id was made, the other times from `accepted`: differences are short. What most orders
-- lack comes last.
local function save(order)
  local v = {STATE[order.state], order.product, order.user, order.quantity, order.price, order.currency,
             order.accepted - made(order.id), order.expires - order.accepted, order.position, order.eta, order.attempts,
             order.generation, order.reason, order.payment}
  if order.settled > 0 then
    v[15] = math.max(order.settled - order.accepted, 0)  -- the clock of another server may be behind
    local more = order.lives or #order.parts > 0
    if order.reference ~= '' or order.token ~= '' or more then v[16], v[17] = order.reference, order.token end
    if more then v[18], v[19], v[20] = order.parts, order.lives or false, order.refunded end
  else
    v[15], v[16], v[17], v[18], v[19] = -1, order.begun, order.entry, order.call, order.trace
    if order.reference ~= '' or order.token ~= '' or order.lives then v[20], v[21] = order.reference, order.token end
    v[22] = order.lives
  end
  redis.call('SET', order_key(order.id), cmsgpack.pack(v))
end

-- Puts an order into the queue; the caller saves it.
local function enqueue(order)
  order.entry = redis.call('XADD', P .. 'queue', '*', 'o', order.id, 't', order.trace)
end

-- The feed is told of a change of an order: `number` is the generation or, of a refund, which one it is.
local changes, noted = {}, {}
local function note_change(order, status, number, reason)
  local change = struct.pack(CHANGE, STATE[status], short(order.id), number)
  if status == 'refunded' then change = change .. struct.pack('>Hc0', #reason, reason) end
  changes[#changes + 1] = change
  noted[status] = (noted[status] or 0) + 1
end

-- Does the work of a step, and gives the feed and the totals what it changed: also where it breaks off in the middle.
local function with_feed(work)
  local done, result = pcall(work)
  if #changes > 0 then
    append('events', 'e', table.concat(changes))
    for status, n in pairs(noted) do
      redis.call('HINCRBY', P .. 'totals', status == 'refunded' and 'refunds' or status, n)
    end
  end
  if not done then error(as_error(result), 0) end
  return result
end
