-- Takes orders off the list of dead letters; they stay `failed`, and may be forgotten in time. Safe to send twice.
-- Needs:   ends
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    order ids
-- Returns: per order dropped or not_dead
local replies = {}
for i = 1, #ARGV do
  replies[i] = 'not_dead'
  if redis.call('ZREM', P .. 'dead', ARGV[i]) == 1 then
    schedule_retention(ARGV[i])
    local order = load_order(ARGV[i])
    order.token = '' -- it will not be paid for any more
    save(order)
    replies[i] = 'dropped'
  end
end
commit()
return replies
