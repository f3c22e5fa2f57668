-- The words and steps that every script of the ledger shares. The loader puts this text before each script.
--
-- KEYS[1] is the prefix of one shard, '{fs:NN}:', behind STORE_PREFIX where there is one. Every key below starts with it, so
-- that a script touches one slot of a cluster; the order ids that name the other keys are only known inside the script.
-- KEYS[2] is the key 'store' of the shard. One key that never exists and one that does: so a cluster runs no script in a
-- slot that moves, on either side (TRYAGAIN, ASK). And in a shard without it, which lost what it held, no script runs but
-- those that get KEYS[3], too.
--
--   store              string: which store the shard is a part of
--   catalogue          set of product ids
--   product:<id>       hash: name price currency initial restocked stock held sold limit opens closes; archived = sold
--                      units whose orders were forgotten; opens below zero = open without a time, put so at -opens;
--                      halted: paused or archived, and else '' or not there; and of a sale by ticket, see `_tickets.lua`:
--                      admission round given drawn seed turn moved
--   tickets:<round>:<product>:<bucket>
--                      hash: rest of a user's digest -> number of the user's ticket; ends with its time to live
--   ticket_key         string: signs the tickets for the products of this shard
--   o:<short id>       one order, packed as `save` says
--   u:<user>           sorted set: short ids of the user's orders -> time of acceptance in ms; '=' and a product's id ->
--                      units of it that the user holds or bought, below FIRST_TIME
--   accepted           stream: all orders in the order of their acceptance; the id of an entry is when, o = their short ids,
--                      those of one call one behind the other
--   events             stream: the feed, all changes of orders in their order, see `note_change`; those of one call in one entry
--   trimmed            string: id of the last entry that was taken off the feed
--   ended              list of short ids of orders that ended, in that order, but for dead letters
--   idem:<digest>      string: short order id and half the fingerprint, ends with its time to live
--   request:<id>       string: an admin request that was carried out: fingerprint, outcome and product row, packed;
--                      ends with its time to live
--   cancels:<user>     string: when in ms the user's cancellations are due, at the rate that is allowed; ends then
--   queue              stream: o = order id, t = traceparent; group 'workers'
--   workers            sorted set: consumer -> time of its last heartbeat
--   deadlines          sorted set: orders that nobody began -> end of the reservation
--   begun              sorted set: live orders that a worker began -> when
--   delayed            sorted set: orders waiting for another attempt -> when
--   retried            sorted set: live orders that were deferred at least once -> time of acceptance
--   dead               sorted set: orders given up -> when
--   lease:<name>       string: who has a lease, ends with its time to live
--   claim:<digest>     string: the fingerprint of the request that has an idempotency key, where its product is elsewhere
--   rate:<digest>      string: when in us the next request of somebody is due, at the rate that is allowed; ends then
--   refunds            sorted set: keys of payments to be given back -> when to try, unless nothing was captured; '.' and a
--                      number behind it: of a confirmed order that part, see `load_order`
--   lost               sorted set: short ids of orders that were acknowledged and are gone -> when that was found
--   totals             hash: how many orders reached each status, `requeued`, `lost`, `refunds` (also of a part), and of the orders
--                      that were forgotten how many had which: `archived:<status>`; `revenue:<currency>`, confirmed minus
--                      refunded in minor units, and `archived:revenue:<currency>`, that of forgotten orders; `drain` and
--                      `capacity`, rates as last known; `busy`, see `pace`
--   refused            hash: how many orders were refused for each reason, by the ledger or by an API process (shard 0)
--   call:<id>          string: the refusals of one call of `place`, ends with its time to live
--   refusals:<process> string: number of the last lot of refusals that the process sent, ends with its time to live
--   second:<epoch>     hash: what happened in that second, kept for two minutes
--   past               sorted set: the sale of the last minutes, figures as text -> when; ends with its time to live (shard 0)
--   damaged            hash: what was found foreign or damaged and set aside -> when, and more
--   beat               hash: `last`, when somebody last wrote here just to write; `resumed`, when the last standstill ended;
--                      `leapt` and `leap`, see `since`
local THERE = redis.call('EXISTS', KEYS[2])
if THERE == 0 and not KEYS[3] then
  return redis.error_reply('SHARDGONE this shard of the store is empty, though it was in use')
