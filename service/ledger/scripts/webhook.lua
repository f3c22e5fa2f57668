-- Tells how far the webhook was told of the feed, or moves that on; never back, whoever asks. Before it was ever told of
-- anything that is the oldest change that is kept: noted at once, so that what goes from then on is counted, see `_trim.lua`.
-- Safe to send twice.
-- Needs:   shard
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 entry where the next reading begins, or '' to read; 2 how many changes of it were told
-- Returns: {entry, how many changes of it were told}
local function parts(place)
  local ms, n, told = string.match(place, '^(%d+)-(%d+) (%d+)$')
  return {tonumber(ms) or -1, tonumber(n) or -1, tonumber(told) or -1}
end

local function later(one, other)
  local a, b = parts(one), parts(other)
  for i = 1, 3 do
    if a[i] ~= b[i] then return a[i] > b[i] end
  end
  return false
end

local held = redis.call('GET', P .. 'webhook') or ''
local ms, n = string.match(redis.call('GET', P .. 'trimmed') or '', '^(%d+)-(%d+)$')
local oldest = ms and ms .. '-' .. string.format('%.0f', n + 1) or '0-0'
local wanted = ARGV[1] ~= '' and ARGV[1] .. ' ' .. ARGV[2] or held == '' and oldest .. ' 0' or held
if later(wanted, held) then
  redis.call('SET', P .. 'webhook', wanted)
  held = wanted
end
local entry, told = string.match(held, '^(%d+%-%d+) (%d+)$')
return {entry, tonumber(told)}
