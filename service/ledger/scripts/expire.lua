-- Ends reservations whose time is over and that no worker began: the units go back to stock, once. Safe to send twice.
-- Needs:   ends
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 how many at most
-- Returns: ids of the orders that expired
return commit_after(function()
  local due = redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', NOW, 'LIMIT', 0, ARGV[1])
  local expired, scratch = {}, blank_order()
  load_orders(due)
  for _, id in ipairs(due) do
    local order = load_order(id, scratch)
    if order and order.state == 'pending' then
      finish(order, 'expired', 'reservation_ended')
      expired[#expired + 1] = id
    else
      gather('ZREM', 'deadlines', id)
    end
  end
  return expired
end)
