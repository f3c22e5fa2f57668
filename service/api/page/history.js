// The last minutes: what the service has noted of them, and a point for each snapshot since. Rates are means of ten
// seconds, as the service's own throughput is.

import { SPAN_SECONDS } from "./chart.js";
import { tenths } from "./dom.js";

const WINDOW_MS = 10500;
const SHORTEST_MS = 1500;
const GAP_MS = 5000;
const ASK_AGAIN_MS = 15000;

/** A rate as text; one that is there but rounds to nothing says so. */
export function rateOf(value) {
  if (value === null) return "–";
  return value > 0 && value < 0.05 ? "< 0.1" : tenths(value);
}

export class History {
  constructor() {
    this.points = [];
    this.askedAt = -Infinity;
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
    this.push(t, total, snapshot.throughput, snapshot.queue.length);
    return true;
  }

  push(t, total, settled, queue) {
    const base = this.points.find((point) => point.t >= t - WINDOW_MS);
    const accepted = base && t - base.t >= SHORTEST_MS ? ((total - base.total) * 1000) / (t - base.t) : null;
    this.points.push({ t, total, accepted, settled, queue });
    while (this.points[0].t < t - SPAN_SECONDS * 1000 - WINDOW_MS) this.points.shift();
  }

  /** Whether the service may know of seconds that are missing here. */
  lacks() {
    const [earlier, later] = this.points.slice(-2);
    const gap = this.points.length < 2 || later.t - earlier.t > GAP_MS;
    return gap && performance.now() - this.askedAt > ASK_AGAIN_MS;
  }

  asked() {
    this.askedAt = performance.now();
  }

  /** Takes in what the service has noted, between what is known; of a store that was another one nothing. */
  merge(noted) {
    const known = this.points;
    const near = (t) => known.some((point) => Math.abs(point.t - t) < 600);
    const more = noted
      .map(({ timestamp, accepted, throughput, queue_length }) => [Date.parse(timestamp), accepted, throughput, queue_length])
      .filter(([t, total]) => !near(t) && known.every((point) => (t < point.t ? total <= point.total : total >= point.total)));
    const all = more.concat(known.map(({ t, total, settled, queue }) => [t, total, settled, queue]));
    all.sort(([one], [other]) => one - other);
    this.points = [];
    for (const point of all) this.push(...point);
  }

  /** Least and most of a field, in words. */
  range(key, name) {
    const values = this.points.map((point) => point[key]).filter((value) => value !== null);
    return values.length ? `Between ${tenths(Math.min(...values))} and ${tenths(Math.max(...values))} ${name} in the last minutes` : "";
  }
}
