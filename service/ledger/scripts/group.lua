-- Makes the group of the workers unless it is there, and the queue with it. Safe to send twice.
-- Needs:   shard
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Returns: 1
local made = redis.pcall('XGROUP', 'CREATE', P .. 'queue', GROUP, 0, 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
return 1
