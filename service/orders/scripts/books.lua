-- Reads everything that the shard holds, at one instant. Writes nothing. Others wait meanwhile, so it gives up when there
-- are more orders than the caller allows; with 0 it leaves the orders out.
-- Keys:    1 the shard's prefix
-- Args:    1 how many orders at most
-- Returns: {snapshot, order rows, ids in the queue, in `delayed`, in `deadlines`, in `dead`,
--          buyers (triples of product, user and units)}, or nil if there are too many
local orders, buyers, cursor = {}, {}, '0'
local most = tonumber(ARGV[1])
while most > 0 do
  local found = redis.call('SCAN', cursor, 'MATCH', P .. 'o:*', 'COUNT', 1000)
  cursor = found[1]
  for _, key in ipairs(found[2]) do orders[#orders + 1] = order_row(SHARD .. string.sub(key, #P + 3)) end
  if #orders > most then return false end
  if cursor == '0' then break end
end

local queued = {}
for _, entry in ipairs(redis.call('XRANGE', P .. 'queue', '-', '+')) do queued[#queued + 1] = entry[2][2] end
for _, product in ipairs(redis.call('SMEMBERS', P .. 'catalogue')) do
  local counted = redis.call('HGETALL', buyers_key(product))
  for i = 1, #counted, 2 do
    buyers[#buyers + 1] = product
    buyers[#buyers + 1] = counted[i]
    buyers[#buyers + 1] = counted[i + 1]
  end
end
local function members(name) return redis.call('ZRANGE', P .. name, 0, -1) end
return {snapshot(), orders, queued, members('delayed'), members('deadlines'), members('dead'), buyers}
