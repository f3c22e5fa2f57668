// A small line chart over the last minutes, in SVG: a few series, a scale that fits, gaps where nothing was heard.

import { clock, draw, put, tenths, whole } from "./dom.js";

export const SPAN_SECONDS = 300;
const SHORTEST_SPAN_SECONDS = 60;
const GAP_MS = 5000;
const EDGE = { top: 8, right: 6, bottom: 22, left: 44 };

/** The step of a scale that puts two to four lines between 0 and `most`. */
export function step(most) {
  const power = 10 ** Math.floor(Math.log10(most || 1));
  return [0.5, 1, 2.5, 5].map((factor) => factor * power).find((size) => most / size <= 4) ?? power * 5;
}

export class Chart {
  /** `series` has `{ key, name, area }` each; `key` is the field of a point `{ t, ... }`, with null where unknown. */
  constructor(place, { title, height, series, integers = false }) {
    this.place = place;
    this.series = series;
    this.height = height;
    this.integers = integers;
    this.points = [];
    this.now = 0;
    this.label = title;
    this.svg = draw("svg", { role: "img", "aria-label": title, height });
    this.scale = draw("g", { class: "scale" });
    this.lines = series.map(({ key, area }) => {
      const line = draw("path", { class: `line ${key}` });
      return { key, line, area: area ? draw("path", { class: `area ${key}` }) : null };
    });
    this.pointer = draw("line", { class: "pointer", visibility: "hidden" });
    this.readout = draw("text", { class: "readout", y: 14 });
    const shapes = this.lines.flatMap(({ area, line }) => (area ? [area, line] : [line]));
    this.svg.append(this.scale, ...shapes, this.pointer, this.readout);
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    place.append(this.svg);
    new ResizeObserver(() => this.render(this.points, this.now)).observe(place);
  }

  /** Draws points (the oldest first) up to `now`, all in milliseconds. */
  render(points, now) {
    this.points = points;
    this.now = now;
    const width = this.place.clientWidth;
    if (!width) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.setAttribute("width", width);
    const known = points.length ? (now - points[0].t) / 1000 : 0;
    this.seconds = Math.min(Math.max(known, SHORTEST_SPAN_SECONDS), SPAN_SECONDS);
    this.visible = points.filter((point) => point.t >= now - this.seconds * 1000);
    const most = Math.max(1, ...this.visible.flatMap((point) => this.series.map(({ key }) => point[key] ?? 0)));
    const size = this.integers ? Math.max(1, step(most)) : step(most);
    this.top = Math.ceil((most * 1.02) / size) * size;
    this.width = width;
    this.drawScale(size);
    for (const { key, line, area } of this.lines) {
      const runs = this.runs(key);
      line.setAttribute("d", runs.map((run) => `M${run.map((at) => at.join(" ")).join("L")}`).join(""));
      area?.setAttribute("d", runs.map((run) => this.closed(run)).join(""));
    }
    if (this.at !== undefined) this.point(this.at);
  }

  /** Says in words what the drawing shows, for those who do not see it. */
  describe(text) {
    this.svg.setAttribute("aria-label", `${this.label}. ${text}`);
  }

  x(t) {
    const inner = this.width - EDGE.left - EDGE.right;
    return Math.round((EDGE.left + inner * (1 - (this.now - t) / 1000 / this.seconds)) * 10) / 10;
  }

  y(value) {
    const inner = this.height - EDGE.top - EDGE.bottom;
    return Math.round((EDGE.top + inner * (1 - value / this.top)) * 10) / 10;
  }

  /** The points of a series as unbroken runs. */
  runs(key) {
    const runs = [];
    let last = null;
    for (const point of this.visible) {
      if (point[key] === null) continue;
      if (last === null || point.t - last > GAP_MS) runs.push([]);
      runs.at(-1).push([this.x(point.t), this.y(point[key])]);
      last = point.t;
    }
    return runs;
  }

  closed(run) {
    const floor = this.y(0);
    return `M${run[0][0]} ${floor}L${run.map((at) => at.join(" ")).join("L")}L${run.at(-1)[0]} ${floor}Z`;
  }

  drawScale(size) {
    const right = this.width - EDGE.right;
    const marks = [];
    for (let value = 0; value <= this.top + size / 1000; value += size) {
      const y = this.y(value);
      marks.push(draw("line", { x1: EDGE.left, x2: right, y1: y, y2: y }));
      const text = size < 1 ? tenths(value) : whole(value);
      marks.push(draw("text", { x: EDGE.left - 8, y: y + 4, "text-anchor": "end" }, text));
    }
    const every = this.seconds <= 75 ? 15 : this.seconds <= 150 ? 30 : 60;
    for (let ago = 0; ago <= this.seconds; ago += every) {
      const x = this.x(this.now - ago * 1000);
      const text = ago === 0 ? "now" : every < 60 ? `${ago} s` : `${ago / 60} min`;
      const anchor = ago === 0 ? "end" : "middle";
      marks.push(draw("text", { x, y: this.height - 4, "text-anchor": anchor }, text));
    }
    this.scale.replaceChildren(...marks);
  }

  /** Tells the figures of the moment under the pointer. */
  point(x) {
    this.at = x ?? undefined;
    const near = x === null ? null : this.visible?.reduce(
      (best, point) => (best && Math.abs(this.x(best.t) - x) <= Math.abs(this.x(point.t) - x) ? best : point),
      null,
    );
    this.pointer.setAttribute("visibility", near ? "visible" : "hidden");
    if (!near) return put(this.readout, "");
    const at = this.x(near.t);
    for (const [name, value] of Object.entries({ x1: at, x2: at, y1: EDGE.top, y2: this.y(0) })) {
      this.pointer.setAttribute(name, value);
    }
    const left = at > this.width / 2;
    this.readout.setAttribute("x", left ? at - 8 : at + 8);
    this.readout.setAttribute("text-anchor", left ? "end" : "start");
    const figure = (value) => (value === null ? "–" : this.integers ? whole(value) : tenths(value));
    const said = this.series.map(({ key, name }) => `${name} ${figure(near[key])}`).join(" · ");
    put(this.readout, `${clock(near.t)}  ${said}`);
  }
}
