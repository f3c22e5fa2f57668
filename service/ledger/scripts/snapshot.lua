-- Reads all that the telemetry shows, at one instant. Writes nothing.
-- Keys:    1 the shard's prefix
-- Returns: {now in ms, totals (flat pairs), products (rows), queue length, being processed, age of the oldest order in ms,
--          dead letters, drain in orders per 1000 s, settled in 10 s, settled, failed and total ms taken in 60 s,
--          orders begun that had a promise and sum of their errors in ms in 60 s,
--          workers (flat pairs of consumer and ms since its heartbeat), refused (flat pairs of reason and count),
--          orders that no worker has in hand, orders per 1000 s settled while some wait, ms that the first of them waits}
return snapshot()
