// The live page: takes each snapshot and writes its figures where they belong.

import { price } from "./catalogue.js";
import { Chart } from "./chart.js";
import { byId, clock, draw, duration, keep, make, parts, put, show, tenths, whole } from "./dom.js";
import { Feed } from "./feed.js";
import { History, rateOf } from "./history.js";
import { refusalWords } from "./order_text.js";
import { figureCell, takeProducts } from "./stock.js";

const STALE_SECONDS = 3.5;
const DESCRIBE_EVERY_MS = 30000;
const OUTCOMES = { pending: "Accepted", confirmed: "Confirmed", failed: "Failed", expired: "Expired", cancelled: "Cancelled", refunded: "Refunded" };

const history = new History();
const TOKEN_KEY = "flash-sale:watch-token";
const feed = new Feed(take, {
  token: sessionStorage.getItem(TOKEN_KEY) ?? "",
  needsToken: document.body.dataset.watchToken === "yes",
});
const pace = new Chart(byId("pace"), {
  title: "Orders per second over the last minutes",
  height: 300,
  series: [{ key: "accepted", name: "accepted", area: true }, { key: "settled", name: "settled" }],
});
const queueChart = new Chart(byId("queue-chart"), {
  title: "Length of the queue over the last minutes",
  height: 110,
  series: [{ key: "queue", name: "orders", area: true }],
  integers: true,
});
let described = -Infinity;

function take(snapshot) {
  if (!history.add(snapshot)) return;
  if (history.lacks()) catchUp();
  writeNow(snapshot);
  writeQueue(snapshot);
  takeProducts(snapshot);
  writeBars(byId("outcomes"), Object.entries(OUTCOMES).map(([key, name]) => [key, name, snapshot.orders[key] ?? 0]));
  const refused = Object.entries(snapshot.rejections).filter(([, count]) => count > 0);
  refused.sort(([, one], [, other]) => other - one);
  writeBars(byId("refusals"), refused.map(([code, count]) => [code, refusalWords(code), count]));
  show(byId("no-refusals"), refused.length === 0);
  writeRequests(snapshot.requests);
  writeErrors(snapshot.errors);
  tick();
}

function writeNow(snapshot) {
  const accepted = history.latest.accepted;
  put(byId("accepted-rate"), accepted === null ? "–" : tenths(accepted));
  put(byId("accepted-total"), whole(snapshot.orders.pending));
  put(byId("throughput"), tenths(snapshot.throughput));
  put(byId("confirmed-total"), whole(snapshot.orders.confirmed));
  writeRevenue(snapshot.revenue);
  put(byId("queue-length"), whole(snapshot.queue.length));
  put(byId("wait"), predictedWait(snapshot.queue));
  const settled = snapshot.processing_time_avg_ms > 0;
  const [number, unit] = settled ? parts(snapshot.processing_time_avg_ms / 1000) : ["–", ""];
  put(byId("processing"), number);
  put(byId("processing-unit"), unit);
  put(byId("error-rate"), tenths(snapshot.error_rate));
  byId("error-rate").classList.toggle("bad", snapshot.error_rate >= 5);
  const connections = snapshot.active_connections;
  put(byId("connections"), connections === null ? "–" : whole(connections));
}

/** What was earned: the currency with the largest figure in large, the others below. */
function writeRevenue(revenue) {
  const amounts = Object.entries(revenue).sort(([, one], [, other]) => other - one);
  const [first, ...others] = amounts.map(([currency, amount]) => price(amount, currency));
  put(byId("revenue"), first ?? "–");
  put(byId("revenue-others"), others.length ? `and ${others.join(", ")}` : "confirmed less refunded");
}

/** Asks what was before this page looked, or while it did not hear. */
async function catchUp() {
  history.asked();
  const past = await feed.past();
  if (past) history.merge(past.points);
}

/** How long an order accepted now would wait at the present pace of settling. */
function predictedWait(queue) {
  if (queue.length === 0) return "none";
  return queue.drain_rate > 0 ? `about ${duration(queue.length / queue.drain_rate)}` : "unknown, nothing is settled";
}

function writeQueue({ queue }) {
  put(byId("queue-pending"), whole(queue.pending));
  put(byId("queue-processing"), whole(queue.length - queue.pending));
  put(byId("queue-oldest"), queue.length ? duration(queue.oldest_age_seconds) : "–");
  put(byId("queue-drain"), tenths(queue.drain_rate));
  put(byId("queue-wait"), predictedWait(queue));
  put(byId("queue-dead"), whole(queue.dead_letters));
  byId("queue-dead").classList.toggle("bad", queue.dead_letters > 0);
}

/** Rows of a name, a bar and a number; the longest bar is that of the largest number. */
function writeBars(body, entries) {
  const most = Math.max(1, ...entries.map(([, , count]) => count));
  keep(body, entries, ([key]) => key, ([key]) => {
    const row = make("tr", { "data-key": key });
    row.name = make("span");
    row.rect = draw("rect", { height: 10 });
    row.count = make("td", { class: "figure" });
    const bar = draw("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" });
    bar.append(row.rect);
    row.append(make("th", { scope: "row" }, row.name, bar), row.count);
    return row;
  }, (row, [, name, count]) => {
    put(row.name, name);
    put(row.count, whole(count));
    row.rect.setAttribute("width", (1000 * count) / most);
  });
}

/** Whether a request is a shopper's; those of onlookers stand below. */
const ofTheSale = ({ route }) => /^\/(orders|inventory)/.test(route);

