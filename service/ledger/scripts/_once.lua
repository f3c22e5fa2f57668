-- A request that is carried out once: its answer is kept under its id, and given again whatever happened since.
-- Needs:   shard

-- Returns nil for a request that is to be carried out, else what to answer; `call` is the id of this call, so that a call that
-- the client of the store sends twice is told the same both times.
local function answered(id, fingerprint, call)
  local done, claimed = unpack(redis.call('MGET', P .. 'request:' .. id, P .. 'claim:' .. id))
  if claimed then return {'idempotency_conflict'} end -- by a request that is carried out in another shard
  if not done then return nil end
  local known, outcome, kept, first = unpack(cmsgpack.unpack(done))
  if known ~= fingerprint then return {'idempotency_conflict'} end
  return {outcome, kept, first == call and 0 or 1}
end

-- Keeps the answer, {outcome, row, 0}, for so many ms and returns it.
local function keep_answer(id, ms, fingerprint, call, outcome, kept)
  redis.call('SET', P .. 'request:' .. id, cmsgpack.pack({fingerprint, outcome, kept, call}), 'PX', ms)
  return {outcome, kept, 0}
end
