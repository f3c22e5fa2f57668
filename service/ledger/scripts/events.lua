-- Reads the feed of order changes. Writes nothing.
-- Needs:   orders, streams
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Args:    1 id of the entry to begin with, which need not be there, or '' for the oldest; 2 how many changes of that entry to
--          pass over; 3 how many changes to look at, at most
-- Returns: {name of the store, 1 if what comes next is no longer kept, where the next reading begins: entry id and how many of
--          it to pass over, 1 if there may be more, {entry id, place in it, type, order row as it was then} per change}
local FROM, OVER, LIMIT = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local STRIDE = 32

local function numbers(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end
local function behind(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return ms .. '-' .. string.format('%.0f', n + 1)
end

local store, trimmed = unpack(redis.call('MGET', P .. 'store', P .. 'trimmed'))
if FROM == '' then
  FROM = trimmed and behind(trimmed) or '0-0'
elseif trimmed then
  local ms, n = numbers(FROM)
  local trimmed_ms, trimmed_n = numbers(trimmed)
  if ms < trimmed_ms or (ms == trimmed_ms and n <= trimmed_n) then return {store, 1, FROM, OVER, 0, {}} end
end

-- The order as it was when it changed so. Nil when it is not there any more.
local function as_it_was(bytes, status, number, reason)
  local order = load_order(long(bytes))
  if not order then return nil end
  if status == 'refunded' then
    for part = #order.parts, number + 1, -1 do order.parts[part] = nil end
    order.state, order.reason = refunded(order) < order.quantity and 'confirmed' or 'refunded', reason
    return row(order)
  end
  local earlier = order.generations and order.generations[number + 1]
  if earlier then
    order.accepted, order.expires, order.position, order.eta, order.attempts, order.settled, order.reason = unpack(earlier)
    order.payment = ''
  end
  if #order.parts > 0 then order.reason = '' end -- it is that of the last refund
  order.state, order.generation, order.parts = status, number, {}
  if status == 'pending' then
    order.attempts, order.settled, order.reason, order.payment = 0, 0, '', ''
  end
  return row(order)
end

-- Reads the change that begins at a place of an entry's value; returns its words and where the next begins.
local function read(value, at)
  local state, bytes, number, next_at = struct.unpack(CHANGE, value, at)
  local status, reason = STATES[state] or error('no status'), nil
  if status == 'refunded' then reason, next_at = struct.unpack('>Hc0', value, next_at) end
  return {bytes, status, number, reason}, next_at
end

-- The changes of an entry; none of one that is not ours.
local function changes_in(entry)
  local found, value, at = {}, entry[2][2], 1
  while at <= #value do
    local ours, change, next_at = pcall(read, value, at)
    if not ours then return {} end
    found[#found + 1], at = change, next_at
  end
  return found
end

local rows, looked = {}, 0
while true do
  local entries = feed(FROM, '+', STRIDE)
  for _, entry in ipairs(entries) do
    local id, found = entry[1], changes_in(entry)
    if id ~= FROM then OVER = 0 end
    for i = OVER + 1, #found do
      if looked == LIMIT then return {store, 0, id, i - 1, 1, rows} end
      looked = looked + 1
      local was = as_it_was(unpack(found[i], 1, 4))
      if was then rows[#rows + 1] = {id, i, found[i][2], was} end
    end
    FROM, OVER = behind(id), 0
  end
  if #entries < STRIDE then return {store, 0, FROM, OVER, 0, rows} end
end
