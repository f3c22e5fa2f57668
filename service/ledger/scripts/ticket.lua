-- Gives tickets for sales by ticket, each on its own: the same user the same one. Safe to send twice.
-- Needs:   products, tickets
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 key that signs tickets, if the shard has none; 2 what the lot depends on; 3 length of a window in ms; 4 how
--          long a user's ticket is remembered after the sale closes in ms, 5 and where it does not close, after it opens;
--          then 3 per request: product, bucket of the user's digest, rest of the digest
-- Returns: the key that signs, and per request {outcome, round, number, place or -1, turn or -1, tickets given, when it
--          opens in ms, in how many ms its turn comes or -1}; outcome is ticket, or a refusal and nothing behind it:
--          unknown_product, no_ticket_needed, sale_closed; store_unavailable: what the store holds of it is damaged
redis.call('SET', P .. 'ticket_key', ARGV[1], 'NX')
local WINDOW, AFTER_CLOSE, AFTER_OPENING = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local function give(product, bucket, user)
  local known = product_row(product)
  if not known or known[14] == 'archived' then return {'unknown_product'} end
  if known[15] ~= 'ticket' then return {'no_ticket_needed'} end
  local stock, opens, closes = tonumber(known[7]), tonumber(known[11]), tonumber(known[12])
  if closes and NOW >= closes then return {'sale_closed'} end
  local sale = sale_by_ticket(product, opens, stock, known[14] == '' and NOW >= opens, WINDOW, ARGV[2])
  local name = 'tickets:' .. sale.round .. ':' .. product .. ':' .. bucket
  local key = P .. name
  local number = redis.pcall('HGET', key, user)
  if type(number) == 'table' then
    if not is_damage(number) then error(as_error(number), 0) end
    put_aside(name, 'key', name, 'no hash')
    number = nil
  end
  number = tonumber(number or nil)
  if not number then
    number = sale.given
    redis.call('HSET', key, user, number)
    redis.call('PEXPIREAT', key, string.format('%.0f', closes and closes + AFTER_CLOSE or math.max(NOW, opens) + AFTER_OPENING))
    sale.given = redis.call('HINCRBY', product_key(product), 'given', 1)
  end
  local told = {'ticket', sale.round, number, -1, -1, sale.given, math.abs(opens), -1}
  if sale.drawn then
    local place = sale.place(number)
    told[4], told[5], told[8] = place, sale.turn, sale.wait(place)
  end
  return told
end

local replies = {redis.call('GET', P .. 'ticket_key')}
for i = 6, #ARGV, 3 do
  local ok, reply = pcall(give, ARGV[i], ARGV[i + 1], ARGV[i + 2])
  if not ok then
    if not is_damage(reply) then return as_error(reply) end
    reply = {'store_unavailable'}
  end
  replies[#replies + 1] = reply
end
return replies
