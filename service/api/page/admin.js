// Requests with the admin token. A change carries an idempotency key, so that it is made once however often it is sent.

const TOKEN_KEY = "flash-sale:admin-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN_KEY) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN_KEY, value),
  forget: () => sessionStorage.removeItem(TOKEN_KEY),
};

/** What the service refused, in its own words; `status` 0 where it did not answer. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function send(path, options) {
  let answer;
  try {
    const headers = { ...options.headers, Authorization: `Bearer ${token.get()}` };
    answer = await fetch(path, { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
  } catch {
    throw new Refused(0, "", "The service does not answer.");
  }
  const body = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return body;
  const detail = body?.detail && body.detail !== body.title ? ` ${body.detail}` : "";
  throw new Refused(answer.status, body?.code ?? "", body ? `${body.title}.${detail}` : `The service answers with status ${answer.status}.`);
}

/** Reads; `query` has the parameters, of which empty ones are left out. */
export function read(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null);
  return send(given.length ? `${path}?${new URLSearchParams(given)}` : path, {});
}

export const change = (method, path, key, body) =>
  send(path, {
    method,
    headers: { "Idempotency-Key": key, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });

/** A key for one change: 128 random bits. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `operator-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
