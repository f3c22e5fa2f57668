-- How an order ends.
-- Needs:   time, writes, buyers

-- Units go from stock to held, or back when n is negative.
local function hold(product, user, n)
  redis.call('HINCRBY', product_key(product), 'stock', -n)
  redis.call('HINCRBY', product_key(product), 'held', n)
  count_towards_limit(user, product, n)
end

-- Takes the entry out of the queue for good. Never trims: an entry that somebody holds would be lost.
local function dequeue(entry)
  if entry ~= '' then
    redis.call('XACK', P .. 'queue', GROUP, entry)
    redis.call('XDEL', P .. 'queue', entry)
  end
end

-- From now on the order is forgotten when its retention is over.
local function schedule_retention(id) redis.call('RPUSH', P .. 'ended', short(id)) end

-- The one way into a final status: the units, the totals and the queue change together, once.
local function finish(order, status, reason, payment, dead)
  if status == 'confirmed' then
    redis.call('HINCRBY', product_key(order.product), 'held', -order.quantity)
    redis.call('HINCRBY', product_key(order.product), 'sold', order.quantity)
    earn('revenue:', order, order.quantity)
  else
    hold(order.product, order.user, -order.quantity)
  end
  dequeue(order.entry)
  redis.call('ZREM', P .. (order.begun == 0 and 'deadlines' or 'begun'), order.id)
  redis.call('ZREM', P .. 'delayed', order.id)
  redis.call('ZREM', P .. 'retried', order.id)
  order.state, order.settled, order.reason, order.payment = status, NOW, reason, payment or ''
  if not dead then order.token = '' end
  save(order)
  note_change(order, status, order.generation)
  if not dead then schedule_retention(order.id) end
end

-- A worker's settlement of an order: also a figure of the present second.
local function settle(order, status, reason, payment, dead)
  finish(order, status, reason, payment, dead)
  incr_window('settled', 1)
  incr_window('took', since(order.accepted))
  if status == 'failed' then incr_window('failed', 1) end
end

-- Whether an order was given up and waits for a person. A worker that lost the answer must hear it again: it refunds.
local function is_dead(order)
  return order and order.state == 'failed' and redis.call('ZSCORE', P .. 'dead', order.id)
end

-- Notes that whatever was captured under the key of this generation must be given back. `Order.payment_key` has the same key.
-- A refund that overtakes the money finds nothing, and what a dead worker asked for may still be on its way: it waits.
local MONEY_MOVES = 5000
local function payment_key(id, generation) return generation > 0 and id .. '-' .. generation or id end
local function part_key(order, part) return payment_key(order.id, order.generation) .. '.' .. part end
local function owe_refund(order, generation, delay)
  redis.call('ZADD', P .. 'refunds', NOW + delay, payment_key(order.id, generation))
end

local function dead_letter(order, reason)
  settle(order, 'failed', reason, '', true)
  owe_refund(order, order.generation, MONEY_MOVES)
  redis.call('ZADD', P .. 'dead', NOW, order.id)
end
