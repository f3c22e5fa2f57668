-- Creates a product, changes some of its fields, adds units, or archives it; what the stock gains is booked as a restock.
-- One that is archived is as good as none, until it is put anew: its units and orders are still there then.
-- Safe to send twice: the answer to a request is kept, and given again whatever happened since.
-- Needs:   products, once
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 request id, 2 how long to keep its answer in ms, 3 its fingerprint, 4 product, 5 put|patch|restock|archive,
--          6 the revisions that it may have: '' any, '*' that it exists, else some divided by commas, 7 id of this call,
--          then pairs of field and value: name price currency limit opens closes halted admission, and either stock (left from now
--          on) or total (on sale in all), or units (restock)
-- Returns: {created|changed, product row, 1 if this is the answer to an earlier call} or
--          {unknown_product|changed_meanwhile|bad_window|bad_stock|stock_below_sold|has_open_orders|
--          idempotency_conflict}
local id, mode, match = ARGV[4], ARGV[5], ARGV[6]
local again = answered(ARGV[1], ARGV[3], ARGV[7])
if again then return again end

local key = product_key(id)
local product = product_row(id)
local known = product ~= nil
local exists = known and product[14] ~= 'archived'
if not exists and mode ~= 'put' then return {'unknown_product'} end
if match ~= '' then
  local found = exists and (match == '*' or string.find(',' .. match .. ',', ',' .. revision(id) .. ',', 1, true))
  if not found then return {'changed_meanwhile'} end
end

local fields = {}
for i = 8, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end
if not exists then fields.halted, fields.admission = '', '' end
if mode == 'archive' then
  if tonumber(redis.call('HGET', key, 'held')) > 0 then return {'has_open_orders'} end
  fields.halted = 'archived'
end
local before = redis.call('HGET', key, 'opens')
if fields.opens == '' then -- open, whatever a clock that steps back will say; the same again changes nothing
  fields.opens = before and tonumber(before) < 0 and before or string.format('%.0f', -NOW)
end
local opens = math.abs(tonumber(fields.opens or before))
local closes = fields.closes or redis.call('HGET', key, 'closes') or ''
if closes ~= '' and tonumber(closes) <= opens then return {'bad_window'} end

local gain = tonumber(fields.units) or 0
local stock, initial, restocked = unpack(redis.call('HMGET', key, 'stock', 'initial', 'restocked'))
if fields.stock then gain = fields.stock - (stock or 0) end
if fields.total then gain = fields.total - (initial or 0) - (restocked or 0) end
if (stock or 0) + gain < 0 then return {fields.total and 'stock_below_sold' or 'bad_stock'} end
if not known then
  redis.call('HSET', key, 'initial', gain, 'stock', gain, 'restocked', 0, 'held', 0, 'sold', 0)
  redis.call('SADD', P .. 'catalogue', id)
elseif gain ~= 0 then
  redis.call('HINCRBY', key, 'stock', gain)
  redis.call('HINCRBY', key, 'restocked', gain)
end
for _, name in ipairs({'name', 'price', 'currency', 'limit', 'opens', 'closes', 'halted', 'admission'}) do
  if fields[name] then redis.call('HSET', key, name, fields[name]) end
end
if redis.call('HEXISTS', key, 'drawn') == 1 then
  if fields.opens and fields.opens ~= before and tonumber(fields.opens) > NOW then -- a sale to come: there is a new lot
    redis.call('HDEL', key, 'given', 'drawn', 'seed', 'turn', 'moved')
    redis.call('HINCRBY', key, 'round', 1)
  elseif fields.halted or fields.closes then -- while nobody could order it was nobody's turn
    redis.call('HSET', key, 'moved', NOW)
  end
end
return keep_answer(ARGV[1], ARGV[2], ARGV[3], ARGV[7], exists and 'changed' or 'created', product_row(id))
