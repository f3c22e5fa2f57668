-- Empties the windows and the errors; what was gathered before and not yet sent is not taken in any more. Safe to send twice.
-- Keys:    1 the prefix of all keys, with a hash tag; 2 another that never exists
-- Args:    1 seconds a slot, 2 seconds that are kept, 3 name of the request or '', 4 how long to remember it in ms
-- Returns: how many keys went; -1 if a request of this name was carried out before
local P, SLOT, KEEP = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
if ARGV[3] ~= '' and not redis.call('SET', P .. 'cleared-by:' .. ARGV[3], 1, 'PX', ARGV[4], 'NX') then return -1 end
local t = redis.call('TIME')
local this = math.floor(t[1] / SLOT)
local gone = redis.call('UNLINK', P .. 'errors')
for number = this - math.ceil(KEEP / SLOT), this do gone = gone + redis.call('UNLINK', P .. 'window:' .. number) end
redis.call('SET', P .. 'cleared', string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), 'EX', KEEP)
return gone
