"""A dashboard for Grafana and alerts for Prometheus, by what every installed application exports.

``python -m truemeter.monitoring DIRECTORY`` copies them there.
"""
