-- Puts deferred orders whose time has come back into the queue. Safe to send twice.
-- Needs:   writes
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 how many at most
-- Returns: how many were put back
local due = redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  redis.call('ZREM', P .. 'delayed', id)
  local order = load_order(id)
  if order and order.state == 'processing' then
    enqueue(order)
    save(order)
  end
end
commit()
return #due
