"""The text of an exposition, family by family: several put together, some taken out."""

from collections.abc import Collection

from .text_format import EOF

_HELP = b"\n# HELP "


def merge(texts: list[bytes]) -> bytes:
    """Make one exposition out of several: each family once, with the samples of all.

    Args:
        texts: as prometheus_client writes them, all in one format, families headed by ``# HELP``.
    """
    if len(texts) == 1:
        return texts[0]
    families: dict[bytes, list[bytes]] = {}
    for text in texts:
        for lines in _split(text):
            known = families.get(name := lines.partition(b" ")[0])
            if known is None:
                families[name] = [_HELP[1:] + lines]
            elif samples := lines[_end_of_head(lines) :]:
                known.append(samples)
    end = EOF if any(text.endswith(EOF) for text in texts) else b""
    return b"".join(b"\n".join([*blocks, b""]) for blocks in families.values()) + end


def select(text: bytes, names: Collection[str]) -> bytes:
    """Keep the families and the samples of these names, as Prometheus' own clients do.

    Args:
        text: an exposition in either format.
        names: the name of a family keeps it whole, that of a sample (``..._bucket``) keeps such samples of its family.
    """
    wanted = {name.encode(errors="replace") for name in names}
    kept = [b"".join([_HELP[1:], lines, b"\n"]) for each in _split(text) if (lines := _selected(each, wanted))]
    return b"".join(kept) + (EOF if text.endswith(EOF) else b"")


def _split(text: bytes) -> list[bytes]:
    """Return the lines of each family, from the name in its HELP line on."""
    # A label or a HELP line has no line feed, so this begins a family wherever it stands.
    return [block.removesuffix(b"\n") for block in (b"\n" + text.removesuffix(EOF)).split(_HELP)[1:]]


def _selected(lines: bytes, wanted: Collection[bytes]) -> bytes:
    """Return what is wanted of a family: all, or some samples under its head, or nothing."""
    name = lines.partition(b" ")[0]
    if name in wanted or (
        f"\n# TYPE {name.decode()} counter\n".encode() in lines and name.removesuffix(b"_total") in wanted
    ):
        return lines
    end = _end_of_head(lines)
    samples = [line for line in lines[end:].split(b"\n") if line.partition(b" ")[0].partition(b"{")[0] in wanted]
    return lines[:end] + b"\n".join(samples) if samples else b""


def _end_of_head(lines: bytes) -> int:
    """Return where the samples begin, after the HELP line and the comments that follow it."""
    end = lines.find(b"\n") + 1 or len(lines)
    while lines.startswith(b"#", end):
        end = lines.find(b"\n", end) + 1 or len(lines)
    return end
