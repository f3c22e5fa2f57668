"""Pictures of the dashboards from real data, for the documentation: `python -m monitoring.pictures --help`.

They are drawn by this package from the committed JSON and the answers of a real Prometheus, not by Grafana: the same
panels in the same places with the same queries, units, colours and thresholds, in the manner of Grafana's dark theme.
"""
