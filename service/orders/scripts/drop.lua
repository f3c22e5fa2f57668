-- Takes orders off the list of dead letters; they stay `failed`. Safe to send twice.
-- Keys:    1 the shard's prefix
-- Args:    order ids
-- Returns: per order dropped or not_dead
local replies = {}
for i = 1, #ARGV do
  replies[i] = redis.call('ZREM', P .. 'dead', ARGV[i]) == 1 and 'dropped' or 'not_dead'
end
return replies
