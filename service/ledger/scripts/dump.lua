-- Reads everything that the shard holds, at one instant. Writes nothing. Others wait meanwhile, so it gives up when there
-- are more orders than the caller allows; then the caller reads a part at a time, and the rest with 0. It finds orders by
-- the list of all orders, and users by their orders, so what else is in the store costs nothing; the caller names others.
-- Needs:   buyers, snapshot
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 how many orders at most; 2 where a part begins: '0', then the cursor of the part before; '' for no part,
--          'named' for what is named alone; then 'o' and an order's id, or 'u' and a user, for each that is named
-- Returns: names and values: snapshot, orders (each a row in JSON, a tenth of what a list of its values takes), queued (ids), delayed (ids), deadlines (ids), dead (ids), buyers
--          (triples of product, user and units), unlisted (ids that the list of all orders lacks), damaged (what and when,
--          in turn), there (0: the shard lost what it held), or nil if there are too many;
--          of a part: cursor of the next, '0' after the last; orders; buyers; unlisted; and some may be there twice
local PART = 1000
local orders, buyers, unlisted = {}, {}, {}
local known, users = {}, {}

local function read_user(name)
  if users[name] then return end
  users[name] = true
  local counted = redis.call('ZRANGEBYSCORE', user_key(name), '-inf', '(' .. FIRST_TIME, 'WITHSCORES')
  for i = 1, #counted, 2 do
    buyers[#buyers + 1] = string.sub(counted[i], 2)
    buyers[#buyers + 1] = name
    buyers[#buyers + 1] = counted[i + 1]
  end
end

-- Numbers as integers, since cjson would round them to 14 digits.
local function json_row(order)
  local values = row(order)
  for i, value in ipairs(values) do
    if type(value) == 'number' then values[i] = string.format('%.0f', math.floor(value)) end
  end
  return cjson.encode(values)
end

-- `listed` is the time of an entry that names the order, nil when it was found elsewhere.
local function read_order(id, listed)
  if known[id] then return end
  known[id] = true
  local order = load_order(id)
  if not order then return end
  orders[#orders + 1] = json_row(order)
  if not (listed and listed >= order.accepted) and not entry_of(order) then unlisted[#unlisted + 1] = id end
  read_user(order.user)
end

local function read_named()
  for i = 3, #ARGV do
    local name = string.sub(ARGV[i], 2)
    if string.sub(ARGV[i], 1, 1) == 'o' then read_order(name) else read_user(name) end
  end
end

-- What is no stream is not ours, and lists nothing.
local function read_part(from)
  local entries = redis.pcall('XRANGE', ACCEPTED, from == '0' and '-' or '(' .. from, '+', 'COUNT', PART)
  local first = #orders
  for _, entry in ipairs(entries) do
    local moment = tonumber(string.match(entry[1], '^%d+'))
    for _, id in ipairs(ids_in(entry)) do
      if #id == SIZE then read_order(long(id), moment) end
    end
    from = entry[1]
    if #orders - first >= PART then return from end
  end
  return #entries == PART and from or '0'
end

local function found(cursor)
  return {'cursor', cursor, 'orders', orders, 'buyers', buyers, 'unlisted', unlisted}
end

if ARGV[2] == 'named' then
  read_named()
  return found('0')
end
if ARGV[2] ~= '' then return found(read_part(ARGV[2])) end

local limit, cursor = tonumber(ARGV[1]), '0'
while limit > 0 do
  cursor = read_part(cursor)
  if #orders + #ARGV - 2 > limit then return false end
  if cursor == '0' then break end
end
read_named()

local queued = {}
for _, entry in ipairs(redis.call('XRANGE', P .. 'queue', '-', '+')) do queued[#queued + 1] = entry[2][2] end
local lots = {}
for _, id in ipairs(redis.call('SMEMBERS', P .. 'catalogue')) do
  local v = redis.pcall('HMGET', product_key(id), 'round', 'given', 'drawn', 'turn')
  if not v.err and v[2] then lots[#lots + 1] = {id, v[1] or '0', v[2], v[3] or '', v[4] or '0'} end
end
local function members(name) return redis.call('ZRANGE', P .. name, 0, -1) end
return {'snapshot', snapshot(), 'orders', orders, 'queued', queued, 'delayed', members('delayed'),
        'deadlines', members('deadlines'), 'dead', members('dead'), 'buyers', buyers, 'unlisted', unlisted,
        'damaged', redis.call('HGETALL', P .. 'damaged'), 'lots', lots, 'there', THERE}
