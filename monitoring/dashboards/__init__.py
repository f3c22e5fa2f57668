"""Grafana's dashboards, from code: `python -m monitoring.dashboards --help`.

`sale.py`, `service.py` and `pipeline.py` say what is on them, `model.py` and `panels.py` how that is written for
Grafana. `make dashboards` writes `monitoring/grafana/dashboards/*.json`, which are committed and mounted as they are.
"""

from monitoring.dashboards.files import DASHBOARDS, FOLDER, text, write

__all__ = ["DASHBOARDS", "FOLDER", "text", "write"]
