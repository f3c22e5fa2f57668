-- Reads orders as they are now.
-- Needs:   pace
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    order ids
-- Returns: per id nil or {order row}; of a pending order {order row, place in the queue, wait for a worker in ms}, the
--          wait 0 while no pace is known
local queued, waiting, pending, drained

-- Whoever is pending has a deadline, in the order of acceptance: all but those behind stand before an order.
local function with_place(order)
  local rank = order.state == 'pending' and redis.call('ZRANK', P .. 'deadlines', order.id)
  if not rank then return {row(order)} end
  if not queued then
    queued, waiting, pending = queue_length(), line_length(), redis.call('ZCARD', P .. 'deadlines')
    drained = rates()
  end
  local behind = pending - rank - 1
  local ahead = math.max(waiting - behind - 1, 0)
  return {row(order), math.max(queued - behind, 1), drained > 0 and math.floor(ahead * 1000000 / drained) or 0}
end

local found = {}
for i = 1, #ARGV do
  local order = load_order(ARGV[i])
  found[i] = order and with_place(order) or false
end
return found
