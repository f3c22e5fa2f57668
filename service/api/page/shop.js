// The shop page: choose, buy once, watch the order come to its end.

import { isOpen, makeChoice, price, stateOf } from "./catalogue.js";
import { byId, keep, make, put, show, whole } from "./dom.js";
import { followEvents } from "./order_events.js";
import { all, begin, call, cancel, insist, isOver, refresh, save, send, TryAgain } from "./purchases.js";
import { awaitTurn, isWaiting } from "./sale_ticket.js";
import { detailWords, stateWords } from "./order_text.js";

const LOOK_EVERY_MS = 2000;
const COUNT_EVERY_MS = 1000;
const CATALOGUE_EVERY_MS = 3000;
const USER = /^[A-Za-z0-9][A-Za-z0-9._:@|+=-]{0,127}$/;
const NAME_KEY = "flash-sale:name";
const tokens = document.body.dataset.shopperTokens === "yes";
const keySeconds = Number(document.body.dataset.keySeconds) || 0;

let products = [];
let current = null;
let note = "";

const TOKEN_KEY = "flash-sale:token";
const token = () => (tokens ? byId("token").value.trim() : "");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// The catalogue

async function keepCatalogue() {
  for (;;) {
    try {
      const { body } = await call("inventory");
      products = body.products;
      show(byId("warning"), false);
      writeProducts();
    } catch (error) {
      if (!(error instanceof TryAgain)) throw error;
      put(byId("warning"), `${error.message}. Trying again by itself; nothing is lost.`);
      show(byId("warning"), true);
    }
    await sleep(CATALOGUE_EVERY_MS);
  }
}

function writeProducts() {
  const place = byId("products");
  place.querySelector(":scope > p")?.remove();
  keep(place, products, (product) => product.product_id, makeChoice, (choice, product) => {
    put(choice.name, product.name);
    put(choice.price, price(product.price, product.currency));
    put(choice.state, stateOf(product));
    choice.control.disabled = current !== null;
    choice.classList.toggle("closed", !isOpen(product) || product.stock === 0);
  });
  if (!products.length) place.append(make("p", { class: "quiet" }, "There are no products."));
  writeTotal();
}

const chosen = () => {
  const value = byId("products").querySelector(":checked")?.value;
  return products.find(({ product_id }) => product_id === value);
};

function writeTotal() {
  const product = chosen();
  const quantity = Number(byId("quantity").value);
  const sensible = product && Number.isInteger(quantity) && quantity > 0;
  const total = sensible ? `${price(product.price * quantity, product.currency)} in all` : "";
  put(byId("total"), current ? "One order at a time." : total);
}

// Buying

function complaintOf(product, user, quantity) {
  if (!product) return ["Choose a product first.", byId("products").querySelector("input")];
  if (!tokens && !USER.test(user)) return ["A name has letters and digits, no spaces, and begins with one of them.", byId("name")];
  if (tokens && !token()) return ["Your access token is needed.", byId("token")];
  if (!Number.isInteger(quantity) || quantity < 1 || quantity > 1000) return ["The quantity is a whole number from 1 to 1000.", byId("quantity")];
  return ["", null];
}

function buy(event) {
  event.preventDefault();
  if (current) return;
  const product = chosen();
  const user = tokens ? "" : byId("name").value.trim();
  const quantity = Number(byId("quantity").value);
  const [complaint, field] = complaintOf(product, user, quantity);
  put(byId("complaint"), complaint);
  byId("name").setAttribute("aria-invalid", String(field === byId("name")));
  byId("quantity").setAttribute("aria-invalid", String(field === byId("quantity")));
  if (complaint) return field?.focus();
  try {
    if (tokens) sessionStorage.setItem(TOKEN_KEY, token());
    else localStorage.setItem(NAME_KEY, user);
    follow(begin({ product, user, quantity }));
  } catch (error) {
    return put(byId("complaint"), `This browser keeps nothing, so the shop could not promise to buy only once (${error.name}).`);
  }
  byId("ticket-title").focus();
}

/** Brings a purchase to its end: an answer, then a settled order. */
async function follow(purchase) {
  current = purchase;
  note = "";
  write();
  const trouble = (message, tries) => {
    note = `${message}; try ${tries + 1} follows with the same key, so it is bought once.`;
    if (current === purchase) write();
  };
  while (!purchase.order && !isOver(purchase)) {
    if (purchase.by_ticket && !purchase.sent) await takeTurn(purchase);
    if (!isOver(purchase)) await insist(() => (tooOld(purchase) ? giveUp(purchase) : send(purchase, token())), trouble);
    if (!purchase.order && !isOver(purchase)) await sleep(LOOK_EVERY_MS); // a ticket that would not do
  }
  while (!isOver(purchase)) {
    note = "";
    if (current === purchase) write();
    await watch(purchase);
  }
  note = "";
  if (current === purchase) write();
}

