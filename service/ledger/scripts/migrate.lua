-- Makes the list of all orders, and the totals of what they earned, which a store of form 3 has not: beside their places,
-- and put there when they are whole. What forgotten orders earned is not known any more.
-- Needs:   writes
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 what to do: `begin` anew, read the `times` of acceptance, `add` orders, `end`, or count the `forgotten`; 2... ids of orders, for `add`
--          in the order of their acceptance
-- Returns: of `begin`, 0 if the list is there already; of `times`, one for each order, -1 where it is gone; of `forgotten`,
--          how many orders were bought and forgotten before; else nothing
local NEW, EARNED = P .. 'migrating:accepted', P .. 'migrating:revenue'
local steps = {}

function steps.begin()
  redis.call('UNLINK', NEW, EARNED)
  return 1 - redis.call('EXISTS', ACCEPTED)
end

function steps.times()
  local times = {}
  for i = 2, #ARGV do
    local order = load_order(ARGV[i])
    times[i - 1] = order and order.accepted or -1
  end
  return times
end

local function listed(order, moment)
  for _, entry in ipairs(redis.call('XRANGE', NEW, moment, moment)) do
    if names(entry, short(order.id)) then return true end
  end
end

function steps.add()
  for i = 2, #ARGV do
    local order = load_order(ARGV[i])
    local moment = order and string.format('%.0f', order.accepted)
    if order and not listed(order, moment) then
      redis.call('XADD', NEW, moment .. '-*', 'o', short(order.id))
      if order.state == 'confirmed' or order.state == 'refunded' then
        local given_back = refunded(order)
        earn('revenue:', order, order.quantity - given_back, EARNED)
      end
    end
  end
end

steps['end'] = function()
  if redis.call('EXISTS', NEW) == 1 then redis.call('RENAME', NEW, ACCEPTED) end
  local earned = redis.call('HGETALL', EARNED)
  if #earned > 0 then redis.call('HSET', P .. 'totals', unpack(earned)) end
  redis.call('UNLINK', EARNED)
end

function steps.forgotten()
  local forgotten = redis.call('HMGET', P .. 'totals', 'archived:confirmed', 'archived:refunded')
  return (tonumber(forgotten[1]) or 0) + (tonumber(forgotten[2]) or 0)
end

return commit_after(steps[ARGV[1]])
