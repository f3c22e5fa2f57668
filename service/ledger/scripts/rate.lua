-- Counts towards rates, each on its own, by the generic cell rate algorithm (ITU-T I.371). Sent twice, it counts twice: that errs
-- towards refusing. What is refused does not count.
-- Needs:   shard
-- Keys:    1 the shard's prefix
-- Args:    3 per rate: whose (a digest), interval in us, how far ahead of its due time one may come in us
-- Returns: per rate {us to wait, 0 if it may pass; how many more may pass at once; us until as many as ever may}
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local replies = {}
for i = 1, #ARGV, 3 do
  local interval, ahead = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local due = math.max(tonumber(redis.call('GET', P .. 'rate:' .. ARGV[i]) or 0), now)
  if due > now + ahead + interval then due = now end -- no rate leads so far ahead: the clock has stepped back
  local early = due - now - ahead
  if early <= 0 then
    due = due + interval
    redis.call('SET', P .. 'rate:' .. ARGV[i], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
  end
  local left = due - now <= ahead and math.floor((ahead - (due - now)) / interval) + 1 or 0
  replies[#replies + 1] = {math.max(early, 0), left, due - now}
end
return replies
