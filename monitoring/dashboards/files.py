"""The committed JSON of the dashboards."""

import json
from pathlib import Path

from monitoring.dashboards.model import Dashboard
from monitoring.dashboards.pipeline import PIPELINE
from monitoring.dashboards.requests import FILE, REQUESTS_DASHBOARD
from monitoring.dashboards.sale import SALE
from monitoring.dashboards.service import SERVICE

DASHBOARDS: dict[str, Dashboard] = {"sale": SALE, "service": SERVICE, "pipeline": PIPELINE}
FOLDER = Path(__file__).resolve().parents[1] / "grafana" / "dashboards"


def text(dashboard: Dashboard) -> str:
    """Return a dashboard as its file has it."""
    return json.dumps(dashboard.json(), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path = FOLDER) -> list[Path]:
    """Write every dashboard and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, dashboard in DASHBOARDS.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(text(dashboard))
    return paths


def write_packaged(file: Path = FILE) -> Path:
    """Write the dashboard that ships with `truemeter` and return its file."""
    file.write_text(text(REQUESTS_DASHBOARD))
    return file
