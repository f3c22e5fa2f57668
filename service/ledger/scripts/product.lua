-- Reads products.
-- Needs:   products
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    product, ...
-- Returns: for each the product row, or nil (false)
local rows = {}
for i, id in ipairs(ARGV) do rows[i] = product_row(id) or false end
return rows
