-- Gives dead letters another chance: the units are reserved anew, the attempts start again. Safe to send twice.
-- Needs:   orders, pace, ends
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 reservation in ms, then order ids
-- Returns: per order requeued, sold_out, limit_exceeded or not_dead

local function requeue(id)
  if not redis.call('ZSCORE', P .. 'dead', id) then return 'not_dead' end
  local order = load_order(id)
  local stock, limit = unpack(redis.call('HMGET', product_key(order.product), 'stock', 'limit'))
  if tonumber(stock) < order.quantity then return 'sold_out' end
  local has = units_of(order.user, order.product)
  if limit ~= '' and has + order.quantity > tonumber(limit) then return 'limit_exceeded' end
  hold(order.product, order.user, order.quantity)
  redis.call('ZREM', P .. 'dead', id)
  order.lives = order.lives or {}
  order.lives[order.generation + 1] = {order.accepted, order.expires, order.position, order.eta, order.attempts,
                                       order.settled, order.reason}
  order.position, order.eta = promise()
  order.state, order.accepted, order.expires, order.generation = 'pending', NOW, NOW + ARGV[1], order.generation + 1
  order.attempts, order.begun, order.settled, order.reason = 0, 0, 0, ''
  index_by_user(order)
  list_accepted(short(id))
  redis.call('ZADD', P .. 'deadlines', NOW + ARGV[1], id)
  enqueue(order)
  save(order)
  note_change(order, 'pending', order.generation)
  count('requeued')
  return 'requeued'
end

return with_feed(function()
  local replies = {}
  for i = 2, #ARGV do replies[#replies + 1] = requeue(ARGV[i]) end
  return replies
end)
