// The operator's view: products, orders and dead letters, and what a merchant does with them during a sale.

import { change, read, Refused, token } from "./admin.js";
import { ask } from "./ask.js";
import { price } from "./catalogue.js";
import { learn, now } from "./clock.js";
import { byId, keep, make, put, show, whole } from "./dom.js";

const AGAIN_MS = 3000;
const PRODUCTS_SHOWN = 20;
const PER_PAGE = 20;
const TIME = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

let products = [];
let orders = [];
let cursor = null;

const button = (text, label, act) => {
  const made = make("button", { type: "button", class: "other", "aria-label": label }, text);
  made.addEventListener("click", act);
  return made;
};
const cell = (text, name = "") => make("td", name ? { class: name } : {}, text);
const amount = (order) => price(order.unit_price * order.quantity, order.currency);

// Products

const state = ({ paused, opens_at, closes_at, stock }) => {
  if (Date.parse(opens_at) > now()) return paused ? "not open, paused" : "not open";
  if (closes_at !== null && Date.parse(closes_at) <= now()) return "closed";
  if (paused) return "paused";
  return stock > 0 ? "open" : "sold out";
};

function writeProducts() {
  const words = byId("product-words").value.trim().toLowerCase();
  const found = products.filter(({ name, product_id }) => `${name} ${product_id}`.toLowerCase().includes(words));
  keep(byId("products"), found.slice(0, PRODUCTS_SHOWN), ({ product_id }) => product_id, makeProduct, (row, product) => {
    row.product = product;
    put(row.name, product.name);
    put(row.state, state(product));
    put(row.pause, product.paused ? "Resume" : "Pause");
    row.pause.setAttribute("aria-label", `${product.paused ? "Resume" : "Pause"} ${product.name}`);
    row.restock.setAttribute("aria-label", `Restock ${product.name}`);
    [product.sold, product.held, product.stock].forEach((units, index) => put(row.figures[index], whole(units)));
  });
  show(byId("no-products"), found.length === 0);
  show(byId("more-products"), found.length > PRODUCTS_SHOWN);
  put(byId("more-products"), `${whole(found.length - PRODUCTS_SHOWN)} more: find them by name or id.`);
}

function makeProduct({ product_id }) {
  const row = make("tr", { "data-product": product_id });
  row.name = make("bdi", { class: "name" });
  row.state = cell("");
  row.figures = [cell("", "figure"), cell("", "figure"), cell("", "figure")];
  row.pause = button("", "", () => askPause(row.product));
  row.restock = button("Restock", "", () => askRestock(row.product));
  const title = make("th", { scope: "row" }, row.name, " ", make("code", { class: "quiet" }, product_id));
  row.append(title, row.state, ...row.figures, make("td", {}, row.pause, row.restock));
  return row;
}

const path = ({ product_id }) => `inventory/${encodeURIComponent(product_id)}`;

function askPause(product) {
  const { name, paused } = product;
  ask({
    title: paused ? `Resume the sale of ${name}?` : `Pause the sale of ${name}?`,
    words: paused ? "Orders are taken again at once." : "From now on every order of it is refused. What was ordered before goes on.",
    yes: paused ? "Resume the sale" : "Pause the sale",
    async act(key) {
      await change("PATCH", path(product), key, { paused: !paused });
      await readProducts();
      return paused ? `${name} is on sale again.` : `${name} is paused.`;
    },
  });
}

function askRestock(product) {
  ask({
    title: `Restock ${product.name}?`,
    words: `${whole(product.stock)} units are left to sell.`,
    yes: "Add the units",
    units: { label: "Units to add" },
    async act(key, { units }) {
      const { stock } = await change("POST", `${path(product)}/restock`, key, { quantity: units });
      await readProducts();
      return `${product.name} has ${whole(stock)} units to sell.`;
    },
  });
}

async function readProducts() {
  const asked = performance.now();
  const answer = await fetch("inventory", { cache: "no-cache", signal: AbortSignal.timeout(10000) });
  learn(answer, asked);
  if (!answer.ok) throw new Refused(answer.status, "", "The products cannot be read.");
  ({ products } = await answer.json());
  writeProducts();
}

// Orders

function writeOrders() {
  keep(byId("orders"), orders, ({ order_id }) => order_id, makeOrder, (row, order) => {
    row.order = order;
    const part = order.refunded_quantity > 0 && order.status !== "refunded" ? `, ${whole(order.refunded_quantity)} refunded` : "";
    put(row.state, order.status + part);
    show(row.refund, order.status === "confirmed");
  });
  show(byId("no-orders"), orders.length === 0);
  show(byId("more-orders"), cursor !== null);
}

