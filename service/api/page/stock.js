// The stock table of the live page: units, how each sale stands, and when that changes; a page of it at a time.

import { byId, clock, draw, duration, keep, make, put, show, whole } from "./dom.js";

const PER_PAGE = 20;
const IDLE_MS = 60000;

let products = [];
let at = 0; // the snapshot's time, which is the store's
let page = 0;
let soldOut = null;
const moved = new Map(); // product id -> units ordered, and since when there are so many

/** Takes in the products of a snapshot. */
export function takeProducts(snapshot) {
  products = snapshot.products;
  at = Date.parse(snapshot.timestamp);
  for (const { product_id, held, sold } of products) {
    const ordered = held + sold;
    if (moved.get(product_id)?.ordered !== ordered) moved.set(product_id, { ordered, since: at });
  }
  announce();
  write();
}

function announce() {
  const gone = new Set(products.filter(({ stock }) => stock === 0).map(({ product_id }) => product_id));
  const news = products.filter(({ product_id }) => soldOut && gone.has(product_id) && !soldOut.has(product_id));
  if (news.length) put(byId("spoken"), `Sold out: ${news.map(({ name }) => name).join(", ")}`);
  soldOut = gone;
}

/** How the sale stands, in words. */
export function saleWords({ state, opens_at, closes_at, held, product_id }) {
  const closes = closes_at === null ? "" : `closes ${when(closes_at)}`;
  if (state === "not_open") return `opens ${when(opens_at)}`;
  if (state === "closed") return `closed ${clock(closes_at)}`;
  if (state === "sold_out") return [held > 0 ? "sold out, some held" : "sold out", closes].filter(Boolean).join(" · ");
  if (state !== "open") return state;
  const idle = at - moved.get(product_id).since >= IDLE_MS; // nobody has ordered any for a minute that this page saw
  return [idle ? "idle" : "", closes].filter(Boolean).join(" · ");
}

function when(time) {
  const seconds = Math.ceil((Date.parse(time) - at) / 1000);
  if (seconds < 60) return `in ${Math.max(seconds, 0)} s`;
  if (seconds < 86400) return `in ${duration(seconds)}`;
  return new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

/** The products that are looked for; those that were archived only by their name, id or state. */
function found() {
  const words = byId("stock-search").value.trim().toLowerCase();
  if (!words) return products.filter(({ state }) => state !== "archived");
  return products.filter((product) =>
    `${product.name} ${product.product_id} ${product.state.replaceAll("_", " ")}`.toLowerCase().includes(words),
  );
}

function write() {
  const all = found();
  const pages = Math.max(1, Math.ceil(all.length / PER_PAGE));
  page = Math.min(page, pages - 1);
  const shown = all.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
  keep(byId("products"), shown, ({ product_id }) => product_id, makeProduct, writeProduct);
  show(byId("no-products"), all.length === 0);
  put(byId("no-products"), products.length ? "No product is found." : "There are no products.");
  show(byId("stock-tools"), products.length > PER_PAGE);
  show(byId("stock-pages"), pages > 1);
  put(byId("stock-page"), `${whole(page * PER_PAGE + 1)}–${whole(page * PER_PAGE + shown.length)} of ${whole(all.length)}`);
  byId("stock-before").disabled = page === 0;
  byId("stock-next").disabled = page === pages - 1;
}

function writeProduct(row, product) {
  const { stock, held, sold, state } = product;
  const all = stock + held + sold;
  put(row.name, product.name);
  const words = saleWords(product);
  show(row.badge, words !== "");
  row.badge.dataset.state = state;
  put(row.badge, words);
  row.parts.forEach((part, index) => {
    part.setAttribute("width", all ? (1000 * [sold, held, stock][index]) / all : 0);
    part.setAttribute("x", all ? (1000 * [0, sold, sold + held][index]) / all : 0);
  });
  row.figures.forEach((cell, index) => put(cell, whole([sold, held, stock][index])));
}

function makeProduct(product) {
  const row = make("tr", { role: "row" });
  row.name = make("bdi", { class: "name" });
  row.badge = make("span", { class: "badge", hidden: "" });
  row.parts = ["sold", "held", "left"].map((name) => draw("rect", { class: name, height: 10 }));
  const bar = draw("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  bar.append(...row.parts);
  row.figures = ["Sold", "Held", "Left"].map((label) => figureCell(label));
  row.append(
    make("th", { role: "rowheader", scope: "row", class: "title" }, row.name, " ", row.badge),
    make("td", { role: "cell", class: "wide" }, bar),
    ...row.figures,
  );
  row.dataset.product = product.product_id;
  return row;
}

export const figureCell = (label) => make("td", { role: "cell", class: "figure", "data-label": label });

const turn = (by) => () => {
  page += by;
  write();
};

byId("stock-search").addEventListener("input", () => {
  page = 0;
  write();
});
byId("stock-before").addEventListener("click", turn(-1));
byId("stock-next").addEventListener("click", turn(1));
