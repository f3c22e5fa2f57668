-- Counts refusals that an API process decided without the ledger. Safe to send twice: a lot counts once.
-- Needs:   shard
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 the process, 2 number of the lot, 3 how long to remember it in ms, then pairs of reason and count
-- Returns: 1 if it counted, 0 if it had counted before
local last = P .. 'refusals:' .. ARGV[1]
if (tonumber(redis.call('GET', last)) or 0) >= tonumber(ARGV[2]) then return 0 end
for i = 4, #ARGV, 2 do redis.call('HINCRBY', P .. 'refused', ARGV[i], ARGV[i + 1]) end
redis.call('SET', last, ARGV[2], 'PX', ARGV[3])
return 1
