-- Reads everything that the shard holds, at one instant. Writes nothing. Others wait meanwhile, so it gives up when there
-- are more orders than the caller allows; then the caller reads a part at a time, and the rest with 0.
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 how many orders at most; 2 where a part begins: '0', then the cursor of the part before; '' for no part
-- Returns: names and values: snapshot, orders (rows), queued (ids), delayed (ids), deadlines (ids), dead (ids), buyers
--          (triples of product, user and units), unlisted (ids that the list of all orders lacks), damaged (what and when,
--          in turn), there (0: the shard lost what it held), or nil if there are too many;
--          of a part: cursor of the next, '0' after the last; orders; buyers; unlisted; and some may be there twice
local orders, buyers, unlisted = {}, {}, {}

local function read_part(from)
  local found = redis.call('SCAN', from, 'MATCH', P .. '[ou]:*', 'COUNT', 1000)
  for _, key in ipairs(found[2]) do
    local name = string.sub(key, #P + 3)
    if key == P .. 'o:' .. name then
      local order = load_order(long(name))
      orders[#orders + 1] = row(order)
      if order and not entry_of(order) then unlisted[#unlisted + 1] = order.id end
    else
      local counted = redis.call('ZRANGEBYSCORE', user_key(name), '-inf', '(' .. FIRST_TIME, 'WITHSCORES')
      for i = 1, #counted, 2 do
        buyers[#buyers + 1] = string.sub(counted[i], 2)
        buyers[#buyers + 1] = name
        buyers[#buyers + 1] = counted[i + 1]
      end
    end
  end
  return found[1]
end

if ARGV[2] ~= '' then return {'cursor', read_part(ARGV[2]), 'orders', orders, 'buyers', buyers,
                               'unlisted', unlisted} end

local limit, cursor = tonumber(ARGV[1]), '0'
while limit > 0 do
  cursor = read_part(cursor)
  if #orders > limit then return false end
  if cursor == '0' then break end
end

local queued = {}
for _, entry in ipairs(redis.call('XRANGE', P .. 'queue', '-', '+')) do queued[#queued + 1] = entry[2][2] end
local function members(name) return redis.call('ZRANGE', P .. name, 0, -1) end
return {'snapshot', snapshot(), 'orders', orders, 'queued', queued, 'delayed', members('delayed'),
        'deadlines', members('deadlines'), 'dead', members('dead'), 'buyers', buyers, 'unlisted', unlisted,
        'damaged', redis.call('HGETALL', P .. 'damaged'), 'there', THERE}
