-- Reads some slots of the windows, the newest errors, and what each process says of itself. Writes nothing.
-- Keys:    1 the prefix of all keys, with a hash tag; 2 another that never exists
-- Args:    1 seconds of the window, 2 seconds a slot, 3 seconds that are kept, 4 the first slot or 0 for that of the window,
--          5 slots at most, 6 errors at most
-- Returns: {now in ms, when all was cleared in ms or 0, first slot read, slot of this moment,
--          slots ({number, flat pairs of field and count}), errors, flat pairs of process and '<ms> <text>'}
local P = KEYS[1]
local WINDOW, SLOT, KEEP = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local this = math.floor(now / 1000 / SLOT)
local first = tonumber(ARGV[4])
if first == 0 then first = math.floor((now / 1000 - math.min(WINDOW, KEEP - SLOT)) / SLOT) end

-- Pairs of a name and what was written under it, without those that are not of this form: somebody else wrote them.
local function pairs_of(key, form)
  local all, found = redis.pcall('HGETALL', key), {}
  for i = 1, #all, 2 do
    if string.match(all[i + 1], form) then found[#found + 1], found[#found + 2] = all[i], all[i + 1] end
  end
  return found
end

local slots = {}
for number = first, math.min(this, first + ARGV[5] - 1) do
  local row = pairs_of(P .. 'window:' .. number, '^%d+$')
  if #row > 0 then slots[#slots + 1] = {number, row} end
end
local errors = {}
if tonumber(ARGV[6]) > 0 then
  errors = redis.call('ZREVRANGEBYSCORE', P .. 'errors', '+inf', now - KEEP * 1000, 'LIMIT', 0, ARGV[6])
end
local cleared = tonumber(redis.call('GET', P .. 'cleared')) or 0
if cleared > now then cleared = 0 end  -- the clock was set back
return {now, cleared, first, this, slots, errors, pairs_of(P .. 'now', '^%d+ {')}
