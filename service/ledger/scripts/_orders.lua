-- Orders as they are kept, and as a caller sees them.
-- Needs:   shard

-- Reads an order: its `settled` is 0 until it ends, its `begun` until it is begun; nil if there is none. `parts` has the units
-- of each refund of a confirmed order, below 0 those that did not return to stock; `refunded` is when the last one was, 0 if
-- there is none. `lives` has what the order was in each generation before, until it was requeued; nil if it never was.
-- What is no order is put aside.
local NUMBERS = {4, 5, 7, 8, 9, 10, 11, 12, 15}
local function unpacked(packed)
  local ok, v = pcall(cmsgpack.unpack, packed)
  if not ok or type(v) ~= 'table' or not STATES[v[1]] or type(v[2]) ~= 'string' or type(v[3]) ~= 'string' then return nil end
  for _, i in ipairs(NUMBERS) do
    if not tonumber(v[i]) then return nil end
  end
  return v
end
local function load_order(id)
  local packed = redis.pcall('GET', order_key(id))
  if not packed then return nil end
  local v = type(packed) == 'string' and unpacked(packed)
  if not v then
    put_aside('o:' .. short(id), 'order', id, 'no order')
    return nil
  end
  local accepted, ended = made(id) + v[7], v[15] >= 0
  return {id = id, state = STATES[v[1]], product = v[2], user = v[3], quantity = v[4], price = v[5], currency = v[6],
          accepted = accepted, expires = accepted + v[8], position = v[9], eta = v[10], attempts = v[11], generation = v[12],
          reason = v[13], payment = v[14], settled = ended and accepted + v[15] or 0,
          begun = not ended and v[16] or 0, entry = not ended and v[17] or '', call = not ended and v[18] or '',
          trace = not ended and v[19] or '',
          reference = ended and v[16] or v[20] or '', token = ended and v[17] or v[21] or '',
          parts = ended and v[18] or {}, refunded = ended and v[20] or 0, lives = (ended and v[19] or v[22]) or nil}
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
local function row(order)
  return order and {order.id, order.state, order.product, order.user, order.quantity, order.price, order.currency,
                    order.accepted, order.expires, order.position, math.max(order.eta, 0), order.attempts,
                    order.settled, order.reason, order.payment, order.generation, order.reference,
                    refunded(order)}
end
local function order_row(id) return row(load_order(id)) end
