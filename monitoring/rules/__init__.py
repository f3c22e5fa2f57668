"""The recording rules and alerts of Prometheus, made from typed tables: `make rules` writes them.

`recording` says what is recorded, `alerts` what wakes somebody, `objectives` makes burn-rate alerts from
monitoring/slo.yaml. Every duration goes through one `Timescale`, so that the tests can run the same rules ten times as
fast; the committed files are made at scale 1. Each alert's runbook is the heading of its name in docs/runbook.md.
"""