function makeOrder(order) {
  const row = make("tr", { "data-order": order.order_id });
  row.state = cell("");
  row.refund = button("Refund", `Refund order ${order.order_id}`, () => askRefund(row.order));
  row.append(...facts(order, order.accepted_at), row.state, make("td", {}, row.refund));
  return row;
}

/** What every row of an order begins with. */
function facts(order, time) {
  return [
    make("th", { scope: "row" }, make("code", {}, order.order_id), order.reference ? ` ${order.reference}` : ""),
    make("td", {}, make("time", { datetime: time }, TIME.format(new Date(time)))),
    make("td", {}, make("bdi", {}, order.user_id)),
    cell(`${whole(order.quantity)} × ${order.product_id}`),
    cell(amount(order), "figure"),
  ];
}

function askRefund(order) {
  const left = order.quantity - order.refunded_quantity;
  ask({
    title: "Refund this order?",
    words: `${order.user_id} bought ${whole(order.quantity)} × ${order.product_id} for ${amount(order)}. The money is given back by a worker, once.`,
    yes: "Refund",
    units: { label: "Units to refund", most: left },
    reason: true,
    stock: true,
    async act(key, { units, reason, stock }) {
      const body = { quantity: units, return_to_stock: stock, reason };
      const changed = await change("POST", `orders/${encodeURIComponent(order.order_id)}/refund`, key, body);
      orders = orders.map((one) => (one.order_id === changed.order_id ? changed : one));
      writeOrders();
      return `${whole(units)} of ${whole(order.quantity)} units of order ${order.order_id} are refunded.`;
    },
  });
}

async function findOrders(more = false) {
  const [id, user_id, product_id, status] = ["order-id", "order-user", "order-product", "order-status"].map((field) => byId(field).value.trim());
  if (id) {
    const found = await read(`orders/${encodeURIComponent(id)}`).catch((error) => {
      if (error.code === "unknown_order") return null;
      throw error;
    });
    orders = found ? [found] : [];
    cursor = null;
  } else {
    const page = await read("orders", { user_id, product_id, status, limit: PER_PAGE, cursor: more ? cursor : null });
    orders = more ? orders.concat(page.orders) : page.orders;
    cursor = page.next_cursor;
  }
  writeOrders();
}

// Dead letters

async function readDead() {
  const found = await read("dead-letters");
  keep(byId("dead"), found.orders, ({ order_id }) => order_id, (order) => {
    const row = make("tr", { "data-order": order.order_id });
    const requeue = button("Requeue", `Requeue order ${order.order_id}`, () => askRequeue(order));
    row.append(...facts(order, order.settled_at ?? order.accepted_at), cell((order.reason ?? "").replaceAll("_", " ")), make("td", {}, requeue));
    return row;
  }, () => {});
  show(byId("no-dead"), found.orders.length === 0);
}

function askRequeue(order) {
  ask({
    title: "Process this order anew?",
    words: `${whole(order.quantity)} × ${order.product_id} for ${order.user_id}: the units are reserved again, and ${amount(order)} are asked for under a new key.`,
    yes: "Requeue",
    async act(key) {
      await change("POST", `dead-letters/${encodeURIComponent(order.order_id)}/requeue`, key);
      await readDead();
      return `Order ${order.order_id} is in the queue again.`;
    },
  });
}

// Coming and going

const complain = (message) => {
  put(byId("warning"), message);
  show(byId("warning"), message !== "");
};

/** Does something that reads; a token that is not right asks for another. */
async function attempt(work) {
  try {
    await work();
    complain("");
    return true;
  } catch (error) {
    complain(error instanceof Refused ? error.message : "The service does not answer.");
    if (error.status === 401) leave();
    return false;
  }
}

async function enter() {
  if (!token.get()) return;
  const right = await attempt(async () => {
    await readDead(); // first: it takes no other token than the admin's
    await findOrders();
    await readProducts();
  });
  if (!right) return;
  show(byId("entry"), false);
  show(byId("rooms"), true);
  show(byId("leave"), true);
}

function leave() {
  token.forget();
  show(byId("rooms"), false);
  show(byId("leave"), false);
  show(byId("entry"), true);
  byId("token").focus();
}

const onSubmit = (id, work) => byId(id).addEventListener("submit", (event) => {
  event.preventDefault();
  work();
});

onSubmit("entry", () => {
  token.set(byId("token").value.trim());
  byId("token").value = "";
  enter();
});
onSubmit("find-products", writeProducts);
onSubmit("find-orders", () => attempt(() => findOrders()));
byId("product-words").addEventListener("input", writeProducts);
byId("more-orders").addEventListener("click", () => attempt(() => findOrders(true)));
byId("leave").addEventListener("click", () => {
  leave();
  complain("");
});
setInterval(() => {
  if (!byId("rooms").hidden && !byId("ask").open) attempt(async () => Promise.all([readProducts(), readDead()]));
}, AGAIN_MS);
enter();
