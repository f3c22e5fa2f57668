"""A drill: each alert is seen to fire for a fault of its own in the running stack, and to end with it.

`python -m monitoring.drill` (`make drill`) starts the stack of docker-compose.yml on loopback, goes through `scenarios`
and prints a table. The rules are those of monitoring/rules at a tenth of their durations, scraped every two seconds, so
that all of it takes minutes; promtool tests the committed files at their own pace. Everything else is as committed, but
for a shorter queue in the collector, and workers that give an order up sooner.
"""
