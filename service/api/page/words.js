// The codes of refusals in plain words; one that is not known here is shown as it is.

const REFUSALS = {
  sold_out: "Sold out",
  limit_exceeded: "Over the limit per shopper",
  sale_not_open: "Sale not open yet",
  sale_closed: "Sale is over",
  unknown_product: "No such product",
  rate_limited: "Too many from one shopper",
  invalid: "Not a valid order",
  unsupported_media_type: "Not JSON",
  payload_too_large: "Too large",
  unauthorized: "No valid token",
  idempotency_conflict: "Key used for another order",
  overloaded: "Service overloaded",
  store_unavailable: "Store did not answer",
  internal_error: "Fault of the service",
  other: "Other",
};

export const refusalWords = (code) => REFUSALS[code] ?? code.replaceAll("_", " ");
