-- Binds an idempotency key to one request, in the shard of the key, where the product lives in another shard.
-- A key that is free, or bound to the same request, is granted. Safe to send twice.
-- Keys:    1 the prefix of the key's shard
-- Args:    1 idempotency in ms, then 2 per key: digest, fingerprint
-- Returns: per key 1 if granted, 0 if another request has it
local replies = {}
for i = 2, #ARGV, 2 do
  local key = P .. 'claim:' .. ARGV[i]
  local known, placed = unpack(redis.call('MGET', key, P .. 'idem:' .. ARGV[i]))
  if not known and not placed then redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end
  -- Who asks has a product in another shard, so an order that was placed here is another request's.
  replies[#replies + 1] = not placed and (not known or known == ARGV[i + 1]) and 1 or 0
end
return replies
