"""Request statistics of a whole fleet in Redis: counts, latencies and errors of the last hour."""
