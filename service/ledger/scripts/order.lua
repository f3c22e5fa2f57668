-- Reads orders.
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    order ids
-- Returns: per id the order row or nil
local rows = {}
for i = 1, #ARGV do rows[i] = order_row(ARGV[i]) or false end
return rows
