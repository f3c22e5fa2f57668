-- Binds an idempotency key to one request, in the shard of the key, where it is carried out in another shard or by no step.
-- A key that is free, or bound to the same request, is granted. Safe to send twice.
-- Needs:   shard
-- Keys:    1 the prefix of the key's shard
-- Args:    1 idempotency in ms, then 2 per key: digest, fingerprint
-- Returns: per key 1 if granted, 0 if another request has it
local replies = {}
for i = 2, #ARGV, 2 do
  local key = P .. 'claim:' .. ARGV[i]
  local known, placed, changed = unpack(redis.call('MGET', key, P .. 'idem:' .. ARGV[i], P .. 'request:' .. ARGV[i]))
  placed = placed or changed
  if not known and not placed then redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end
  -- Who asks has nothing to do in this shard, so what was placed or changed here is another request's.
  replies[#replies + 1] = not placed and (not known or known == ARGV[i + 1]) and 1 or 0
end
return replies
