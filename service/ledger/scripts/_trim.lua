-- Takes entries of the feed that are as old as `oldest`, a time in ms, or older, off it: so many at most. Notes the last that
-- went, so that who has not read it is told. Returns whether none is left.
-- Needs:   streams
local function trim_events(oldest, most)
  oldest = string.format('%.0f', oldest)
  if not feed('-', oldest, 1)[1] then return true end
  local old = feed('-', oldest, most)
  local last = old[#old][1]
  local ms, n = string.match(last, '^(%d+)-(%d+)$')
  redis.call('XTRIM', P .. 'events', 'MINID', ms .. '-' .. string.format('%.0f', n + 1))
  redis.call('SET', P .. 'trimmed', last)
  return #old < most
end
