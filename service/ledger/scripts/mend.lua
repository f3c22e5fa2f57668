-- Puts live orders that stand nowhere back into the queue: somebody deleted or trimmed it. A key of another type is put
-- aside under another name, and so is a product without its figures. Costs next to nothing while no order is missing. Safe to send twice, from any number of processes.
-- Needs:   pace, products
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 where to begin: 0, then what the call before said; 2 how many orders to look at, at most
-- Returns: {how many were put back, where the next call begins or -1 after the last, 1 if nothing happened for a minute and
--          no order is under way}
local queue, from, most = P .. 'queue', tonumber(ARGV[1]), tonumber(ARGV[2])
local KINDS = {
  damaged = 'hash', queue = 'stream', accepted = 'stream', events = 'stream', ended = 'list', workers = 'zset',
  deadlines = 'zset', begun = 'zset', delayed = 'zset', retried = 'zset', dead = 'zset', refunds = 'zset', catalogue = 'set', totals = 'hash',
  refused = 'hash', beat = 'hash', ['lease:exporter'] = 'string',
}
local function check_kind(name, wanted)
  local kind = redis.call('TYPE', P .. name).ok
  if kind == wanted or kind == 'none' then return end
  redis.call('RENAME', P .. name, P .. 'damaged:' .. name .. ':' .. NOW)
  return kind
end
-- Most of the time there is nothing in any of these.
local SELDOM = {'damaged', 'deadlines', 'begun', 'delayed', 'retried', 'dead', 'refunds'}
local function there_is_some()
  local keys = {}
  for i, name in ipairs(SELDOM) do keys[i] = P .. name end
  return redis.call('EXISTS', unpack(keys)) > 0
end
local some = there_is_some()
if not some then for _, name in ipairs(SELDOM) do KINDS[name] = nil end end
local wrong = {}
for name, wanted in pairs(KINDS) do wrong[name] = check_kind(name, wanted) end
for name, kind in pairs(wrong) do set_aside('key', name, 'a ' .. kind) end

if from == 0 then
  for _, name in ipairs({'totals', 'refused'}) do
    local fields = redis.call('HGETALL', P .. name)
    for i = 1, #fields, 2 do
      if not tonumber(fields[i + 1]) then
        redis.call('HDEL', P .. name, fields[i])
        set_aside('figure', name .. ' ' .. fields[i], fields[i + 1])
      end
    end
  end
  look_for_seconds(60)
  for s = math.floor(NOW / 1000) - 60, at_rest and 0 or math.floor(NOW / 1000) do check_kind('second:' .. s, 'hash') end
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'catalogue')) do
    if not product_row(id) then
      local kind = redis.call('TYPE', product_key(id)).ok
      if kind ~= 'none' and (kind ~= 'hash' or redis.call('HEXISTS', product_key(id), 'name') == 1) then
        put_aside('product:' .. id, 'product', id, 'no product')
      else
        set_aside('product', id, 'not there')
      end
    end
  end
end

if not some then return {0, -1, at_rest and 1 or 0} end
local pending, begun = redis.call('ZCARD', P .. 'deadlines'), redis.call('ZCARD', P .. 'begun')
if pending + begun <= queue_length() then return {0, -1, 0} end

-- A list of live orders may name one that is not there or ended: then a hand that is not ours was in the store.
local function mend(list, id)
  local order = load_order(id)
  if not order or (order.state ~= 'pending' and order.state ~= 'processing') then
    redis.call('ZREM', P .. list, id)
    set_aside('order', id, order and order.state or 'not there')
    return 0
  end
  if redis.call('ZSCORE', P .. 'delayed', id) then return 0 end
  -- A queue that was made anew within the same millisecond gives the same ids again, to other orders.
  local there = order.entry ~= '' and redis.call('XRANGE', queue, order.entry, order.entry)[1]
  if there and there[2][2] == id then return 0 end
  enqueue(order)
  save(order)
  return 1
end

local mended = 0
for _, id in ipairs(redis.call('ZRANGE', P .. 'deadlines', from, from + most - 1)) do
  mended = mended + mend('deadlines', id)
end
if from + most > pending then
  local first = math.max(from - pending, 0)
  for _, id in ipairs(redis.call('ZRANGE', P .. 'begun', first, from + most - 1 - pending)) do
    mended = mended + mend('begun', id)
  end
end
if mended > 0 then
  redis.pcall('XGROUP', 'CREATE', queue, GROUP, 0)
  set_aside('queue', 'entries missing', mended .. ' orders were put back')
end
commit()
return {mended, from + most < pending + begun and from + most or -1, 0}