end
local P = KEYS[1]
local SHARD = string.sub(P, -4, -3)
local GROUP = 'workers'
local STATES = {'pending', 'processing', 'confirmed', 'failed', 'expired', 'cancelled', 'refunded'}
local STATE = {pending = 1, processing = 2, confirmed = 3, failed = 4, expired = 5, cancelled = 6, refunded = 7}

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local NOW = clock()

-- Notes what does not belong here, once; it was taken out of the way, and a person is to look.
local MAX_DAMAGED = 1000
local function set_aside(what, which, more)
  local key = P .. 'damaged'
  if redis.call('HLEN', key) < MAX_DAMAGED then
    redis.call('HSET', key, what .. ' ' .. string.sub(which, 1, 64), NOW .. ' ' .. string.sub(more, 1, 128))
  end
end

-- Takes a key that holds what is not ours out of the way, under another name: whoever put it there may want it.
local function put_aside(name, what, which, more)
  redis.call('RENAME', P .. name, P .. 'damaged:' .. name .. ':' .. NOW)
  set_aside(what, which, more)
end

-- What was caught as an error to raise or to return: `pcall` gives the server's own as a text, `redis.pcall` as a table. Raised
-- as a text it would be an `ERR`, and nobody would know an outage by its first word.
local function as_error(problem)
  local text = type(problem) == 'table' and problem.err or tostring(problem)
  return {err = string.match(text, '^%u+ ') and text or 'ERR ' .. text}
end

-- Whether an error tells of what a key holds, and not of an outage, as `OOM` and `READONLY` do.
local function is_damage(problem)
  local word = string.match(as_error(problem).err, '^%u+')
  return word == 'ERR' or word == 'WRONGTYPE'
end

local function product_key(id) return P .. 'product:' .. id end
local function user_key(user) return P .. 'u:' .. user end

-- An order id in 14 bytes: its 28 hexadecimal digits without the shard, which the key has; and back.
-- The first 12 digits are when the id was made, by the clock of who made it.
local SHORT, MADE = {}, {}
local function word(id, from, to) return tonumber(string.sub(id, from, to), 16) or 0 end
local function short(id)
  if not SHORT[id] then
    MADE[id] = word(id, 3, 14)
    SHORT[id] = struct.pack('>I6I6I2', MADE[id], word(id, 15, 26), word(id, 27, 30))
  end
  return SHORT[id]
end
local function made(id) return short(id) and MADE[id] end
local function long(bytes)
  return SHARD .. string.format('%012x%012x%04x', struct.unpack('>I6I6I2', bytes))
end
local function order_key(id) return P .. 'o:' .. short(id) end

-- When the store last went on, in ms, after nobody had written for so long, though every process does so once a second;
-- a clock that was set ends a standstill, too. A gap beyond `LEAP` is a clock that was set forward, or a machine that
-- slept: such time did not pass for anybody. `leapt` is the last beat before it, `leap` how long it is.
local STANDSTILL, LEAP = 3000, 120000
local times
local function beat_times()
  if not times then
    local v = redis.call('HMGET', P .. 'beat', 'last', 'resumed', 'leapt', 'leap')
    v[1] = tonumber(v[1]) -- nil where somebody wrote something else there
    local gap = v[1] and NOW - v[1] or 0
    times = {resumed = tonumber(v[2]) or 0, leapt = tonumber(v[3]) or 0, leap = tonumber(v[4]) or 0, back = 0}
    if math.abs(gap) > STANDSTILL then times.resumed = NOW end
    if gap > LEAP then times.leapt, times.leap = tonumber(v[1]), gap end
    if gap < -STANDSTILL then times.leapt, times.leap, times.back = 0, 0, -gap end
  end
  return times
end
local function resumed() return beat_times().resumed end
local function beat()
  local t = beat_times()
  redis.call('HSET', P .. 'beat', 'last', NOW, 'resumed', t.resumed, 'leapt', t.leapt, 'leap', t.leap)
end

-- How many ms have passed since a time that was noted here, also when the clock was set meanwhile: never less than none.
local function since(past)
  local t = beat_times()
  return math.max(NOW - past - (tonumber(past) < t.leapt + t.leap / 2 and t.leap or 0), 0)
end

-- Adds n to a counter of the present second; `window` sums them.
local function incr_window(field, n)
  local key = P .. 'second:' .. math.floor(NOW / 1000)
  if redis.call('HINCRBY', key, field, n) == n then redis.call('EXPIRE', key, 120) end
