-- Reads orders by the time of their acceptance, all or one user's. Writes nothing.
-- Needs:   orders, streams, buyers
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 newest|oldest, those that come first; 2 user, or '' for all; 3 the earliest and 4 the latest time in ms, or '';
--          5 time and 6 id of the order behind which to begin, or '' and ''; 7 how many at most; 8 how many to look at, at
--          most; 9 product or '' for any; then statuses, or none for any
-- Returns: {{time of the list, order row} per order, time and id of the last that was looked at, or '' and '' if it was the
--          last of all}; an order of the same millisecond stands by its id
local NEWEST, USER, EARLIEST, LATEST, TIME, AFTER = ARGV[1] == 'newest', unpack(ARGV, 2, 6)
local LIMIT, LOOKS, PRODUCT = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local statuses
for i = 10, #ARGV do
  statuses = statuses or {}
  statuses[ARGV[i]] = true
end

local function wanted(order, moment)
  return order and order.accepted <= tonumber(moment) -- else it was requeued, and stands where it was accepted anew
     and (PRODUCT == '' or order.product == PRODUCT) and (USER == '' or order.user == USER)
     and (not statuses or statuses[order.state])
end

-- The nearest time from here on at which orders were accepted, and their short ids; nil when there is none.
local function of_all(low, high)
  low, high = low == '' and '-' or low, high == '' and '+' or high
  local found
  if NEWEST then
    found = redis.call('XREVRANGE', ACCEPTED, high, low, 'COUNT', 1)[1]
  else
    found = redis.call('XRANGE', ACCEPTED, low, high, 'COUNT', 1)[1]
  end
  if not found then return nil end
  local moment, ids = string.match(found[1], '^%d+'), {}
  for _, entry in ipairs(redis.call('XRANGE', ACCEPTED, moment, moment)) do
    for _, id in ipairs(ids_in(entry)) do ids[#ids + 1] = id end
  end
  return moment, ids
end

-- No time is later: beyond it a step of a millisecond would be none, and the loop below would not end.
local LAST_TIME = '1e15'
local function of_user(low, high)
  low, high = low == '' and string.format('%.0f', FIRST_TIME) or low, high == '' and LAST_TIME or high
  local key, found = user_key(USER)
  if NEWEST then
    found = redis.call('ZREVRANGEBYSCORE', key, high, low, 'WITHSCORES', 'LIMIT', 0, 1)
  else
    found = redis.call('ZRANGEBYSCORE', key, low, high, 'WITHSCORES', 'LIMIT', 0, 1)
  end
  local moment = found[2]
  if not moment then return nil end
  return moment, redis.call('ZRANGEBYSCORE', key, moment, moment)
end

local function sorted(found)
  local ids = {}
  for _, id in ipairs(found) do
    if #id == SIZE then ids[#ids + 1] = long(id) end -- else it is not ours
  end
  table.sort(ids, function(a, b) if NEWEST then return a > b end return a < b end)
  return ids
end

local function passed(moment, id)
  if moment ~= TIME then return false end
  if NEWEST then return id >= AFTER end
  return id <= AFTER
end

local low, high = EARLIEST, LATEST
if TIME ~= '' and NEWEST then high = TIME elseif TIME ~= '' then low = TIME end
local rows, looked, last_time, last_id = {}, 0, '', ''
while true do
  local moment, ids = (USER == '' and of_all or of_user)(low, high)
  if not moment then return {rows, '', ''} end
  for _, id in ipairs(sorted(ids)) do
    if not passed(moment, id) then
      if #rows == LIMIT or looked == LOOKS then return {rows, last_time, last_id} end
      local order = load_order(id)
      looked, last_time, last_id = looked + 1, moment, id
      if wanted(order, moment) then rows[#rows + 1] = {moment, row(order)} end
    end
  end
  if NEWEST then high = string.format('%.0f', moment - 1) else low = string.format('%.0f', moment + 1) end
end
