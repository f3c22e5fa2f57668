// An order as it goes on: server-sent events, read with `fetch`, because an EventSource cannot show a token.

import { TryAgain } from "./purchases.js";

const SILENCE_MS = 40000; // the service says something every 15 s

/** Follows an order and hands each state of it to `heard`; returns when the stream has ended, throws `TryAgain` without one. */
export async function followEvents(orderId, token, heard) {
  const silence = new AbortController();
  let alarm = 0;
  const wait = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  wait();
  try {
    const answer = await fetch(`orders/${encodeURIComponent(orderId)}/events`, {
      headers: { Accept: "text/event-stream", ...(token ? { Authorization: `Bearer ${token}` } : {}) },
      cache: "no-store",
      signal: silence.signal,
    });
    if (!answer.ok) throw new TryAgain("The order cannot be followed", Number(answer.headers.get("Retry-After")) || 0);
    let text = "";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      wait();
      const events = (text + part.value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = /^data: (.*)$/m.exec(event);
        if (data) heard(JSON.parse(data[1]));
      }
    }
  } catch (error) {
    throw error instanceof TryAgain ? error : new TryAgain("The service does not answer");
  } finally {
    clearTimeout(alarm);
  }
}
