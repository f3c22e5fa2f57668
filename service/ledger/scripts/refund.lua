-- Gives back a confirmed order, whole or in part: its units, its totals and the money that is owed change together, once.
-- Safe to send twice: the answer to a request is kept, and given again whatever happened since.
-- Needs:   ends, once
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 request id, 2 how long to keep its answer in ms, 3 its fingerprint, 4 id of this call, 5 order id,
--          6 units or '' for all that are left, 7 '1' if they return to stock, 8 reason or ''
-- Returns: {refunded|not_refundable, order row, 1 if this is the answer to an earlier call} or
--          {unknown_order|idempotency_conflict}
local again = answered(ARGV[1], ARGV[3], ARGV[4])
if again then return again end

local order = load_order(ARGV[5])
if not order then return {'unknown_order'} end
local left = order.quantity - refunded(order)
local units = ARGV[6] == '' and left or tonumber(ARGV[6])
if order.state ~= 'confirmed' or units > left then return {'not_refundable', row(order), 0} end

return commit_after(function()
  local product, returns = product_key(order.product), ARGV[7] == '1'
  if returns then
    redis.call('HINCRBY', product, 'sold', -units)
    redis.call('HINCRBY', product, 'stock', units)
  end
  count_towards_limit(order.user, order.product, -units)
  earn('revenue:', order, -units)
  order.parts[#order.parts + 1] = returns and units or -units
  order.reason, order.refunded = ARGV[8], NOW
  if units == left then order.state = 'refunded' end
  save(order)
  note_change(order, 'refunded', #order.parts, order.reason)
  if units == left then count('refunded') end
  if order.price > 0 then redis.call('ZADD', P .. 'refunds', NOW, part_key(order, #order.parts)) end
  return keep_answer(ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'refunded', row(order))
end)
