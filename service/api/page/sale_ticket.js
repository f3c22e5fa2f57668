// A sale by ticket: the purchase has its ticket before the sale opens, and is sent when the ticket's turn has come.

import { now } from "./clock.js";
import { call, insist, save } from "./purchases.js";

const LONGEST_LOOK_MS = 15000;
const AFTER_OPENING_MS = 2000;

/** Whether it waits for the lot, or for its turn. */
export const isWaiting = (purchase) => Boolean(purchase.lot && !purchase.sent && !purchase.order && !purchase.problem);

/** Asks for the ticket of a purchase, the same one each time, and keeps how it stands. */
async function ask(purchase, token) {
  const { body, problem } = await call(`inventory/${encodeURIComponent(purchase.product_id)}/tickets`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(purchase.user ? { user_id: purchase.user } : {}),
    token,
  });
  if (problem?.code === "no_ticket_needed") Object.assign(purchase, { by_ticket: false, lot: null }); // sold otherwise now
  else if (problem) purchase.problem = { code: problem.code, title: problem.title, detail: problem.detail };
  else purchase.lot = body;
  save(purchase);
}

/** In how many ms to look again: all look after the opening, so not all at one moment; the opening may be moved. */
function pause({ position, opens_at, turn_in_seconds }) {
  const wait = position === null ? Math.max(0, Date.parse(opens_at) - now()) : turn_in_seconds * 1000;
  return Math.min(wait + Math.random() * AFTER_OPENING_MS, LONGEST_LOOK_MS);
}

/** Resolves when an order may be sent, or the purchase has come to an end; `onChange` hears how it stands. */
export async function awaitTurn(purchase, token, onChange, onTrouble) {
  for (;;) {
    await insist(() => ask(purchase, token()), onTrouble);
    if (!isWaiting(purchase)) return;
    onChange();
    if (purchase.lot.turn_in_seconds === 0) return;
    await new Promise((done) => setTimeout(done, pause(purchase.lot)));
    if (purchase.problem) return;
  }
}
