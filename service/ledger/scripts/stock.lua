-- Creates a product, changes some of its fields, or adds units; what the stock gains is booked as a restock.
-- Safe to send twice: the reply to a request id is kept.
-- Keys:    1 the shard's prefix
-- Args:    1 request id, 2 how long to keep its reply in ms, 3 product, 4 put|patch|restock,
--          then pairs of field and value: name price currency stock limit opens closes, or units (restock)
-- Returns: {created|changed|unknown_product|bad_window|bad_stock, product row or nil}
local request, id, mode = P .. 'request:' .. ARGV[1], ARGV[3], ARGV[4]
local done = redis.call('GET', request)
if done then return {done, product_row(id)} end

local key = product_key(id)
local exists = redis.call('EXISTS', key) == 1
if not exists and mode ~= 'put' then return {'unknown_product'} end

local fields = {}
for i = 5, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end
if fields.opens == '' then fields.opens = NOW end
local opens = tonumber(fields.opens or redis.call('HGET', key, 'opens'))
local closes = fields.closes or redis.call('HGET', key, 'closes') or ''
if closes ~= '' and tonumber(closes) <= opens then return {'bad_window'} end

local gain = tonumber(fields.units) or 0
local stock = exists and tonumber(redis.call('HGET', key, 'stock')) or 0
if fields.stock then gain = fields.stock - stock end
if stock + gain < 0 then return {'bad_stock'} end
if not exists then
  redis.call('HSET', key, 'initial', fields.stock, 'stock', fields.stock, 'restocked', 0, 'held', 0, 'sold', 0)
  redis.call('SADD', P .. 'catalogue', id)
elseif gain ~= 0 then
  redis.call('HINCRBY', key, 'stock', gain)
  redis.call('HINCRBY', key, 'restocked', gain)
end
for _, name in ipairs({'name', 'price', 'currency', 'limit', 'opens', 'closes'}) do
  if fields[name] then redis.call('HSET', key, name, fields[name]) end
end
local outcome = exists and 'changed' or 'created'
redis.call('SET', request, outcome, 'PX', ARGV[2])
return {outcome, product_row(id)}
