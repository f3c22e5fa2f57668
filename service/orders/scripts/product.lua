-- Reads one product.
-- Keys:    1 the shard's prefix
-- Args:    1 product
-- Returns: the product row or nil
return product_row(ARGV[1]) or false
