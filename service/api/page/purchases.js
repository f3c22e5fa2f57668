// Purchases of this browser, each under a key of its own in localStorage, so that two tabs do not overwrite each other.
//
// A purchase gets its idempotency key once, when the button is pressed, and is stored before it is sent. Until there is
// an answer it is sent again and again under that key: after a lost answer, a reload, a restart of the service. The
// service knows the key and answers with the order that it made, so nothing is bought twice.

import { learn } from "./clock.js";

const PREFIX = "flash-sale:purchase:";
const KEPT = 20;
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 8000;
export const FINAL = new Set(["confirmed", "failed", "expired", "cancelled", "refunded"]);

/** A request that could not be made: no answer, or one that says to try again. */
export class TryAgain extends Error {
  constructor(message, seconds = 0) {
    super(message);
    this.seconds = seconds;
  }
}

/** Sends a request; a refusal is returned as `{ problem }`, what may pass by itself is thrown as `TryAgain`. */
export async function call(path, { token, ...options } = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  let body;
  const asked = performance.now();
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-cache", signal: AbortSignal.timeout(10000) });
    learn(answer, asked);
    body = await answer.json();
  } catch {
    throw new TryAgain("The service does not answer");
  }
  if (answer.ok) return { body };
  if (answer.status === 401) throw new TryAgain("Your access token was not accepted");
  if (answer.status === 429 || answer.status >= 500) {
    throw new TryAgain(body.title ?? `Status ${answer.status}`, Number(answer.headers.get("Retry-After")) || 0);
  }
  return { problem: body };
}

/** Repeats until it comes to an end; `onTrouble` hears of each failure and how often it was tried. */
export async function insist(attempt, onTrouble) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TryAgain)) throw error;
      onTrouble(error.message, tries);
      const pause = Math.min(FIRST_PAUSE_MS * 2 ** (tries - 1), LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
      await new Promise((done) => setTimeout(done, Math.max(pause, error.seconds * 1000)));
    }
  }
}

/** A new purchase, stored before anything is sent. */
export function begin({ product, user, quantity }) {
  const purchase = {
    key: newKey(),
    begun: Date.now(),
    product_id: product.product_id,
    name: product.name,
    user,
    quantity,
    by_ticket: product.admission === "ticket",
    lot: null, // how its ticket stands, where one is needed
    sent: false, // with its ticket
    order: null,
    problem: null,
    put_away: false,
  };
  save(purchase);
  return purchase;
}

/** 128 random bits; `crypto.randomUUID` is only there on pages that came over TLS or from this machine. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `shop-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

export function save(purchase) {
  localStorage.setItem(PREFIX + purchase.key, JSON.stringify(purchase));
}

/** All purchases, the newest first; those beyond the last twenty that have come to an end are forgotten. */
export function all() {
  const found = [];
  for (const name of Object.keys(localStorage).filter((name) => name.startsWith(PREFIX))) {
    try {
      found.push(JSON.parse(localStorage.getItem(name)));
    } catch {
      localStorage.removeItem(name);
    }
  }
  found.sort((one, other) => other.begun - one.begun);
  for (const old of found.slice(KEPT).filter(isOver)) localStorage.removeItem(PREFIX + old.key);
  return found;
}

export const isOver = (purchase) => purchase.problem !== null || FINAL.has(purchase.order?.status);

/** Sends a purchase under its key and stores the answer. */
export async function send(purchase, token) {
  const { key, product_id, user, quantity } = purchase;
  const { body, problem } = await call("orders", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key, ...ticketOf(purchase) },
    body: JSON.stringify({ product_id, quantity, ...(user ? { user_id: user } : {}) }),
    token,
  });
  if (TICKET_PROBLEMS.has(problem?.code)) Object.assign(purchase, { by_ticket: true, lot: null, sent: false });
  else if (problem) purchase.problem = { code: problem.code, title: problem.title, detail: problem.detail };
  else Object.assign(purchase, { order: body, answered: Date.now() });
  save(purchase);
}

// What another look at the ticket puts right: the page asks for it, and waits for its turn.
const TICKET_PROBLEMS = new Set(["ticket_required", "ticket_invalid", "not_your_turn"]);
const ticketOf = ({ by_ticket, lot }) => (by_ticket && lot ? { "Sale-Ticket": lot.ticket } : {});

/** Reads how the order stands. */
export async function refresh(purchase, token) {
  const { body, problem } = await call(`orders/${encodeURIComponent(purchase.order.order_id)}`, { token });
  if (problem) purchase.problem = { code: problem.code, title: problem.title, detail: problem.detail };
  else Object.assign(purchase.order, body);
  save(purchase);
}

/** Cancels the order; resolves to '' or why it could not be. */
export async function cancel(purchase, token) {
  const path = `orders/${encodeURIComponent(purchase.order.order_id)}/cancel`;
  const { body, problem } = await call(path, { method: "POST", token });
  if (body) {
    Object.assign(purchase.order, body);
    save(purchase);
  }
  return problem ? problem.detail : "";
}
