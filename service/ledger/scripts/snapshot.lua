-- Reads all that the telemetry shows, at one instant. Writes nothing.
-- Needs:   snapshot
-- Keys:    1 the shard's prefix, 2 its key `store`
-- Returns: names and values: now (ms), totals (names and values), products (rows), queue_length, waiting (orders that no
--          worker has in hand), processing, oldest_ms (age of the oldest order), waited_ms (of the first that waits),
--          webhook_lag_ms (of the oldest change that the webhook was not told of), dead_letters, drain and capacity (orders per 1000 s; capacity: while some wait), settled_10s; of the last 60 s
--          settled, failed, took_ms (sum), promised (orders begun that had a promise) and eta_error_ms (sum of errors);
--          workers (consumers and ms since their heartbeat), refused (reasons and counts)
return snapshot()
