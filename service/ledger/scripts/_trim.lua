-- How many changes an entry's value has; 0 where it is not ours.
-- Needs:   streams
local function changes_of(value)
  local function add_up()
    local n, at = 0, 1
    while at <= #value do
      local state, _, _, next_at = struct.unpack(CHANGE, value, at)
      if STATES[state] == 'refunded' then _, next_at = struct.unpack('>Hc0', value, next_at) end
      n, at = n + 1, next_at
    end
    return n
  end
  local ours, n = pcall(add_up)
  return ours and n or 0
end

-- Counts the changes of entries that go before the webhook was told of them, where there is one: `webhook.lua`.
local function count_untold(entries)
  local ms, n, told = string.match(redis.call('GET', P .. 'webhook') or '', '^(%d+)-(%d+) (%d+)$')
  if not ms then return end
  ms, n, told = tonumber(ms), tonumber(n), tonumber(told)
  local untold = 0
  for _, entry in ipairs(entries) do
    local entry_ms, entry_n = string.match(entry[1], '^(%d+)-(%d+)$')
    entry_ms, entry_n = tonumber(entry_ms), tonumber(entry_n)
    if entry_ms > ms or (entry_ms == ms and entry_n > n) then
      untold = untold + changes_of(entry[2][2])
    elseif entry_ms == ms and entry_n == n then
      untold = untold + math.max(changes_of(entry[2][2]) - told, 0)
    end
  end
  if untold > 0 then redis.call('HINCRBY', P .. 'totals', 'webhook_expired', untold) end
end

-- Takes entries of the feed that are as old as `oldest`, a time in ms, or older, off it: so many at most. Notes the last that
-- went, so that who has not read it is told. Returns whether none is left.
local function trim_events(oldest, most)
  oldest = string.format('%.0f', oldest)
  if not feed('-', oldest, 1)[1] then return true end
  local old = feed('-', oldest, most)
  local last = old[#old][1]
  local ms, n = string.match(last, '^(%d+)-(%d+)$')
  count_untold(old)
  redis.call('XTRIM', P .. 'events', 'MINID', ms .. '-' .. string.format('%.0f', n + 1))
  redis.call('SET', P .. 'trimmed', last)
  return #old < most
end
