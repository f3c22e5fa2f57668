-- What a step writes. What it does to one order after the other is gathered, and written when the work is done: one command for
-- each key. A script finds out first and writes then. Where the store takes no write it says so to the first (`OOM`, `READONLY`)
-- and to no later one of a script, so that the first may be refused and nothing is done by halves.
-- Needs:   orders, streams

local unsaved, sums, lists, changes = {}, {}, {}, {}

-- Writes an order: once, as it is at the end.
local is_unsaved = {}
local function save(order)
  local id = order.id
  held[id] = encode(order)
  if not is_unsaved[id] then
    is_unsaved[id] = true
    unsaved[#unsaved + 1] = id
  end
end

-- Adds n to a field of a hash.
local function add(key, field, n)
  local fields = sums[key]
  if not fields then
    fields = {}
    sums[key] = fields
  end
  fields[field] = (fields[field] or 0) + n
end

-- Gives a command one value more for its key, or a score and a member.
local function gather(command, name, value, member)
  local names = lists[command]
  if not names then
    names = {}
    lists[command] = names
  end
  local values = names[name]
  if not values then
    values = {}
    names[name] = values
  end
  values[#values + 1] = value
  values[#values + 1] = member
end

-- Adds n to a counter of the present second; `window` sums them.
local SECOND = P .. 'second:' .. string.sub(AT, 1, -4)
local function incr_window(field, n) add(SECOND, field, n) end

local TOTALS = P .. 'totals'
local function count(status) add(TOTALS, status, 1) end

-- Adds what so many units of an order cost to a total. A large sum would not be exact in the end.
local EXACT = 1e12
local function earn(total, order, units, key)
  local cost = order.price * units
  if math.abs(cost) < EXACT then return add(key or TOTALS, total .. order.currency, cost) end
  redis.pcall('HINCRBY', key or TOTALS, total .. order.currency, string.format('%d', cost))
end

-- Puts an order into the queue; the caller saves it.
local function enqueue(order)
  order.entry = redis.call('XADD', P .. 'queue', '*', 'o', order.id, 't', order.trace)
end

-- The feed and the totals are told of a change of an order: `number` is the generation or, of a refund, which one it is.
local function note_change(order, status, number, reason)
  local change = struct.pack(CHANGE, STATE[status], short(order.id), number)
  if status == 'refunded' then change = change .. struct.pack('>Hc0', #reason, reason) end
  changes[#changes + 1] = change
  count(status == 'refunded' and 'refunds' or status)
end

local function write_orders()
  for first = 1, #unsaved, MOST / 2 do
    local values = {}
    for i = first, math.min(first + MOST / 2 - 1, #unsaved) do
      values[#values + 1] = order_key(unsaved[i])
      values[#values + 1] = held[unsaved[i]]
    end
    redis.call('MSET', unpack(values))
  end
end

-- A key that is damaged is noted, and harms no other. A total that can hold no more, at 2^63, is as good as damaged, and known.
local function write(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not is_damage(reply) then error(as_error(reply), 0) end
  if not string.find(reply.err, 'overflow', 1, true) then set_aside('key', string.sub(key, #P + 1), reply.err) end
end

-- Writes what was gathered until now: the orders first, so that a store that takes no write refuses all of it.
local function commit()
  local written, problem = pcall(write_orders)
  local fields_of, values_of, told = sums, lists, changes
  unsaved, is_unsaved, sums, lists, changes = {}, {}, {}, {}, {}
  if not written then error(as_error(problem), 0) end
  for key, fields in pairs(fields_of) do
    for field, n in pairs(fields) do
      if write('HINCRBY', key, field, text(n)) == n and key == SECOND then write('EXPIRE', key, 120) end
    end
  end
  for command, names in pairs(values_of) do
    for name, values in pairs(names) do
      for first = 1, #values, MOST do
        local last = math.min(first + MOST - 1, #values)
        if command == 'XACK' then
          write(command, P .. name, GROUP, unpack(values, first, last))
        else
          write(command, P .. name, unpack(values, first, last))
        end
      end
    end
  end
  if #told > 0 then append('events', 'e', table.concat(told)) end
end

-- Does the work of a step and writes what it gathered, also where it breaks off in the middle.
local function commit_after(work)
  local done, result = pcall(work)
  local written, problem = pcall(commit)
  if not done then error(as_error(result), 0) end
  if not written then error(as_error(problem), 0) end
  return result
end
