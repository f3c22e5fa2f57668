-- Puts orders that were begun aside for another attempt later; one that had all its attempts becomes a dead letter.
-- The order stays `processing`: a payment may have gone through, so only a worker may end it. Safe to send twice.
-- Needs:   ends
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 attempts allowed, then 3 per order: order id, delay in ms, reason
-- Returns: per order deferred, dead or gone
local ALLOWED = tonumber(ARGV[1])

local function defer(id, delay, reason)
  local order = load_order(id)
  if not order or order.state ~= 'processing' then return is_dead(order) and 'dead' or 'gone' end
  if order.attempts >= ALLOWED then
    dead_letter(order, reason)
    return 'dead'
  end
  dequeue(order.entry)
  order.entry, order.reason = '', reason
  save(order)
  redis.call('ZADD', P .. 'delayed', 'NX', NOW + delay, id)
  redis.call('ZADD', P .. 'retried', order.accepted, id)
  return 'deferred'
end

return commit_after(function()
  local replies = {}
  for i = 2, #ARGV, 3 do replies[#replies + 1] = defer(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]) end
  return replies
end)
