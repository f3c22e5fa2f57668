-- Sales by ticket: docs/decisions/orders-tickets.md says why it is done so. What a product's sale by ticket is at stands in
-- the product's hash: `admission` ('ticket', else '' or not there), `round` (of the lot), `given` (how many tickets), and
-- once the lot is drawn `drawn` (how many of them took part), `seed`, `turn` (orders are taken of places below it) and
-- `moved` (when that was last changed; 0: all was sold since, whatever comes back moves it at once).
-- Needs:   time

-- A permutation of 0 to drawn - 1 by the seed, worked out for one ticket at a time: a Feistel network over a * b >= drawn
-- (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002), walked until it is in the range.
local function drawn_place(sale, number)
  local a = math.ceil(math.sqrt(sale.drawn))
  local b = math.ceil(sale.drawn / a)
  local function random(round, part, below)
    return tonumber(string.sub(redis.sha1hex(sale.seed .. ' ' .. round .. ' ' .. part), 1, 12), 16) % below
  end
  repeat
    local left, right = math.floor(number / b), number % b
    for round = 1, 6, 2 do
      left = (left + random(round, right, a)) % a
      right = (right + random(round + 1, left, b)) % b
    end
    number = left * b + right
  until number < sale.drawn
  return number
end

-- Made only where it is needed: most sales give no tickets. `window` is in ms; the lot depends on `chance`, which nobody knows
-- before.
local function sale_by_ticket(product, opens, stock, running, window, chance)
  local key = product_key(product)
  local v = redis.call('HMGET', key, 'round', 'given', 'drawn', 'seed', 'turn', 'moved')
  local sale = {round = tonumber(v[1]) or 0, given = tonumber(v[2]) or 0, drawn = tonumber(v[3]), seed = v[4],
                turn = tonumber(v[5]) or 0, moved = tonumber(v[6]) or 0}
  stock = math.max(stock, 0)

  local function move(turn, moved)
    sale.turn, sale.moved = turn, moved
    redis.call('HSET', key, 'turn', string.format('%.0f', turn), 'moved', string.format('%.0f', moved))
  end

  if not sale.drawn and NOW >= opens then
    local t = redis.call('TIME')
    sale.drawn, sale.seed = sale.given, redis.sha1hex(chance .. ' ' .. product .. ' ' .. t[1] .. ' ' .. t[2])
    redis.call('HSET', key, 'drawn', sale.drawn, 'seed', sale.seed)
    move(stock, stock > 0 and NOW or 0)
  elseif sale.drawn and running and stock > 0 then
    -- A time in which the store stood still was no turn of anybody.
    local since_moved = NOW - math.max(sale.moved, resumed())
    local windows = sale.moved == 0 and 1 or math.floor(since_moved / window)
    if windows > 0 then
      -- Never more than the units are for, beyond those who asked: else whoever comes late would find no queue at all.
      local turn = math.max(sale.turn, math.min(sale.turn + windows * stock, sale.given + stock))
      move(turn, sale.moved == 0 and NOW or NOW - since_moved % window)
    elseif sale.moved > NOW then
      move(sale.turn, NOW) -- the clock has stepped back
    end
  end

  -- The place of a ticket, from 0 on; who came after the draw comes after all who took part, in the order of coming.
  function sale.place(number)
    return number < sale.drawn and drawn_place(sale, number) or number
  end

  -- In how many ms the turn of a place will come, if nobody buys meanwhile; 0: it has come.
  function sale.wait(place)
    if place < sale.turn then return 0 end
    local windows = math.ceil((place + 1 - sale.turn) / math.max(stock, 1))
    return math.max((sale.moved == 0 and NOW or math.max(sale.moved, resumed())) + windows * window - NOW, 1)
  end
  return sale
end
