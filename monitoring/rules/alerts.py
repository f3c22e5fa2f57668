"""Every alert but those of the budgets, which `objectives` makes."""

from monitoring.rules.model import Group, Timescale
from monitoring.rules.sale_alerts import sale_groups
from monitoring.rules.watch_alerts import watch_groups


def alert_groups(t: Timescale) -> tuple[Group, ...]:
    """Return the groups of alerts.yml."""
    return (*sale_groups(t), *watch_groups(t))
