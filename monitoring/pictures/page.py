"""A dashboard as a page of HTML: its head, its variables, its panels in their places."""

import time
from html import escape
from typing import Any

from monitoring.dashboards.ask import Prometheus, Window
from monitoring.pictures.canvas import Canvas
from monitoring.pictures.data import marks
from monitoring.pictures.kinds import KINDS

WIDTH = 1560
EDGE = 14
ROW = 38
GAP = 8
TITLE = 30

STYLE = """
* { box-sizing: border-box; margin: 0; padding: 0 }
body { background: #111217; color: #ccccdc; font: 13px Inter, Roboto, 'DejaVu Sans', sans-serif; width: 1560px }
header { padding: 14px 16px 8px; display: flex; align-items: center; gap: 12px }
h1 { font-size: 18px; font-weight: 500; flex: 1 }
header span { color: rgba(204,204,220,.65); border: 1px solid rgba(204,204,220,.16); padding: 5px 10px }
nav { padding: 0 16px 10px; display: flex; gap: 10px }
nav div { display: flex; border: 1px solid rgba(204,204,220,.16); border-radius: 2px; font-size: 12px }
nav label { background: #181b1f; padding: 6px 9px; font-weight: 500 }
nav b { font-weight: 400; padding: 6px 12px; background: #111217 }
nav .mark { border: 0; align-items: center; gap: 6px } nav .mark i { width: 9px; height: 9px; border-radius: 5px }
main { position: relative }
section { position: absolute; background: #181b1f; border: 1px solid rgba(204,204,220,.09); border-radius: 2px;
  overflow: hidden }
h2 { position: absolute; font-size: 15px; font-weight: 500; padding: 9px 4px }
h2::before { content: '⌄'; padding-right: 8px; color: rgba(204,204,220,.65); position: relative; top: -3px }
h3 { font-size: 13.5px; font-weight: 500; padding: 7px 10px 0; height: 30px; white-space: nowrap }
svg { display: block } .axis { fill: rgba(204,204,220,.65); font-size: 11px }
.curve { fill: none; stroke-width: 1.4; stroke-linejoin: round }
.empty { color: rgba(204,204,220,.5); text-align: center; padding-top: 60px }
.figure { text-align: center; font-size: 34px; font-weight: 500; position: absolute; width: 100%; top: 38px }
.spark { position: absolute; bottom: -20px; width: 100% }
table { border-collapse: collapse; width: calc(100% - 20px); margin: 0 10px; font-size: 12px }
.legend th { color: #6e9fff; font-weight: 500; text-align: left; height: 19px }
.legend td { height: 19px; border-top: 1px solid rgba(204,204,220,.06); white-space: nowrap }
.legend i { display: inline-block; width: 14px; height: 4px; margin-right: 8px; vertical-align: 3px }
.legend .more { color: rgba(204,204,220,.5); padding-left: 22px }
td.n, th.n { text-align: right !important; font-variant-numeric: tabular-nums }
.rows th { text-align: left; font-weight: 500; color: #6e9fff; height: 32px }
.rows td { height: 31px; border-top: 1px solid rgba(204,204,220,.09) } .rows .link { color: #6e9fff }
.bars { padding: 6px 12px; display: grid; grid-template-columns: fit-content(48%) 1fr 62px; gap: 9px 10px;
  grid-auto-rows: minmax(14px, 42px); height: calc(100% - 34px); align-items: center; font-size: 12px }
.bar { display: contents }
.bar label { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.bar div { background: #22252b; height: 76%; min-height: 12px } .bar b { display: block; height: 100% }
.bar span { text-align: right; font-size: 14px; font-weight: 500 }
footer { position: absolute; color: rgba(204,204,220,.45); font-size: 11px; padding: 6px 16px }
"""


def frame(canvas_of: tuple[Prometheus, Window, list[tuple[float, str, str]]], panel: dict[str, Any]) -> str:
    """One panel in its place."""
    place = panel["gridPos"]
    column = (WIDTH - 2 * EDGE + GAP) / 24
    left, top = EDGE + place["x"] * column, place["y"] * ROW
    if panel["type"] == "row":
        return f'<h2 style="left:{left}px;top:{top}px">{escape(panel["title"])}</h2>'
    width, height = place["w"] * column - GAP, place["h"] * ROW - GAP
    prometheus, window, found = canvas_of
    canvas = Canvas(prometheus, panel, window, found, width - 2, height - TITLE - 2)
    body = KINDS[panel["type"]](canvas)
    style = f"left:{left:.1f}px;top:{top}px;width:{width:.1f}px;height:{height}px"
    return f'<section style="{style}"><h3>{escape(panel["title"])}</h3>{body}</section>'


def page(prometheus: Prometheus, document: dict[str, Any], window: Window) -> str:
    """Return the page of a dashboard over a time."""
    found = marks(prometheus, document, window)
    panels = "".join(frame((prometheus, window, found), panel) for panel in document["panels"])
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in document["panels"]) * ROW
    chosen = "".join(
        f"<div><label>{escape(variable['label'])}</label><b>{escape(_chosen(variable))}</b></div>"
        for variable in document["templating"]["list"]
    )
    words = {annotation["name"]: color for annotation, color in _colors(document)}
    notes = "".join(
        f'<div class="mark"><i style="background:{color}"></i>{escape(name)}</div>' for name, color in words.items()
    )
    times = (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) for at in (window.start, window.end))
    return (
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
        f"<header><h1>{escape(document['title'])}</h1><span>{' to '.join(times)} UTC</span></header>"
        f'<nav>{chosen}{notes}</nav><main style="height:{bottom + 30}px">{panels}'
        f'<footer style="top:{bottom}px">Drawn by monitoring/pictures from the dashboard\'s JSON and a real Prometheus;'
        " Grafana shows the same panels its own way.</footer></main>"
    )


def _chosen(variable: dict[str, Any]) -> str:
    text = variable["current"]["text"]
    return text if isinstance(text, str) else ", ".join(text)


def _colors(document: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    return [(annotation, annotation["iconColor"]) for annotation in document["annotations"]["list"]]
