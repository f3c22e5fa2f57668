-- Takes payments that were given back off the list, and hands out those that are due. One that is not reported as given
-- back within the lease is handed out again; one that was noted anew meanwhile stays. Safe to send twice.
-- Needs:   orders
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 lease in ms, 2 how many at most, then 2 per payment given back: key, ticket
-- Returns: per payment {key, ticket, order row, number of the part of a confirmed order or 0, its units}
local refunds = P .. 'refunds'
for i = 3, #ARGV, 2 do
  if redis.call('ZSCORE', refunds, ARGV[i]) == ARGV[i + 1] then redis.call('ZREM', refunds, ARGV[i]) end
end

local replies = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', refunds, '-inf', NOW, 'LIMIT', 0, ARGV[2])) do
  local order = load_order(string.match(key, '^[^-.]*'))
  local part = tonumber(string.match(key, '%.(%d+)$')) or 0
  if order and (part == 0 or order.parts[part]) then
    redis.call('ZADD', refunds, NOW + ARGV[1], key)
    replies[#replies + 1] = {key, redis.call('ZSCORE', refunds, key), row(order), part,
                             math.abs(order.parts[part] or 0)}
  else
    redis.call('ZREM', refunds, key)
    set_aside('refund', key, 'of an order that is not there')
  end
end
return replies
