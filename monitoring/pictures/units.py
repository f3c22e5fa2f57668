"""Values as Grafana writes them: in the unit of the panel, with as many digits as say something."""

_TIMES = ((86400, "day"), (3600, "hour"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_COUNTS = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"), (1, ""))


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """Return a value in a Grafana unit."""
    if unit.startswith("suffix:"):
        return _counted(value, decimals, unit.removeprefix("suffix:"))
    if unit == "bool_yes_no":
        return "Yes" if value else "No"
    if unit in ("percent", "percentunit"):
        return f"{_digits(value * (100 if unit == 'percentunit' else 1), decimals)}%"
    if unit in ("s", "ms"):
        return _scaled(value / (1000 if unit == "ms" else 1), _TIMES, decimals)
    if unit == "bytes":
        return _scaled(value, _BYTES, decimals)
    return _counted(value, decimals, " req/s" if unit == "reqps" else "")


def _counted(value: float, decimals: int | None, suffix: str) -> str:
    scale, name = next(((scale, name) for scale, name in _COUNTS if abs(value) >= scale), (1.0, ""))
    return f"{_digits(value / scale, decimals)}{name}{suffix}"


def _scaled(value: float, scales: tuple[tuple[float, str], ...], decimals: int | None) -> str:
    if value == 0:
        return f"0 {scales[-1][1] if scales is _BYTES else 's'}"
    scale, name = next(((scale, name) for scale, name in scales if abs(value) >= scale), scales[-1])
    return f"{_digits(value / scale, decimals)} {name}"


def _digits(value: float, decimals: int | None) -> str:
    """Three significant digits, if nobody asked for other ones."""
    if decimals is not None:
        return f"{value:.{decimals}f}"
    whole = len(f"{abs(value):.0f}") if abs(value) >= 1 else 0
    text = f"{value:.{max(0, 3 - whole) if whole else 3}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
