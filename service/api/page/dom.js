// Small tools of both pages: elements, text, figures. Data becomes text here and never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; a child that is a string becomes text. */
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sets a text only when it differs, so that a selection in the page survives and nothing is announced twice. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Makes the children of `parent` one for each item, in order; a child stays as long as its item's key does. */
export function keep(parent, items, keyOf, create, update) {
  const known = (parent.known ??= new Map());
  const seen = new Set();
  let before = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (seen.has(key)) continue;
    seen.add(key);
    let child = known.get(key);
    if (!child) known.set(key, (child = create(item)));
    update(child, item);
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
  }
  for (const [key, child] of known) {
    if (!seen.has(key)) {
      child.remove();
      known.delete(key);
    }
  }
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const whole = (number) => WHOLE.format(number);

/** A rate or a share: one decimal while it is small enough to matter. */
export const tenths = (number) => (number >= 1000 ? WHOLE.format(number) : TENTHS.format(number));

/** The hour, minute and second of a time of the API. */
export const clock = (time) => TIME.format(new Date(time));

/** A duration in words: `3 ms`, `1.2 s`, `2 min 5 s`, `3 h 4 min`. */
export function duration(seconds) {
  const [number, unit] = parts(seconds);
  return unit ? `${number} ${unit}` : number;
}

/** The same as a number and its unit, for places that set them apart. */
export function parts(seconds) {
  const ms = seconds * 1000;
  if (ms < 9.95) return [String(Math.round(ms * 10) / 10), "ms"];
  if (ms < 999.5) return [String(Math.round(ms)), "ms"];
  if (seconds < 59.95) return [TENTHS.format(seconds), "s"];
  const whole = Math.round(seconds);
  if (whole < 3600) return [`${Math.floor(whole / 60)} min ${whole % 60} s`, ""];
  return [`${WHOLE.format(Math.floor(whole / 3600))} h ${Math.floor((whole % 3600) / 60)} min`, ""];
}
