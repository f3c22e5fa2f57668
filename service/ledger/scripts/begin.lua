-- Takes a list of delivered queue entries in hand: each order becomes `processing` and has one attempt more.
-- An order that had too many goes to the dead letters; what is not to be processed any more leaves the queue.
-- Safe to send twice: the second time of one call takes no other attempt.
-- Needs:   pace, ends
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 attempts allowed, 2 id of this call, then 2 per entry: entry id, order id
-- Returns: per entry {begun, wait in ms before the first attempt or -1, ETA given in ms, payment token or '', and what an order
--          row has}, {dead, order row or nil} or {gone}
local ALLOWED, CALL = tonumber(ARGV[1]), ARGV[2]

local scratch = blank_order()

local function begin(entry, id)
  local order = load_order(id, scratch)
  if not order or (order.state ~= 'pending' and order.state ~= 'processing') or order.entry ~= entry then
    dequeue(entry)
    if not string.match(id, '^%x+$') then set_aside('entry', entry, 'names no order') end
    if is_dead(order) then return {'dead', row(order)} end
    return {'gone'}
  end
  if order.state == 'pending' and NOW >= order.expires then
    finish(order, 'expired', 'reservation_ended')
    return {'gone'}
  end
  if order.call == CALL then
    local wait = order.attempts == 1 and math.max(since(order.accepted) - since(order.begun), 0) or -1
    return {'begun', wait, math.max(order.eta, 0), order.token, values_of(order)}
  end
  if order.attempts >= ALLOWED then
    dead_letter(order, 'too_many_attempts')
    return {'dead', row(order)}
  end
  local wait = -1
  if order.begun == 0 then
    wait = since(order.accepted)
    if order.eta >= 0 then
      incr_window('promised', 1)
      incr_window('eta_error', order.eta - wait)
    end
    order.begun = NOW
    gather('ZREM', 'deadlines', id)
    gather('ZADD', 'begun', AT, id)
  end
  order.state, order.attempts, order.call = 'processing', order.attempts + 1, CALL
  save(order)
  return {'begun', wait, math.max(order.eta, 0), order.token, values_of(order)}
end

return commit_after(function()
  local ids, replies = {}, {}
  for i = 4, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
  load_orders(ids)
  for i = 3, #ARGV, 2 do replies[#replies + 1] = begin(ARGV[i], ARGV[i + 1]) end
  took_in_hand()
  return replies
end)
