-- The words and steps that every script of the ledger shares. The loader puts this text before each script.
--
-- KEYS[1] is the prefix of one shard, '{fs:NN}:'. Every key below starts with it, so that a script touches
-- one slot of a cluster; the order ids that name the other keys are only known inside the script.
--
--   catalogue          set of product ids
--   product:<id>       hash: name price currency initial restocked stock held sold limit opens closes
--   buyers:<id>        hash: user -> units of that product held or bought
--   order:<id>         hash: one order, fields in O
--   user:<id>          sorted set of order ids by time of acceptance
--   idem:<digest>      string '<order id> <fingerprint>', ends with its time to live
--   request:<id>       string: the reply to an admin request already carried out, ends with its time to live
--   queue              stream: o = order id, t = traceparent; group 'workers'
--   workers            sorted set: consumer -> time of its last heartbeat
--   deadlines          sorted set: orders that nobody began -> end of the reservation
--   delayed            sorted set: orders waiting for another attempt -> when
--   retried            sorted set: live orders that were deferred at least once -> time of acceptance
--   dead               sorted set: orders given up -> when
--   lease:<name>       string: who has a lease, ends with its time to live
--   claim:<digest>     string: the fingerprint of the request that has an idempotency key, where its product is elsewhere
--   refunds            sorted set: keys of payments to be given back -> when to try, unless nothing was captured
--   totals             hash: how many orders reached each status, and `requeued`
--   refused            hash: how many orders were refused for each reason, by the ledger or by an API process (shard 0)
--   call:<id>          string: the refusals of one call of `place`, ends with its time to live
--   refusals:<process> string: number of the last lot of refusals that the process sent, ends with its time to live
--   second:<epoch>     hash: what happened in that second, kept for two minutes
local P = KEYS[1]
local GROUP = 'workers'
local O = {state = 's', product = 'p', user = 'u', quantity = 'q', price = 'm', currency = 'c', accepted = 'a',
           expires = 'x', position = 'n', eta = 'w', entry = 'i', attempts = 'k', begun = 'b', settled = 'e',
           reason = 'r', payment = 'y', trace = 't', life = 'l', call = 'g'}

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local NOW = clock()

local function product_key(id) return P .. 'product:' .. id end
local function buyers_key(id) return P .. 'buyers:' .. id end
local function order_key(id) return P .. 'order:' .. id end

-- Adds n to a figure of the present second.
local function tally(field, n)
  local key = P .. 'second:' .. math.floor(NOW / 1000)
  if redis.call('HINCRBY', key, field, n) == n then redis.call('EXPIRE', key, 120) end
end

local function count(status) redis.call('HINCRBY', P .. 'totals', status, 1) end

-- Sums the fields over the last n whole seconds.
local function window(n, ...)
  local sums, this = {}, math.floor(NOW / 1000)
  for i = 1, select('#', ...) do sums[i] = 0 end
  for s = this - n, this - 1 do
    local row = redis.call('HMGET', P .. 'second:' .. s, ...)
    for i = 1, #sums do sums[i] = sums[i] + (tonumber(row[i]) or 0) end
  end
  return unpack(sums)
end

-- Orders waiting or being processed.
local function queue_length()
  return redis.call('XLEN', P .. 'queue') + redis.call('ZCARD', P .. 'delayed')
end

-- Orders settled per 1000 s: over the last 10 s, else as last known, else 0.
local function drain_milli()
  local settled = window(10, 'settled')
  if settled > 0 then return settled * 100 end
  return tonumber(redis.call('HGET', P .. 'totals', 'drain')) or 0
end

-- The place that the next order takes in the queue, and how long it will wait in ms; 0 when nobody knows.
local function promise(drain)
  local position = queue_length() + 1
  return position, drain > 0 and math.floor(position * 1000000 / drain) or 0
end

