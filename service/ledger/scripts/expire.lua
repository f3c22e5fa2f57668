-- Ends reservations whose time is over and that no worker began: the units go back to stock, once. Safe to send twice.
-- Needs:   orders, ends
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 how many at most
-- Returns: ids of the orders that expired
return with_feed(function()
  local due = redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', NOW, 'LIMIT', 0, ARGV[1])
  local expired = {}
  for _, id in ipairs(due) do
    local order = load_order(id)
    if order and order.state == 'pending' then
      finish(order, 'expired', 'reservation_ended')
      expired[#expired + 1] = id
    else
      redis.call('ZREM', P .. 'deadlines', id)
    end
  end
  return expired
end)
