-- Reads the dead letters, the oldest first.
-- Needs:   orders
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 how many at most
-- Returns: order rows
local rows = {}
for _, id in ipairs(redis.call('ZRANGE', P .. 'dead', 0, ARGV[1] - 1)) do rows[#rows + 1] = order_row(id) end
return rows