/** Waits for the turn of the ticket. Its key is used from then on: after a reload it is sent again before anything else. */
async function takeTurn(purchase) {
  const change = (message) => {
    note = message;
    if (current === purchase) write();
  };
  await awaitTurn(purchase, token, () => change(""), (message) => change(`${message}; the ticket is kept.`));
  Object.assign(purchase, { sent: true, begun: Date.now() });
  save(purchase);
}

/** Whether the service may have forgotten the key, so that sending again could buy again. */
const tooOld = (purchase) => keySeconds > 0 && Date.now() - purchase.begun > (keySeconds * 1000) / 2;

async function giveUp(purchase) {
  purchase.problem = { code: "too_old" };
  save(purchase);
}

/** Follows the order while the service tells of it; where it cannot, asks how the order stands. */
async function watch(purchase) {
  try {
    await followEvents(purchase.order.order_id, token(), (order) => {
      Object.assign(purchase.order, order);
      save(purchase);
      if (current === purchase) write();
    });
    if (isOver(purchase)) return;
  } catch (error) {
    if (!(error instanceof TryAgain)) throw error;
  }
  await sleep(LOOK_EVERY_MS * (0.5 + Math.random()));
  await insist(() => refresh(purchase, token()), (message) => {
    note = `${message}; the order is kept.`;
    if (current === purchase) write();
  });
}

function write() {
  const purchase = current;
  show(byId("ticket"), purchase !== null);
  show(byId("no-ticket"), purchase === null);
  for (const field of byId("form").querySelectorAll("input, button")) field.disabled = purchase !== null && field.id !== "token";
  writeTotal();
  if (purchase) writeTicket(purchase);
  writePast();
}

function writeTicket(purchase) {
  const { order, problem } = purchase;
  const over = isOver(purchase);
  byId("ticket").dataset.state = problem ? "refused" : (order?.status ?? "sending");
  put(byId("ticket-state"), stateWords(purchase, note !== ""));
  put(byId("ticket-detail"), note || detailWords(purchase));
  put(byId("ticket-product"), purchase.name);
  put(byId("ticket-quantity"), whole(purchase.quantity));
  put(byId("ticket-price"), order ? price(order.unit_price * order.quantity, order.currency) : "–");
  put(byId("ticket-user"), order?.user_id ?? (purchase.user || "you"));
  put(byId("ticket-order"), order?.order_id ?? "not placed yet");
  if (problem) put(byId("ticket-order"), "none");
  const waiting = order?.status === "pending" && order.estimated_wait_seconds > 0;
  show(byId("ticket-progress"), waiting);
  if (waiting) byId("ticket-progress").value = progress(purchase);
  show(byId("cancel"), order?.status === "pending" || isWaiting(purchase));
  put(byId("cancel"), order ? "Cancel the order" : "Wait no longer");
  show(byId("again"), over);
}

/** The share of its wait that an order has behind it: what it waited, of that and what it has still to wait. */
function progress({ order, answered }) {
  const waited = Math.max(0, Date.now() - answered) / 1000;
  return waited / (waited + order.estimated_wait_seconds);
}

function writePast() {
  const past = all().filter(({ key }) => key !== current?.key);
  keep(byId("past"), past, ({ key }) => key, () => {
    const item = make("li");
    item.name = make("bdi");
    item.state = make("span", { class: "quiet" });
    item.append(item.name, " ", item.state);
    return item;
  }, (item, purchase) => {
    put(item.name, `${whole(purchase.quantity)} × ${purchase.name}`);
    put(item.state, purchase.problem ? "refused" : (purchase.order?.status ?? "not answered yet"));
  });
  show(byId("no-past"), past.length === 0);
}

async function cancelCurrent() {
  const purchase = current;
  if (isWaiting(purchase)) {
    purchase.problem = { code: "withdrawn" };
    save(purchase);
    return write();
  }
  byId("cancel").disabled = true;
  const why = await insist(() => cancel(purchase, token()), (message) => {
    note = `${message}; cancelling is tried again.`;
    write();
  });
  if (why) note = `Too late to cancel. ${why}`;
  byId("cancel").disabled = false;
  write();
}

/** Makes room for another purchase; a second click of a double click is not meant for this. */
function putAway(event) {
  if (event.detail > 1 || !current) return;
  current.put_away = true;
  save(current);
  current = null;
  write();
  (byId("products").querySelector("input:checked") ?? byId("name")).focus();
}

function start() {
  show(byId("token-field"), tokens);
  show(byId("name-field"), !tokens);
  byId("token").value = sessionStorage.getItem(TOKEN_KEY) ?? "";
  byId("name").value = localStorage.getItem(NAME_KEY) ?? "";
  byId("form").addEventListener("submit", buy);
  byId("form").addEventListener("input", writeTotal);
  byId("cancel").addEventListener("click", cancelCurrent);
  byId("again").addEventListener("click", putAway);
  addEventListener("storage", writePast);
  const open = all().filter((purchase) => !purchase.put_away);
  for (const purchase of open.slice(1)) follow(purchase);
  if (open.length) follow(open[0]);
  write();
  keepCatalogue();
  setInterval(() => products.length && writeProducts(), COUNT_EVERY_MS);
}

start();
