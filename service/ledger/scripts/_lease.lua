-- Who may do what one may do at a time.
-- Needs:   shard

-- Takes or keeps a lease for so many ms; returns 1 if it is the caller's now, else 0.
local function take_lease(name, who, ms)
  local key = P .. 'lease:' .. name
  local holder = redis.call('GET', key)
  -- A time to live that is longer than anybody asks for is left from before the clock was set back.
  if holder and holder ~= who and redis.call('PTTL', key) <= tonumber(ms) then return 0 end
  redis.call('SET', key, who, 'PX', ms)
  return 1
end
