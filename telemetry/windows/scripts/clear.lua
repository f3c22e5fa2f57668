-- Empties the windows and the errors; what was gathered before and not yet sent is not taken in any more. Safe to send twice.
-- Keys:    1 the prefix of all keys, with a hash tag
-- Args:    1 seconds a slot, 2 seconds that are kept
-- Returns: how many keys went
local P, SLOT, KEEP = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local t = redis.call('TIME')
local this = math.floor(t[1] / SLOT)
local gone = redis.call('UNLINK', P .. 'errors')
for number = this - math.ceil(KEEP / SLOT), this do gone = gone + redis.call('UNLINK', P .. 'window:' .. number) end
redis.call('SET', P .. 'cleared', string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), 'EX', KEEP)
return gone
