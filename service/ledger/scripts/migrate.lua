-- Makes the list of all orders, which a store of form 3 has not: beside its place, and put there when it is whole.
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 what to do: `begin` anew, read the `times` of acceptance, `add` orders, or `end`; 2... ids of orders, for `add`
--          in the order of their acceptance
-- Returns: of `begin`, 0 if the list is there already; of `times`, one for each order, -1 where it is gone; else nothing
local NEW = P .. 'migrating:accepted'
local steps = {}

function steps.begin()
  redis.call('UNLINK', NEW)
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
    if order and not listed(order, moment) then redis.call('XADD', NEW, moment .. '-*', 'o', short(order.id)) end
  end
end

steps['end'] = function()
  if redis.call('EXISTS', NEW) == 1 then redis.call('RENAME', NEW, ACCEPTED) end
end

return steps[ARGV[1]]()
