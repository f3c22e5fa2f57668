-- Time that passed, whatever was done to the store or its clock.
-- Needs:   shard

-- When the store last went on, in ms, after nobody had written for so long, though each fleet does so once a second;
-- a clock that was set ends a standstill, too. A gap beyond `LEAP` is a clock that was set forward, or a machine that
-- slept: such time did not pass for anybody. `leapt` is the last beat before it, `leap` how long it is.
local STANDSTILL, LEAP = 3000, 120000
local times
local function beat_times()
  if not times then
    local v = redis.call('HMGET', P .. 'beat', 'last', 'resumed', 'leapt', 'leap')
    v[1] = tonumber(v[1]) -- nil where somebody wrote something else there
    local gap = v[1] and NOW - v[1] or 0
    times = {known = v[1], resumed = tonumber(v[2]) or 0, leapt = tonumber(v[3]) or 0, leap = tonumber(v[4]) or 0, back = 0}
    if math.abs(gap) > STANDSTILL then times.resumed = NOW end
    if gap > LEAP then times.leapt, times.leap = tonumber(v[1]), gap end
    if gap < -STANDSTILL then times.leapt, times.leap, times.back = 0, 0, -gap end
  end
  return times
end
local function resumed() return beat_times().resumed end
local function beat()
  local t = beat_times()
  redis.call('HSET', P .. 'beat', 'last', NOW, 'resumed', t.resumed, 'leapt', t.leapt, 'leap', t.leap)
end

-- How many ms have passed since a time that was noted here, also when the clock was set meanwhile: never less than none.
local function since(past)
  local t = beat_times()
  return math.max(NOW - past - (tonumber(past) < t.leapt + t.leap / 2 and t.leap or 0), 0)
end
