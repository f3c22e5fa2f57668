// A product as the shop shows it: its line in the list, its price, whether it can be bought.

import { now } from "./clock.js";
import { duration, make, whole } from "./dom.js";

/** The decimals of a currency by ISO 4217, where it has not two; a browser's own are those of cash (HUF has none there). */
const DECIMALS = new Map([
  ["BIF", 0], ["CLP", 0], ["DJF", 0], ["GNF", 0], ["ISK", 0], ["JPY", 0], ["KMF", 0], ["KRW", 0], ["PYG", 0],
  ["RWF", 0], ["UGX", 0], ["UYI", 0], ["VND", 0], ["VUV", 0], ["XAF", 0], ["XOF", 0], ["XPF", 0],
  ["BHD", 3], ["IQD", 3], ["JOD", 3], ["KWD", 3], ["LYD", 3], ["OMR", 3], ["TND", 3],
  ["CLF", 4], ["UYW", 4],
]);

/** An amount in minor units as the currency writes it. */
export function price(amount, currency) {
  if (!isCurrency(currency)) return `${whole(amount)} minor units of ${currency}`; // nobody knows its decimals
  const digits = DECIMALS.get(currency) ?? 2;
  const exactly = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat("en", { style: "currency", currency, ...exactly }).format(amount / 10 ** digits);
}

/** Whether the browser has heard of it; one that cannot tell is believed. */
const known = new Set(Intl.supportedValuesOf?.("currency") ?? []);
const isCurrency = (code) => known.size === 0 || known.has(code) || DECIMALS.has(code);

/** The line of a product, to be chosen. */
export function makeChoice(product) {
  const input = make("input", { type: "radio", name: "product", value: product.product_id });
  const choice = make("label", { class: "choice" });
  choice.name = make("bdi", { class: "name" });
  choice.price = make("span", { class: "price" });
  choice.state = make("span", { class: "quiet" });
  choice.append(input, make("span", { class: "words" }, choice.name, choice.state), choice.price);
  return choice;
}

export const isOpen = ({ opens_at, closes_at, paused }) =>
  !paused && Date.parse(opens_at) <= now() && (closes_at === null || now() < Date.parse(closes_at));

export function stateOf(product) {
  const limit = product.per_user_limit ? ` · ${product.per_user_limit} per shopper` : "";
  if (closed(product)) return "The sale is over";
  if (Date.parse(product.opens_at) > now()) return `Opens ${when(product.opens_at)}${byLot(product)}`;
  if (product.paused) return "The sale is paused";
  const end = product.closes_at === null ? "" : ` · closes ${when(product.closes_at)}`;
  if (product.stock > 0) return `${whole(product.stock)} left${limit}${end}${byLot(product)}`;
  return product.held > 0 ? "Sold out; some held units may come back" : "Sold out";
}

const byLot = ({ admission }) => (admission === "ticket" ? " · sold by lot: press Buy to take part" : "");
const closed = ({ closes_at }) => closes_at !== null && Date.parse(closes_at) <= now();

/** `in 4 min 10 s`, or the day: a countdown in whole seconds. */
function when(time) {
  const seconds = Math.ceil((Date.parse(time) - now()) / 1000);
  if (seconds < 60) return `in ${seconds} s`;
  if (seconds < 86400) return `in ${duration(seconds)}`;
  return `on ${new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })}`;
}