end

local function count(status) redis.call('HINCRBY', P .. 'totals', status, 1) end

-- Adds what so many units of an order cost to a total. One that can hold no more, at 2^63, stops no settlement.
local function earn(total, order, units, key)
  redis.pcall('HINCRBY', key or P .. 'totals', total .. order.currency, string.format('%d', order.price * units))
end

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

-- Orders that no worker has in hand: those that stand before the next one.
local function line_length()
  local held = redis.pcall('XPENDING', P .. 'queue', GROUP)
  return math.max(redis.call('XLEN', P .. 'queue') - (held.err and 0 or held[1]), 0)
end

-- Appends to a stream, at the present moment. A clock that steps back does not take the stream with it: then at the latest
-- moment that it has. What is no stream is not ours, and in the way.
local function append(name, field, value)
  local key = P .. name
  if type(redis.pcall('XADD', key, NOW .. '-*', field, value)) == 'string' then return end
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'stream' then put_aside(name, 'key', name, 'a ' .. kind) end
  redis.call('XADD', key, '*', field, value)
end

-- The feed of all changes of orders. Noted is what cannot be told from the order later, packed: type, short order id, and the
-- generation or, of a refund, which one it is; and its reason. `events.lua` makes the order as it was of that.
local CHANGE = '>Bc14H'
local changes, noted = {}, {}
local function note_change(order, status, number, reason)
  local change = struct.pack(CHANGE, STATE[status], short(order.id), number)
  if status == 'refunded' then change = change .. struct.pack('>Hc0', #reason, reason) end
  changes[#changes + 1] = change
  noted[status] = (noted[status] or 0) + 1
end

-- Does the work of a step, and gives the feed and the totals what it changed: also where it breaks off in the middle.
local function with_feed(work)
  local done, result = pcall(work)
  if #changes > 0 then
    append('events', 'e', table.concat(changes))
    for status, n in pairs(noted) do
      redis.call('HINCRBY', P .. 'totals', status == 'refunded' and 'refunds' or status, n)
    end
  end
  if not done then error(as_error(result), 0) end
  return result
end

-- The pace of the queue, from here to `promise`: docs/decisions/orders-pace.md says why it is measured so.
-- Orders per 1000 s that the workers settle while a line waits, by `busy_n` and `busy_ms`; else as last known, else 0.
local EVIDENCE, ENOUGH = 200, 10000
local function capacity_milli(n, ms)
  local now = redis.call('HMGET', P .. 'second:' .. math.floor(NOW / 1000), 'busy_n', 'busy_ms')
  n, ms = n + (tonumber(now[1]) or 0), ms + (tonumber(now[2]) or 0)
  if ms >= EVIDENCE then return math.floor(n * 1000000 / ms), ms end
  return tonumber(redis.call('HGET', P .. 'totals', 'capacity')) or 0, 0
end

-- Orders per 1000 s: drain (by which waits are predicted), capacity, and what was settled in the last 10 s.
local function rates()
  local settled, n, ms = window(10, 'settled', 'busy_n', 'busy_ms')
  local capacity, seen = capacity_milli(n, ms)
  local drain = seen >= ENOUGH and capacity or math.max(capacity, settled * 100)
  if drain == 0 then drain = tonumber(redis.call('HGET', P .. 'totals', 'drain')) or 0 end
  return drain, capacity, settled * 100
end


-- Notes that n orders were settled just now, and the time since the last settlement if a line waited all the while: of it,
-- no more than the workers took over the longest of these orders, which is `worked` ms.
local LONGEST = 60000
local function pace(n, worked)
  local since = tonumber(redis.call('HGET', P .. 'totals', 'busy')) or 0
  if since > resumed() then
    incr_window('busy_n', n)
    incr_window('busy_ms', math.max(math.min(NOW - since, worked, LONGEST), 0))
  end
  local _, capacity, settled = rates()
  redis.call('HSET', P .. 'totals', 'busy', line_length() > 0 and NOW or 0, 'capacity', capacity)
  if settled > 0 then redis.call('HSET', P .. 'totals', 'drain', settled) end
end

-- Notes that workers took orders in hand: when they have all of them, nobody waits any more.
local function took_in_hand()
  local busy = redis.call('HGET', P .. 'totals', 'busy')
  if busy and busy ~= '0' and line_length() == 0 then redis.call('HSET', P .. 'totals', 'busy', 0) end
end

-- The place that the next order takes in the queue, and how long it will wait for a worker in ms; -1 when nobody knows.
local queued, line, drain
local function promise()
  queued, line = queued or queue_length(), line or line_length()
  local ahead = line
  queued, line = queued + 1, line + 1
  if ahead == 0 then return queued, 0 end
  drain = drain or rates()
  return queued, drain > 0 and math.floor(ahead * 1000000 / drain) or -1
end

-- Writes an order. One that ended keeps what a caller can ask for and no more, and a dead letter what it would be paid with.
-- `accepted` is told from when its id was made, the other times from `accepted`: differences are short. What most orders
-- lack comes last.
local function save(order)
  local v = {STATE[order.state], order.product, order.user, order.quantity, order.price, order.currency,
             order.accepted - made(order.id), order.expires - order.accepted, order.position, order.eta, order.attempts,
             order.generation, order.reason, order.payment}
  if order.settled > 0 then
    v[15] = math.max(order.settled - order.accepted, 0)  -- the clock of another server may be behind
    local more = order.lives or #order.parts > 0
    if order.reference ~= '' or order.token ~= '' or more then v[16], v[17] = order.reference, order.token end
    if more then v[18], v[19], v[20] = order.parts, order.lives or false, order.refunded end
  else
    v[15], v[16], v[17], v[18], v[19] = -1, order.begun, order.entry, order.call, order.trace
    if order.reference ~= '' or order.token ~= '' or order.lives then v[20], v[21] = order.reference, order.token end
    v[22] = order.lives
  end
  redis.call('SET', order_key(order.id), cmsgpack.pack(v))
end

-- Reads an order: its `settled` is 0 until it ends, its `begun` until it is begun; nil if there is none. `parts` has the units
-- of each refund of a confirmed order, below 0 those that did not return to stock; `refunded` is when the last one was, 0 if
-- there is none. `lives` has what the order was in each generation before, until it was requeued; nil if it never was.
-- What is no order is put aside.
local NUMBERS = {4, 5, 7, 8, 9, 10, 11, 12, 15}
local function unpacked(packed)
  local ok, v = pcall(cmsgpack.unpack, packed)
  if not ok or type(v) ~= 'table' or not STATES[v[1]] or type(v[2]) ~= 'string' or type(v[3]) ~= 'string' then return nil end
  for _, i in ipairs(NUMBERS) do
    if not tonumber(v[i]) then return nil end
  end
  return v
end
local function load_order(id)
  local packed = redis.pcall('GET', order_key(id))
  if not packed then return nil end
  local v = type(packed) == 'string' and unpacked(packed)
  if not v then
    put_aside('o:' .. short(id), 'order', id, 'no order')
    return nil
  end
  local accepted, ended = made(id) + v[7], v[15] >= 0
  return {id = id, state = STATES[v[1]], product = v[2], user = v[3], quantity = v[4], price = v[5], currency = v[6],
          accepted = accepted, expires = accepted + v[8], position = v[9], eta = v[10], attempts = v[11], generation = v[12],
          reason = v[13], payment = v[14], settled = ended and accepted + v[15] or 0,
          begun = not ended and v[16] or 0, entry = not ended and v[17] or '', call = not ended and v[18] or '',
          trace = not ended and v[19] or '',
          reference = ended and v[16] or v[20] or '', token = ended and v[17] or v[21] or '',
          parts = ended and v[18] or {}, refunded = ended and v[20] or 0, lives = (ended and v[19] or v[22]) or nil}
end

-- Puts an order into the queue; the caller saves it.
local function enqueue(order)
  order.entry = redis.call('XADD', P .. 'queue', '*', 'o', order.id, 't', order.trace)
end

-- Takes the entry out of the queue for good. Never trims: an entry that somebody holds would be lost.
local function dequeue(entry)
  if entry ~= '' then
    redis.call('XACK', P .. 'queue', GROUP, entry)
    redis.call('XDEL', P .. 'queue', entry)
  end
end

-- The list of a user's orders holds the user's units of each product, too: a large hash less. A score from FIRST_TIME on
-- is a time, one below it a number of units: the year 2001 is over, and nobody can sell so many.
local FIRST_TIME = 1e12
local function units_of(user, product) return tonumber(redis.call('ZSCORE', user_key(user), '=' .. product)) or 0 end

-- Puts what is of another type under a user's keys aside.
local function heal_user(user)
  for name, wanted in pairs({['u:' .. user] = 'zset', ['cancels:' .. user] = 'string'}) do
    local kind = redis.call('TYPE', P .. name).ok
    if kind ~= wanted and kind ~= 'none' then put_aside(name, 'user', user, 'a ' .. kind) end
  end
end

-- Units count against a buyer's limit, or no more when n is negative.
local function count_towards_limit(user, product, n)
  local units = redis.pcall('ZINCRBY', user_key(user), n, '=' .. product)
  if type(units) == 'table' then
    if not is_damage(units) then error(as_error(units)) end
    heal_user(user)
    units = redis.call('ZINCRBY', user_key(user), n, '=' .. product)
  end
  units = tonumber(units)
  if units <= 0 then redis.call('ZREM', user_key(user), '=' .. product) end
end

-- Puts an order into the list of its user, or moves it there when it was requeued.
local function index_by_user(order) redis.call('ZADD', user_key(order.user), order.accepted, short(order.id)) end

-- Units go from stock to held, or back when n is negative.
local function hold(product, user, n)
  redis.call('HINCRBY', product_key(product), 'stock', -n)
  redis.call('HINCRBY', product_key(product), 'held', n)
  count_towards_limit(user, product, n)
end

-- How often a user may give units back, by the generic cell rate algorithm (ITU-T I.371): each cancellation is due an
-- interval after the one before. How many ms the next order of a user is too early; what is due within a minute may come at once.
local BURST = 60000
local function cancels_key(user) return P .. 'cancels:' .. user end
local function cancelled_too_much(user, interval)
  if interval <= 0 then return 0 end
  local due = tonumber(redis.call('GET', cancels_key(user)) or 0)
  return math.max(math.ceil(due - NOW - (BURST - interval)), 0)
end
local function note_cancellation(user, interval)
  if interval <= 0 then return end
  local due = math.max(tonumber(redis.call('GET', cancels_key(user)) or 0), NOW) + interval
  redis.call('SET', cancels_key(user), string.format('%.3f', due), 'PX', math.ceil(due - NOW))
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

-- Units of a confirmed order whose money was given back, or is to be; and those of them that are on sale again.
local function refunded(order)
  local all, returned = 0, 0
  for _, units in ipairs(order.parts) do
    all, returned = all + math.abs(units), returned + math.max(units, 0)
  end
  return all, returned
end

-- An order as the caller sees it; nil if there is none.
local function row(order)
  return order and {order.id, order.state, order.product, order.user, order.quantity, order.price, order.currency,
                    order.accepted, order.expires, order.position, math.max(order.eta, 0), order.attempts,
                    order.settled, order.reason, order.payment, order.generation, order.reference,
                    refunded(order)}
end
local function order_row(id) return row(load_order(id)) end

-- A product as the caller sees it; nil if there is none, or what is there is none.
local FIGURES = {2, 4, 5, 6, 7, 8, 10}
local function product_row(id)
  local v = redis.pcall('HMGET', product_key(id), 'name', 'price', 'currency', 'initial', 'restocked', 'stock', 'held',
                       'sold', 'limit', 'opens', 'closes', 'archived', 'halted', 'admission', 'given', 'turn')
  if v.err or not v[1] then return nil end
  for _, i in ipairs(FIGURES) do
    if not tonumber(v[i]) then return nil end
  end
  v[12], v[13], v[14], v[15], v[16] = v[12] or '0', v[13] or '', v[14] or '', v[15] or '0', v[16] or ''
  table.insert(v, 1, id)
  return v
end

-- Changes with whatever the merchant may set, and not with what is held or sold: see `Product.revision`.
local function revision(id)
  local v = redis.call('HMGET', product_key(id), 'name', 'price', 'currency', 'initial', 'restocked', 'limit', 'opens',
                       'closes', 'halted', 'admission')
  local total = string.format('%.0f', v[4] + v[5])
  return string.sub(redis.sha1hex(table.concat({v[1], v[2], v[3], total, v[6], v[7], v[8], v[9] or '',
                                                         v[10] == 'ticket' and v[10] or nil}, '\0')), 1, 20)
end
