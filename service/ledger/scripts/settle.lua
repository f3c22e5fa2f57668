-- Settles a list of orders that were begun. The first settlement stands; one of an earlier generation of an order that was
-- requeued since is refused. A payment that comes for nothing is to be given back. Safe to send twice.
-- Needs:   pace, ends
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    6 per order: order id, generation that was paid for or '' for the present one, confirmed|failed, reason or '',
--          payment id or '', 1 if a failed order may have been paid for or ''
-- Returns: flat, per order settled|repeated|refused|gone, status that stands, ms from accepted, ms from begun
local settled, worked = 0, 0
-- Of an order that was tried before nobody knows when its last attempt began.
local AGAIN = 2000
local scratch = blank_order()

local function settle_one(id, generation, status, reason, payment, maybe_captured)
  local order = load_order(id, scratch)
  if not order then return 'gone', '', 0, 0 end
  generation = tonumber(generation) or order.generation
  local stands = order.state == 'refunded' and 'confirmed' or order.state -- the money of a refund is given back by itself
  if generation == order.generation and stands == status then return 'repeated', status, 0, 0 end
  if generation ~= order.generation or order.state ~= 'processing' then
    -- An order that is pending in the same generation will be paid for under the same key once more.
    local in_vain = generation ~= order.generation or order.state ~= 'pending'
    if status == 'confirmed' and in_vain then owe_refund(order, generation, 0) end
    return 'refused', order.state, 0, 0
  end
  settle(order, status, reason, payment)
  settled, worked = settled + 1, math.max(worked, order.attempts == 1 and since(order.begun) or AGAIN)
  if maybe_captured ~= '' then owe_refund(order, generation, MONEY_MOVES) end
  return 'settled', status, since(order.accepted), since(order.begun)
end

return commit_after(function()
  local ids, replies = {}, {}
  for i = 1, #ARGV, 6 do ids[#ids + 1] = ARGV[i] end
  load_orders(ids)
  for i = 1, #ARGV, 6 do
    local n = #replies
    replies[n + 1], replies[n + 2], replies[n + 3], replies[n + 4] = settle_one(unpack(ARGV, i, i + 5))
  end
  if settled > 0 then pace(settled, worked) end
  return replies
end)
