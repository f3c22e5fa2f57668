-- Cancels an order that nobody began. Safe to send twice: the units go back once.
-- Needs:   ends
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 order id, 2 the only user who may, or '' for anyone, 3 ms that a user may cancel one order in; 0 for any number
-- Returns: {cancelled|not_cancellable|unknown_order, order row or nil}
return commit_after(function()
  local order = load_order(ARGV[1])
  if not order or (ARGV[2] ~= '' and ARGV[2] ~= order.user) then return {'unknown_order'} end
  if order.state == 'pending' then
    finish(order, 'cancelled', '')
    note_cancellation(order.user, tonumber(ARGV[3]))
  elseif order.state ~= 'cancelled' then
    return {'not_cancellable', row(order)}
  end
  return {'cancelled', row(order)}
end)
