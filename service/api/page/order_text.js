// All words for orders: why one was refused, where it stands, what is known of the wait.

import { duration, whole } from "./dom.js";

// By the code of the answer: `label` for a table, `sentence` for whoever was refused; without one, the answer's own words.
const REFUSALS = {
  sold_out: { label: "Sold out", sentence: "Sold out: there are not enough units left." },
  limit_exceeded: {
    label: "Over the limit per shopper",
    sentence: "You have reached the limit per shopper for this product.",
  },
  sale_not_open: { label: "Sale not open yet", sentence: "The sale of this product has not opened yet." },
  sale_paused: { label: "Sale is paused", sentence: "The sale of this product is paused. Nothing was ordered; try again later." },
  sale_closed: { label: "Sale is over", sentence: "The sale of this product is over." },
  ticket_required: {
    label: "No ticket",
    sentence: "This product is sold by ticket, and you had none. Ask for one and buy again.",
  },
  ticket_invalid: {
    label: "Not a valid ticket",
    sentence: "The ticket is not one of yours for this sale. Ask for another and buy again.",
  },
  not_your_turn: {
    label: "Before its turn",
    sentence: "The turn of your ticket has not come. Nothing was ordered; try again when it has.",
  },
  unknown_product: { label: "No such product", sentence: "This product is no longer offered." },
  unknown_order: { label: "No such order", sentence: "The service no longer knows this order." },
  rate_limited: { label: "Too many from one shopper" },
  invalid: { label: "Not a valid order" },
  unsupported_media_type: { label: "Not JSON" },
  payload_too_large: { label: "Too large" },
  unauthorized: { label: "No valid token" },
  idempotency_conflict: {
    label: "Key used for another order",
    sentence: "This purchase was changed after it was sent.",
  },
  overloaded: { label: "Service overloaded" },
  store_unavailable: { label: "Store did not answer" },
  internal_error: { label: "Fault of the service" },
  // The next three are no codes: what /metrics adds up, and what the shop or the shopper decides.
  other: { label: "Other" },
  withdrawn: { label: "Withdrawn", sentence: "You wait no longer. Nothing was ordered; your ticket stays yours." },
  too_old: {
    label: "Too old to ask again",
    sentence:
      "The answer got lost, and it is too long ago to ask again safely. Look for the order in your account.",
  },
};
const STATES = {
  pending: "In the queue",
  processing: "Being paid",
  confirmed: "Confirmed: it is yours",
  failed: "Payment failed: nothing was bought",
  expired: "Expired: nothing was bought",
  cancelled: "Cancelled",
  refunded: "Refunded",
};

/** The reason of a refusal in two or three words; a code that is not known here is shown as it is. */
export const refusalWords = (code) => REFUSALS[code]?.label ?? code.replaceAll("_", " ");

/** Where it stands; `failing` says whether sending it has failed so far. */
export function stateWords({ order, problem, lot }, failing) {
  if (problem) return REFUSALS[problem.code]?.sentence ?? `${problem.title}.`;
  if (!order && lot && !failing) return lotWords(lot);
  if (!order) return failing ? "Not answered yet" : "Sending";
  if (order.status !== "pending") return STATES[order.status] ?? order.status;
  return `${STATES.pending}: place ${whole(order.queue_position)}`;
}

function lotWords({ position, ahead, tickets, turn_in_seconds }) {
  if (position === null) return "You take part in the lot";
  if (turn_in_seconds === 0) return "It is your turn: sending";
  return `Place ${whole(position)} of ${whole(tickets)}: ${whole(ahead)} before you have not had their turn`;
}

function lotDetail({ position, tickets, opens_at, turn_in_seconds }) {
  if (position === null) {
    const opens = new Date(opens_at).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "medium" });
    return `${whole(tickets)} ${tickets === 1 ? "ticket" : "tickets"} so far. The lot is drawn when the sale opens, ${opens}. Leave this page open: your order is sent when it is your turn.`;
  }
  return turn_in_seconds > 0 ? `Your turn comes in ${duration(turn_in_seconds)} at the latest while units are left. Your order is sent then.` : "";
}

/** What there is to say beside that. */
export function detailWords(purchase) {
  const { order, problem, lot } = purchase;
  if (problem) return problem.detail && problem.detail !== problem.title ? problem.detail : "";
  if (!order && lot) return lotDetail(lot);
  if (!order) return "Your order is on its way.";
  if (order.status === "pending") return etaWords(purchase);
  if (order.status === "processing") return "The payment is under way; it can no longer be cancelled.";
  if (!order.settled_at) return "";
  const took = duration((Date.parse(order.settled_at) - Date.parse(order.accepted_at)) / 1000);
  const why = order.reason ? `, ${order.reason.replaceAll("_", " ")}` : "";
  return `Settled ${took} after it was accepted${why}.`;
}

function etaWords(purchase) {
  const eta = purchase.order.estimated_wait_seconds;
  if (!(eta > 0)) return "The units are held for you. How long it takes is not known yet.";
  return `The units are held for you. About ${duration(eta)} left.`;
}
