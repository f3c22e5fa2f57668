-- Orders as they are kept, and as a caller sees them.
-- Needs:   shard

-- An order as the scripts have it: all its fields, so that the table never grows. `settled` is 0 until it ends, `begun` until it is
-- begun. `parts` has the units of each refund of a confirmed order, below 0 those that did not return to stock; `refunded` is
-- when the last one was, 0 if there is none. `generations` has what the order was in each generation before, until it was requeued;
-- false if it never was. A step that goes through many orders has one such table and fills it again and again.
local NO_PARTS = {}
local function blank_order()
  return {id = '', state = '', product = '', user = '', quantity = 0, price = 0, currency = '', accepted = 0, expires = 0,
          position = 0, eta = 0, attempts = 0, generation = 0, reason = '', payment = '', settled = 0, begun = 0, entry = '',
          call = '', trace = '', reference = '', token = '', parts = NO_PARTS, refunded = 0, generations = false}
end

-- An order in bytes: an array, packed. One that ended keeps what a caller can ask for and no more, and a dead letter what it
-- would be paid with. `accepted` is told from when its id was made, the other times from `accepted`: differences are short.
-- What most orders lack comes last.
local live, ended = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
local function encode(order)
  local accepted, reference, token, generations = order.accepted, order.reference, order.token, order.generations or nil
  local v = order.settled > 0 and ended or live
  v[1], v[2], v[3], v[4], v[5] = STATE[order.state], order.product, order.user, order.quantity, order.price
  v[6], v[7], v[8] = order.currency, accepted - made(order.id), order.expires - accepted
  v[9], v[10], v[11], v[12] = order.position, order.eta, order.attempts, order.generation
  v[13], v[14] = order.reason, order.payment
  if v == ended then
    v[15] = math.max(order.settled - accepted, 0) -- the clock of another server may be behind
    local parts = #order.parts > 0 or generations
    local more = reference ~= '' or token ~= '' or parts
    v[16], v[17] = more and reference or nil, more and token or nil
    v[18], v[19], v[20] = parts and order.parts or nil, nil, parts and order.refunded or nil
    if parts then v[19] = generations or false end
  else
    v[15], v[16], v[17], v[18], v[19] = -1, order.begun, order.entry, order.call, order.trace
    local more = reference ~= '' or token ~= '' or generations
    v[20], v[21], v[22] = more and reference or nil, more and token or nil, generations
  end
  return cmsgpack.pack(v)
end

-- Fills an order from its bytes; nil, or an error, where they are no order's. The values are read one behind the other, without a
-- table of them: behind the head of the array, which is one byte long or three.
local LONG_ARRAY, MOST_VALUES = 0xdc, 22
local function decode(id, bytes, order)
  local head = string.byte(bytes)
  if head ~= LONG_ARRAY and (head < 0x90 or head > 0x9f) then return nil end
  local _, state, product, user, quantity, price, currency, delay, lifetime, position, eta, attempts, generation, reason,
        payment, took, a, b, c, d, e, f, g = cmsgpack.unpack_limit(bytes, MOST_VALUES, head == LONG_ARRAY and 3 or 1)
  if not STATES[state] or type(product) ~= 'string' or type(user) ~= 'string' then return nil end
  local accepted = made(id) + delay
  local _ = quantity + price + position + eta + attempts + generation -- fails where one is none
  order = order or blank_order()
  order.id, order.state, order.product, order.user, order.quantity = id, STATES[state], product, user, quantity
  order.price, order.currency, order.accepted, order.expires = price, currency, accepted, accepted + lifetime
  order.position, order.eta, order.attempts, order.generation = position, eta, attempts, generation
  order.reason, order.payment = reason, payment
  if took >= 0 then
    order.settled, order.begun, order.entry, order.call, order.trace = accepted + took, 0, '', '', ''
    order.reference, order.token, order.parts, order.generations, order.refunded = a or '', b or '', c or {}, d or false, e or 0
  else
    order.settled, order.begun, order.entry, order.call, order.trace = 0, a or 0, b or '', c or '', d or ''
    order.reference, order.token, order.parts, order.generations, order.refunded = e or '', f or '', NO_PARTS, g or false, 0
  end
  return order
end

-- The bytes of orders by id, as this call has read or written them: what is written at its end is read from here until then.
local held = {}

-- Reads many strings in one command; false for what is none.
local MOST = 4000 -- values in one command; Lua hands over less than 8000
local function read_all(names)
  if #names <= MOST then return redis.call('MGET', unpack(names)) end
  local found = {}
  for first = 1, #names, MOST do
    for _, value in ipairs(redis.call('MGET', unpack(names, first, math.min(first + MOST - 1, #names)))) do
      found[#found + 1] = value
    end
  end
  return found
end

-- Reads many orders at once, for `load_order`.
local function load_orders(ids)
  local names = {}
  for i = 1, #ids do names[i] = order_key(ids[i]) end
  for i, bytes in ipairs(#ids > 0 and read_all(names) or names) do held[ids[i]] = bytes or nil end
end

-- Reads an order, into the table that is given or a new one; nil if there is none. What is no order is put aside.
local function load_order(id, order)
  local bytes = held[id] or redis.pcall('GET', order_key(id))
  if not bytes then return nil end
  local ours, found = pcall(decode, id, bytes, order)
  if ours and found then return found end
  put_aside('o:' .. short(id), 'order', id, 'no order')
  return nil
end

-- Units of a confirmed order whose money was given back, or is to be; and those of them that are on sale again.
local function refunded(order)
  local all, returned = 0, 0
  for _, units in ipairs(order.parts) do
    all, returned = all + math.abs(units), returned + math.max(units, 0)
  end
  return all, returned
end

-- An order as the caller sees it; nil if there is none.
local function values_of(order)
  return order.id, order.state, order.product, order.user, order.quantity, order.price, order.currency, order.accepted,
         order.expires, order.position, math.max(order.eta, 0), order.attempts, order.settled, order.reason, order.payment,
         order.generation, order.reference, refunded(order)
end
local function row(order) return order and {values_of(order)} end
local function order_row(id) return row(load_order(id)) end
