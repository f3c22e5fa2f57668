// What the page has seen so far: one point for each snapshot of the last minutes. Rates are means of ten seconds, as
// the service's own throughput is.

import { SPAN_SECONDS } from "./chart.js";
import { tenths } from "./dom.js";

const WINDOW_MS = 10500;
const SHORTEST_MS = 1500;

/** A rate as text; one that is there but rounds to nothing says so. */
export function rateOf(value) {
  if (value === null) return "–";
  return value > 0 && value < 0.05 ? "< 0.1" : tenths(value);
}

export class History {
  constructor() {
    this.points = [];
  }

  get latest() {
    return this.points.at(-1);
  }

  /** Adds a snapshot and tells whether it is news; a total that fell means another store, and the past is forgotten. */
  add(snapshot) {
    const t = Date.parse(snapshot.timestamp);
    const total = snapshot.orders.pending;
    if (this.latest && t <= this.latest.t && t >= this.latest.t - WINDOW_MS) return false;
    if (this.latest && (total < this.latest.total || t < this.latest.t)) this.points = [];
    const base = this.points.find((point) => point.t >= t - WINDOW_MS);
    const accepted = base && t - base.t >= SHORTEST_MS ? ((total - base.total) * 1000) / (t - base.t) : null;
    this.points.push({ t, total, accepted, settled: snapshot.throughput, queue: snapshot.queue.length });
    while (this.points[0].t < t - SPAN_SECONDS * 1000 - WINDOW_MS) this.points.shift();
    return true;
  }

  /** Least and most of a field, in words. */
  range(key, name) {
    const values = this.points.map((point) => point[key]).filter((value) => value !== null);
    return values.length ? `Between ${tenths(Math.min(...values))} and ${tenths(Math.max(...values))} ${name} since this page looks` : "";
  }
}