function writeRequests(requests) {
  const keyOf = (entry) => `${entry.method} ${entry.route} ${entry.status}`;
  const ordered = requests.filter(ofTheSale).concat(requests.filter((entry) => !ofTheSale(entry)));
  keep(byId("requests"), ordered, keyOf, (entry) => {
    const row = make("tr", { role: "row", "data-request": keyOf(entry) });
    const status = make("span", { class: `status s${String(entry.status)[0]}` }, String(entry.status));
    row.figures = ["Count", "Per s", "p50", "p95", "p99"].map((label) => figureCell(label));
    row.append(
      make("th", { role: "rowheader", scope: "row", class: "title" }, make("code", {}, make("b", {}, entry.method), ` ${entry.route}`)),
      make("td", { role: "cell", class: "after-title" }, status),
      ...row.figures,
    );
    return row;
  }, (row, entry) => {
    const times = [entry.p50_ms, entry.p95_ms, entry.p99_ms].map((ms) => duration(ms / 1000));
    [whole(entry.count), rateOf(entry.rate), ...times].forEach((text, index) => put(row.figures[index], text));
  });
  show(byId("no-requests"), requests.length === 0);
}

function writeErrors(errors) {
  const keyOf = (entry) => [entry.time, entry.worker, entry.trace_id, entry.method, entry.route].join(" ");
  keep(byId("errors"), errors, keyOf, (entry) => make(
    "tr",
    { role: "row" },
    make("th", { role: "rowheader", scope: "row" }, make("time", { datetime: entry.time }, clock(entry.time))),
    make("td", { role: "cell", class: "title" }, make("code", {}, make("b", {}, entry.method), ` ${entry.route}`)),
    make("td", { role: "cell" }, make("span", { class: "status s5" }, String(entry.status))),
    make("td", { role: "cell", "data-label": "Code" }, make("code", {}, entry.code)),
    make("td", { role: "cell", "data-label": "Exception" }, entry.exception ?? "–"),
    make("td", { role: "cell", "data-label": "Trace" }, entry.trace_id ? trace(entry.trace_id) : "–"),
  ), () => {});
  show(byId("no-errors"), errors.length === 0);
  show(byId("errors-table"), errors.length > 0);
}

/** A link to the trace where it is known where Jaeger is, else its id with a way to copy it. */
function trace(id) {
  const short = make("code", { title: id }, `${id.slice(0, 8)}…`);
  const jaeger = document.body.dataset.jaegerUrl;
  if (jaeger) {
    const href = `${jaeger.replace(/\/+$/, "")}/trace/${encodeURIComponent(id)}`;
    return make("a", { href, target: "_blank", rel: "noopener noreferrer", "aria-label": `Trace ${id} in Jaeger` }, short);
  }
  const button = make("button", { type: "button", class: "copy", "aria-label": `Copy trace id ${id}` }, short);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(id);
      put(byId("spoken"), "The trace id is copied.");
      button.classList.add("copied");
    } catch {
      put(short, id);
      getSelection().selectAllChildren(short);
    }
  });
  return button;
}

/** An age in whole seconds, since one that counts tenths only flickers. */
function elapsed(seconds) {
  if (seconds < 1) return "less than 1 s";
  return seconds < 60 ? `${Math.floor(seconds)} s` : duration(Math.floor(seconds));
}

/** What changes with the time alone: the age, the state, the charts that move on. */
function tick() {
  const age = feed.age();
  const state = age === Infinity ? "connecting" : age <= STALE_SECONDS ? "live" : "stale";
  const before = document.body.dataset.state;
  document.body.dataset.state = state;
  put(byId("state"), { connecting: "Connecting", live: "Live", stale: "No news" }[state]);
  put(byId("age"), age === Infinity ? "" : `figures ${elapsed(age)} old`);
  const why = feed.trouble || "Nothing is heard from the service.";
  const old = age === Infinity ? "" : ` These figures are ${elapsed(age)} old.`;
  show(byId("entry"), feed.needsToken); // not hidden while somebody types another
  put(byId("warning"), feed.refused ? "This token is refused." : `${why}${old} Trying again by itself.`);
  const wrong = feed.refused && feed.token !== "";
  show(byId("warning"), wrong || state === "stale" || (state === "connecting" && feed.trouble !== "" && !feed.refused));
  if (state !== before && before !== "connecting") {
    put(byId("spoken"), state === "live" ? "The figures are live again." : `The figures are no longer live. ${why}`);
    document.title = state === "live" ? "Live · flash-sale" : "No news · flash-sale";
  }
  drawCharts(age);
}

function drawCharts(age) {
  const { latest, points } = history;
  if (!latest) return;
  const now = latest.t + Math.max(0, age - feed.said) * 1000;
  pace.render(points, now);
  queueChart.render(points, now);
  if (byId("pace-details").open) writeTable(points);
  if (performance.now() - described < DESCRIBE_EVERY_MS || latest.accepted === null) return;
  described = performance.now();
  pace.describe(`Now ${tenths(latest.accepted)} accepted and ${tenths(latest.settled)} settled. ${history.range("accepted", "accepted")}.`);
  queueChart.describe(`Now ${whole(latest.queue)} orders. ${history.range("queue", "orders")}.`);
}

/** The chart as figures: a row for each ten seconds, the newest first. */
function writeTable(points) {
  const rows = points.filter((point, index) => index && Math.floor(point.t / 10000) !== Math.floor(points[index - 1].t / 10000));
  keep(byId("pace-rows"), rows.reverse(), (point) => point.t, (point) => {
    const figures = [rateOf(point.accepted), rateOf(point.settled), whole(point.queue)];
    return make("tr", {}, make("th", { scope: "row" }, clock(point.t)), ...figures.map((text) => make("td", { class: "figure" }, text)));
  }, () => {});
}

byId("pace-details").addEventListener("toggle", tick);
byId("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  feed.token = byId("watch-token").value.trim();
  sessionStorage.setItem(TOKEN_KEY, feed.token);
});
setInterval(tick, 500);
feed.start();
