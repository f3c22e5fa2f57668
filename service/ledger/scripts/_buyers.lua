-- What a user has, and may.
-- Needs:   shard

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

-- Puts an order that is accepted now into the list of its user, or moves it there; so many units of its product are the user's.
local function index_by_user(order, units)
  redis.call('ZADD', user_key(order.user), AT, short(order.id), text(units), '=' .. order.product)
end

-- How often a user may give units back, by the generic cell rate algorithm (ITU-T I.371): each cancellation is due an
-- interval after the one before. How many ms the next order of a user is too early; what is due within a minute may come at once.
local BURST = 60000
local function cancels_key(user) return P .. 'cancels:' .. user end
local function too_early(due, interval)
  return math.max(math.ceil((tonumber(due) or 0) - NOW - (BURST - interval)), 0)
end
local function note_cancellation(user, interval)
  if interval <= 0 then return end
  local known = redis.pcall('GET', cancels_key(user))
  if type(known) == 'table' then
    heal_user(user)
    known = 0
  end
  local due = math.max(tonumber(known) or 0, NOW) + interval
  redis.call('SET', cancels_key(user), string.format('%.3f', due), 'PX', math.ceil(due - NOW))
end
