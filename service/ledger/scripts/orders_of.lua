-- Reads the orders of one user, the newest first, from a point in time and order id on.
-- Keys:    1 the shard's prefix
-- Args:    1 user, 2 how many at most, 3 accepted at or before (ms, or '+inf'), 4 ids below this one at that time, or ''
-- Returns: order rows
local rows, offset, limit = {}, 0, tonumber(ARGV[2])
while #rows < limit do
  local page = redis.call('ZREVRANGEBYSCORE', user_key(ARGV[1]), ARGV[3], FIRST_TIME, 'WITHSCORES', 'LIMIT', offset, limit)
  if #page == 0 then break end
  for i = 1, #page, 2 do
    local id = long(page[i])
    local passed = ARGV[4] == '' or page[i + 1] ~= ARGV[3] or id < ARGV[4]
    if passed and #rows < limit then rows[#rows + 1] = order_row(id) end
  end
  offset = offset + limit
end
return rows
