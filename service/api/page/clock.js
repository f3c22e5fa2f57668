// The time by the server's clock, which alone decides when a sale opens; the shopper's may be wrong by minutes.
//
// Every answer says when it was made, in whole seconds. It was made between the request and the answer, so each answer
// bounds how far the server's clock is ahead of the time that this page has been open, which no setting of a clock moves.

const SECOND = 1000;
let least = -Infinity;
let most = Infinity;

/** Learns from an answer that was asked for at `asked`, by `performance.now()`. */
export function learn(answer, asked) {
  const said = Date.parse(answer.headers.get("Date")) + SECOND * (Number(answer.headers.get("Age")) || 0);
  if (Number.isNaN(said)) return;
  const from = said - performance.now();
  const to = said + 2 * SECOND - asked; // a server may keep the text of its date for a second
  if (from > most || to < least) [least, most] = [from, to]; // its clock was set
  else [least, most] = [Math.max(least, from), Math.min(most, to)];
}

/** Milliseconds of the epoch by the server's clock, to about a second; by the browser's before there was an answer. */
export const now = () => (Number.isFinite(least) ? performance.now() + (least + most) / 2 : Date.now());
