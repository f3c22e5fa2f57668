-- Says which orders are not there, and books them as lost when told to: acknowledged, and gone with a store that failed over or
-- was restored. Each counts once, so safe to send twice.
-- Needs:   writes
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 '1' to book; then order ids
-- Returns: per id there, gone, booked (by this call) or known (booked before)
local kind = redis.call('TYPE', P .. 'lost').ok
if kind ~= 'zset' and kind ~= 'none' then put_aside('lost', 'key', 'lost', 'a ' .. kind) end
local words = {}
for i = 2, #ARGV do
  local id, word = ARGV[i], 'there'
  if redis.call('EXISTS', order_key(id)) == 0 then
    word = redis.call('ZSCORE', P .. 'lost', short(id)) and 'known' or 'gone'
    if word == 'gone' and ARGV[1] == '1' then
      redis.call('ZADD', P .. 'lost', NOW, short(id))
      count('lost')
      word = 'booked'
    end
  end
  words[i - 1] = word
end
commit()
return words
