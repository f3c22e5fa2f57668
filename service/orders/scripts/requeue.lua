-- Gives dead letters another life: the units are reserved anew, the attempts start again. Safe to send twice.
-- Keys:    1 the shard's prefix
-- Args:    1 reservation in ms, then order ids
-- Returns: per order requeued, sold_out, limit_exceeded or not_dead
local drain = drain_milli()

local function requeue(id)
  if not redis.call('ZSCORE', P .. 'dead', id) then return 'not_dead' end
  local order = load_order(id)
  local stock, limit = unpack(redis.call('HMGET', product_key(order.product), 'stock', 'limit'))
  if tonumber(stock) < order.quantity then return 'sold_out' end
  local has = tonumber(redis.call('HGET', buyers_key(order.product), order.user)) or 0
  if limit ~= '' and has + order.quantity > tonumber(limit) then return 'limit_exceeded' end
  hold(order.product, order.user, order.quantity)
  redis.call('ZREM', P .. 'dead', id)
  redis.call('HDEL', order_key(id), O.attempts, O.begun, O.settled, O.reason)
  local position, eta = promise(drain)
  redis.call('HSET', order_key(id), O.state, 'pending', O.accepted, NOW, O.expires, NOW + ARGV[1],
             O.position, position, O.eta, eta)
  redis.call('HINCRBY', order_key(id), O.life, 1)
  redis.call('ZADD', P .. 'user:' .. order.user, NOW, id)
  redis.call('ZADD', P .. 'deadlines', NOW + ARGV[1], id)
  enqueue(order)
  count('pending')
  count('requeued')
  return 'requeued'
end

local replies = {}
for i = 2, #ARGV do replies[#replies + 1] = requeue(ARGV[i]) end
return replies