local function load_order(id)
  local v = redis.call('HMGET', order_key(id), O.state, O.product, O.user, O.quantity, O.accepted, O.expires,
                       O.entry, O.attempts, O.begun, O.eta, O.trace, O.call, O.life)
  if not v[1] then return nil end
  return {id = id, state = v[1], product = v[2], user = v[3], quantity = tonumber(v[4]), accepted = tonumber(v[5]),
          expires = tonumber(v[6]), entry = v[7], attempts = tonumber(v[8]) or 0, begun = tonumber(v[9]),
          eta = tonumber(v[10]) or 0, trace = v[11] or '', call = v[12],
          life = tonumber(v[13]) or 0}
end

local function enqueue(order)
  local entry = redis.call('XADD', P .. 'queue', '*', 'o', order.id, 't', order.trace)
  redis.call('HSET', order_key(order.id), O.entry, entry)
  order.entry = entry
end

-- Takes the entry out of the queue for good. Never trims: an entry that somebody holds would be lost.
local function dequeue(entry)
  if entry and entry ~= '' then
    redis.call('XACK', P .. 'queue', GROUP, entry)
    redis.call('XDEL', P .. 'queue', entry)
  end
end

-- Units go from stock to held, or back when n is negative.
local function hold(product, user, n)
  redis.call('HINCRBY', product_key(product), 'stock', -n)
  redis.call('HINCRBY', product_key(product), 'held', n)
  if redis.call('HINCRBY', buyers_key(product), user, n) <= 0 then redis.call('HDEL', buyers_key(product), user) end
end

-- The one way into a final status: the units, the totals and the queue change together, once.
local function finish(order, status, reason, payment)
  if status == 'confirmed' then
    redis.call('HINCRBY', product_key(order.product), 'held', -order.quantity)
    redis.call('HINCRBY', product_key(order.product), 'sold', order.quantity)
  else
    hold(order.product, order.user, -order.quantity)
  end
  dequeue(order.entry)
  redis.call('ZREM', P .. 'deadlines', order.id)
  redis.call('ZREM', P .. 'delayed', order.id)
  redis.call('ZREM', P .. 'retried', order.id)
  redis.call('HDEL', order_key(order.id), O.entry, O.trace, O.call, O.reason)
  redis.call('HSET', order_key(order.id), O.state, status, O.settled, NOW)
  if reason ~= '' then redis.call('HSET', order_key(order.id), O.reason, reason) end
  if payment and payment ~= '' then redis.call('HSET', order_key(order.id), O.payment, payment) end
  count(status)
  order.state = status
end

-- A worker's verdict on an order: also a figure of the present second.
local function settle(order, status, reason, payment)
  finish(order, status, reason, payment)
  tally('settled', 1)
  tally('took', NOW - order.accepted)
  if status == 'failed' then tally('failed', 1) end
end

-- Whether an order was given up and waits for a person. A worker that lost the answer must hear it again: it refunds.
local function is_dead(order)
  return order and order.state == 'failed' and redis.call('ZSCORE', P .. 'dead', order.id)
end

-- Notes that whatever was captured under the key of this life must be given back. `Order.payment_key` has the same key.
-- A refund that overtakes the money finds nothing, and what a dead worker asked for may still be on its way: it waits.
local MONEY_MOVES = 5000
local function owe_refund(order, life, delay)
  redis.call('ZADD', P .. 'refunds', NOW + delay, life > 0 and order.id .. '-' .. life or order.id)
end

local function bury(order, reason)
  settle(order, 'failed', reason)
  owe_refund(order, order.life, MONEY_MOVES)
  redis.call('ZADD', P .. 'dead', NOW, order.id)
end

-- An order as the caller sees it; nil if there is none.
local function order_row(id)
  local v = redis.call('HMGET', order_key(id), O.state, O.product, O.user, O.quantity, O.price, O.currency, O.accepted,
                       O.expires, O.position, O.eta, O.attempts, O.settled, O.reason, O.payment, O.life)
  if not v[1] then return nil end
  for i = 1, 15 do v[i] = v[i] or '' end
  table.insert(v, 1, id)
  return v
end

local function product_row(id)
  local v = redis.call('HMGET', product_key(id), 'name', 'price', 'currency', 'initial', 'restocked', 'stock', 'held',
                       'sold', 'limit', 'opens', 'closes')
  if not v[1] then return nil end
  table.insert(v, 1, id)
  return v
end
