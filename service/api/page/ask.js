// Asks before something is done, and does it: nothing on the operator's view happens with one click.

import { newKey } from "./admin.js";
import { byId, put, show } from "./dom.js";

let wanted = null;

/**
 * Opens the question. `title`, `words` and `yes` are what it says; `units` ({ label, most }), `reason` and `stock` say
 * which fields it has; `act` gets the key and what was filled in, and resolves to what is told when it is done.
 */
export function ask(question) {
  wanted = { ...question, key: newKey(), sent: "" };
  put(byId("ask-title"), question.title);
  put(byId("ask-words"), question.words);
  put(byId("ask-yes"), question.yes);
  put(byId("ask-complaint"), "");
  show(byId("ask-units-field"), question.units !== undefined);
  show(byId("ask-reason-field"), question.reason === true);
  show(byId("ask-stock-field"), question.stock === true);
  put(byId("ask-units-label"), question.units?.label ?? "");
  byId("ask-units").value = question.units?.most ?? 1;
  byId("ask-units").max = question.units?.most ?? 1000000000;
  byId("ask-reason").value = "";
  byId("ask-stock").checked = true;
  byId("ask").showModal();
  byId(question.units ? "ask-units" : "ask-no").focus();
}

async function yes() {
  const question = wanted;
  const units = Number(byId("ask-units").value);
  if (question.units && !(Number.isInteger(units) && units >= 1 && units <= (question.units.most ?? 1e9))) {
    put(byId("ask-complaint"), `A whole number from 1${question.units.most ? ` to ${question.units.most}` : ""}.`);
    return byId("ask-units").focus();
  }
  const filled = { units, reason: byId("ask-reason").value.trim(), stock: byId("ask-stock").checked };
  const said = JSON.stringify(filled);
  if (question.sent && question.sent !== said) question.key = newKey(); // another request than the one that failed
  question.sent = said;
  byId("ask-yes").disabled = true;
  put(byId("ask-complaint"), "");
  try {
    const done = await question.act(question.key, filled);
    byId("ask").close();
    put(byId("spoken"), done);
  } catch (error) {
    put(byId("ask-complaint"), error.message);
  } finally {
    byId("ask-yes").disabled = false;
  }
}

byId("ask-yes").addEventListener("click", yes);
byId("ask-no").addEventListener("click", () => byId("ask").close());
