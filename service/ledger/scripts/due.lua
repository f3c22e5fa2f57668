-- Says in how many ms something is to be done by the clock: 0 when it is due, -1 when there is nothing to do. Writes nothing.
-- Needs:   orders, streams
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 how long changes are kept on the feed in ms, 2 how long orders that ended are kept in ms, -1 = for ever
-- Returns: {until a reservation ends, until a deferred order comes back, until a change leaves the feed, until an order that
--          ended is forgotten}
local function from_now(time) return time and math.max(math.ceil(time - NOW), 0) or -1 end
local function first_of(list) return tonumber(redis.call('ZRANGE', P .. list, 0, 0, 'WITHSCORES')[2]) end

-- At rest there is neither.
local some = redis.call('EXISTS', P .. 'deadlines', P .. 'delayed') > 0
local change = feed('-', '+', 1)[1]
local forget
local ended = tonumber(ARGV[2]) >= 0 and redis.call('LINDEX', P .. 'ended', 0)
if ended then
  local order = load_order(long(ended))
  forget = order and order.settled + ARGV[2] or NOW
end
return {from_now(some and first_of('deadlines')), from_now(some and first_of('delayed')),
        from_now(change and tonumber(string.match(change[1], '^%d+')) + ARGV[1]), from_now(forget)}
