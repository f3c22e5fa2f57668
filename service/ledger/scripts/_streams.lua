-- The list of all orders, and the feed of their changes.
-- Needs:   shard

-- Appends to a stream, at the present moment. A clock that steps back does not take the stream with it: then at the latest
-- moment that it has. What is no stream is not ours, and in the way.
local function append(name, field, value)
  local key = P .. name
  if type(redis.pcall('XADD', key, AT .. '-*', field, value)) == 'string' then return end
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'stream' then put_aside(name, 'key', name, 'a ' .. kind) end
  redis.call('XADD', key, '*', field, value)
end

-- A change in the feed. Noted is what cannot be told from the order later, packed: type, short order id, and the generation or, of
-- a refund, which one it is; and its reason. `events.lua` makes the order as it was of that.
local CHANGE = '>Bc14H'

-- Entries of the feed; what is no stream has none.
local function feed(from, to, most)
  local found = redis.pcall('XRANGE', P .. 'events', from, to, 'COUNT', most)
  return found.err and {} or found
end

-- The list of all orders, by the time of their acceptance.
local ACCEPTED = P .. 'accepted'
local function list_accepted(ids) append('accepted', 'o', ids) end

-- The short ids of an entry of that list; none where it is not ours.
local SIZE = 14
local function ids_in(entry)
  local ids, value = {}, entry[2][1] == 'o' and entry[2][2] or ''
  if #value % SIZE > 0 then return ids end
  for i = 1, #value, SIZE do ids[#ids + 1] = string.sub(value, i, i + SIZE - 1) end
  return ids
end

local function names(entry, id)
  local at = 0
  repeat at = string.find(entry[2][2], id, at + 1, true) until not at or at % SIZE == 1
  return at
end

-- The entry that names an order; nil when there is none at the time of its acceptance, nor near behind it.
local NEAR, STRIDE = 10000, 16
local function entry_of(order)
  local id, from = short(order.id), order.accepted
  for _, entry in ipairs(redis.call('XRANGE', ACCEPTED, from, from)) do
    if names(entry, id) then return entry end
  end
  for _ = 1, NEAR, STRIDE do
    local entries = redis.call('XRANGE', ACCEPTED, from, '+', 'COUNT', STRIDE)
    for _, entry in ipairs(entries) do
      if names(entry, id) then return entry end
    end
    if #entries < STRIDE then return nil end
    from = '(' .. entries[STRIDE][1]
  end
end
