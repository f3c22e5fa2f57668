-- Gives a dead letter another chance: the units are reserved anew, the attempts start again.
-- Safe to send twice: the answer to a request is kept, and given again also when the order has died once more since.
-- Needs:   pace, buyers, once
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 request id, 2 how long to keep its answer in ms, 3 its fingerprint, 4 id of this call, 5 order id,
--          6 reservation in ms
-- Returns: {requeued|sold_out|limit_exceeded|not_dead, order row, 1 if this is the answer to an earlier call} or
--          {unknown_order|idempotency_conflict}
local again = answered(ARGV[1], ARGV[3], ARGV[4])
if again then return again end

local id = ARGV[5]
local order = load_order(id)
if not order then return {'unknown_order'} end
if not redis.call('ZSCORE', P .. 'dead', id) then return {'not_dead', row(order), 0} end
local stock, limit = unpack(redis.call('HMGET', product_key(order.product), 'stock', 'limit'))
if tonumber(stock) < order.quantity then return {'sold_out', row(order), 0} end
local has = units_of(order.user, order.product)
if limit ~= '' and has + order.quantity > tonumber(limit) then return {'limit_exceeded', row(order), 0} end

return commit_after(function()
  add(product_key(order.product), 'stock', -order.quantity)
  add(product_key(order.product), 'held', order.quantity)
  redis.call('ZREM', P .. 'dead', id)
  order.generations = order.generations or {}
  order.generations[order.generation + 1] = {order.accepted, order.expires, order.position, order.eta, order.attempts,
                                       order.settled, order.reason}
  order.position, order.eta = promise()
  order.state, order.accepted, order.expires, order.generation = 'pending', NOW, NOW + ARGV[6], order.generation + 1
  order.attempts, order.begun, order.settled, order.reason = 0, 0, 0, ''
  index_by_user(order, has + order.quantity)
  list_accepted(short(id))
  redis.call('ZADD', P .. 'deadlines', NOW + ARGV[6], id)
  enqueue(order)
  save(order)
  note_change(order, 'pending', order.generation)
  count('requeued')
  return keep_answer(ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'requeued', row(order))
end)
