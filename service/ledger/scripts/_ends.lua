-- How an order ends.
-- Needs:   time, writes, buyers

-- Takes the entry out of the queue for good. Never trims: an entry that somebody holds would be lost.
local function dequeue(entry)
  if entry ~= '' then
    gather('XACK', 'queue', entry)
    gather('XDEL', 'queue', entry)
  end
end

-- From now on the order is forgotten when its retention is over.
local function schedule_retention(id) gather('RPUSH', 'ended', short(id)) end

-- Fails where a product's figures are none, before anything of its orders is written. One that is gone is begun anew.
local sound = {}
local function check_figures(product)
  if sound[product] then return end
  for _, figure in ipairs(redis.call('HMGET', product, 'stock', 'held', 'sold')) do
    if figure and not string.match(figure, '^-?%d+$') then error('ERR a figure of a product is no number', 0) end
  end
  sound[product] = true
end

-- Most shards have no order that was ever deferred, and most calls need not look for theirs among those.
local some_deferred
local function forget_deferral(id)
  if some_deferred == nil then some_deferred = redis.call('EXISTS', P .. 'delayed', P .. 'retried') > 0 end
  if some_deferred then
    gather('ZREM', 'delayed', id)
    gather('ZREM', 'retried', id)
  end
end

-- The one way into a final status: the units, the totals and the queue change together, once.
local function finish(order, status, reason, payment, dead)
  local product, units = product_key(order.product), order.quantity
  check_figures(product)
  if status == 'confirmed' then
    add(product, 'sold', units)
    earn('revenue:', order, units)
  else
    count_towards_limit(order.user, order.product, -units) -- before the rest: it may find damage
    add(product, 'stock', units)
  end
  add(product, 'held', -units)
  dequeue(order.entry)
  gather('ZREM', order.begun == 0 and 'deadlines' or 'begun', order.id)
  forget_deferral(order.id)
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
