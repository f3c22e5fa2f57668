-- Sells units: checks and takes the stock, writes the order, queues it. One call an order.
-- Keys:    1 product, 2 order, 3 queue
-- Args:    1 order id, 2 product id, 3 user id, 4 quantity, 5 time
-- Returns: {1, price, currency} or {0, why}
local p = redis.call('HMGET', KEYS[1], 'stock', 'price', 'currency')
if not p[1] then return {0, 'unknown_product'} end
local quantity = tonumber(ARGV[4])
if tonumber(p[1]) < quantity then return {0, 'sold_out'} end
redis.call('HINCRBY', KEYS[1], 'stock', -quantity)
redis.call('HSET', KEYS[2], 'status', 'pending', 'product_id', ARGV[2], 'user_id', ARGV[3], 'quantity', ARGV[4],
           'unit_price', p[2], 'currency', p[3], 'accepted_at', ARGV[5])
redis.call('XADD', KEYS[3], '*', 'order_id', ARGV[1])
return {1, p[2], p[3]}
