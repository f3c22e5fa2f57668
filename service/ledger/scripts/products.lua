-- Reads all products of the shard.
-- Needs:   products
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Returns: product rows
local rows = {}
for _, id in ipairs(redis.call('SMEMBERS', P .. 'catalogue')) do rows[#rows + 1] = product_row(id) end
return rows
