-- Forgets orders that ended long ago, the oldest first, and books what they were as totals. One whose payment is still to
-- be given back, or was refunded lately, goes to the end of the list. Before that the feed forgets the changes of that time:
-- it cannot tell them without the orders. Safe to send twice, from any number of processes.
-- Needs:   ends, trim
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 retention in ms, 2 how many to look at, at most
-- Returns: how many were forgotten
local ended = P .. 'ended'

local function owes(order)
  for generation = 0, order.generation do
    if redis.call('ZSCORE', P .. 'refunds', payment_key(order.id, generation)) then return true end
  end
  for part = 1, #order.parts do
    if redis.call('ZSCORE', P .. 'refunds', part_key(order, part)) then return true end
  end
end

-- Takes an entry off the list of all orders with the last of its orders.
local function unlist(order)
  local entry = entry_of(order)
  if not entry then return end
  for _, id in ipairs(ids_in(entry)) do
    if redis.call('EXISTS', P .. 'o:' .. id) == 1 then return end
  end
  redis.call('XDEL', ACCEPTED, entry[1])
end

local function forget(order)
  redis.call('DEL', order_key(order.id))
  redis.call('ZREM', user_key(order.user), short(order.id))
  unlist(order)
  count('archived:' .. order.state)
  if order.state == 'confirmed' or order.state == 'refunded' then
    local given_back, returned = refunded(order)
    redis.call('HINCRBY', product_key(order.product), 'archived', order.quantity - returned)
    earn('archived:revenue:', order, order.quantity - given_back)
    if given_back < order.quantity then count_towards_limit(order.user, order.product, given_back - order.quantity) end
  end
end

local forgotten = 0
if not trim_events(NOW - ARGV[1], 1000) then return 0 end
for _ = 1, math.min(tonumber(ARGV[2]), redis.call('LLEN', ended)) do
  local first = redis.call('LINDEX', ended, 0)
  local order = first and load_order(long(first))
  if not first or (order and order.settled + ARGV[1] > NOW) then break end
  redis.call('LPOP', ended)
  if order and (owes(order) or order.refunded + ARGV[1] > NOW) then
    redis.call('RPUSH', ended, first)
  elseif order then
    forget(order)
    forgotten = forgotten + 1
  end
end
commit()
return forgotten
