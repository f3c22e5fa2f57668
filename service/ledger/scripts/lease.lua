-- Takes or keeps a lease: one holder at a time, until its time runs out. Safe to send twice.
-- Needs:   shard
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 name of the lease, 2 who asks, 3 how long in ms
-- Returns: 1 if it is the caller's now, else 0
local key = P .. 'lease:' .. ARGV[1]
-- A time to live that is longer than anybody asks for is left from before the clock was set back.
local holder = redis.call('PTTL', key) <= tonumber(ARGV[3]) and redis.call('GET', key)
if holder and holder ~= ARGV[2] then return 0 end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
return 1
