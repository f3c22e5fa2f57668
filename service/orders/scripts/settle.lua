-- Settles a list of orders that were begun. The first verdict stands; one on an earlier life of an order that was
-- requeued since is refused, because its payment was given back. Safe to send twice.
-- Keys:    1 the shard's prefix
-- Args:    5 per order: order id, life that was paid for or '' for any, confirmed|failed, reason or '', payment id or ''
-- Returns: per order {settled|repeated|refused|gone, status that stands, ms from accepted, ms from begun}
local function verdict(id, life, status, reason, payment)
  local order = load_order(id)
  if not order then return {'gone', '', 0, 0} end
  if life ~= '' and tonumber(life) ~= order.life then return {'refused', order.state, 0, 0} end
  if order.state ~= 'processing' then
    return {order.state == status and 'repeated' or 'refused', order.state, 0, 0}
  end
  settle(order, status, reason, payment)
  return {'settled', status, NOW - order.accepted, NOW - order.begun}
end

local replies = {}
for i = 1, #ARGV, 5 do
  replies[#replies + 1] = verdict(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
local drain = window(10, 'settled')
if drain > 0 then redis.call('HSET', P .. 'totals', 'drain', drain * 100) end
return replies
