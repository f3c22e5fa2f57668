-- What every script has: the shard, its keys, the time, the ids of orders, and what to do about damage.
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
--   webhook            string: how far the webhook was told of the feed: its place, see `webhook.lua`; there once there was one
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
--                      refunded in minor units, and `archived:revenue:<currency>`, that of forgotten orders; `by_ticket`, how
--                      many were placed with a ticket; `drain` and `capacity`, rates as last known; `busy`, see `pace`; `webhook_expired`, see `_trim.lua`
--   refused            hash: how many orders were refused for each reason, by the ledger or by an API process (shard 0)
--   call:<id>          string: the refusals of one call of `place`, ends with its time to live
--   refusals:<process> string: number of the last lot of refusals that the process sent, ends with its time to live
--   second:<epoch>     hash: what happened in that second, kept for two minutes; `before`, what `rates`
--                      needs of the ten seconds before it
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
-- For commands, which take whole numbers as text several times as quickly.
local function text(n) return string.format('%d', n) end
local AT = text(NOW)

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
