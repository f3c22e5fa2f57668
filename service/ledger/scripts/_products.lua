-- Products as a caller sees them.
-- Needs:   shard

-- A product as the caller sees it; nil if there is none, or what is there is none.
local FIGURES = {2, 4, 5, 6, 7, 8, 10}
local function product_row(id)
  local v = redis.pcall('HMGET', product_key(id), 'name', 'price', 'currency', 'initial', 'restocked', 'stock', 'held',
                       'sold', 'limit', 'opens', 'closes', 'archived', 'halted', 'admission', 'given', 'turn')
  if v.err or not v[1] then return nil end
  for _, i in ipairs(FIGURES) do
    if not tonumber(v[i]) then return nil end
  end
  v[12], v[13], v[14], v[15], v[16] = v[12] or '0', v[13] or '', v[14] or '', v[15] or '0', v[16] or ''
  table.insert(v, 1, id)
  return v
end

-- Changes with whatever the merchant may set, and not with what is held or sold: see `Product.revision`.
local function revision(id)
  local v = redis.call('HMGET', product_key(id), 'name', 'price', 'currency', 'initial', 'restocked', 'limit', 'opens',
                       'closes', 'halted', 'admission')
  local total = string.format('%.0f', v[4] + v[5])
  return string.sub(redis.sha1hex(table.concat({v[1], v[2], v[3], total, v[6], v[7], v[8], v[9] or '',
                                                         v[10] == 'ticket' and v[10] or nil}, '\0')), 1, 20)
end
