// A product as the shop shows it: its line in the list, its price, whether it can be bought.

import { duration, make, whole } from "./dom.js";

/** An amount in minor units as the currency writes it. */
export function price(amount, currency) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency });
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

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

export const isOpen = ({ opens_at, closes_at }) =>
  Date.parse(opens_at) <= Date.now() && (closes_at === null || Date.now() < Date.parse(closes_at));

export function stateOf(product) {
  const limit = product.per_user_limit ? ` · ${product.per_user_limit} per shopper` : "";
  if (closed(product)) return "The sale is over";
  if (!isOpen(product)) return opensIn(product);
  if (product.stock > 0) return `${whole(product.stock)} left${limit}`;
  return product.held > 0 ? "Sold out; some held units may come back" : "Sold out";
}

const closed = ({ closes_at }) => closes_at !== null && Date.parse(closes_at) <= Date.now();

function opensIn({ opens_at }) {
  const seconds = (Date.parse(opens_at) - Date.now()) / 1000;
  if (seconds < 86400) return `Opens in ${duration(seconds)}`;
  return `Opens on ${new Date(opens_at).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })}`;
}
