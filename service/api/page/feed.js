// The live figures as they come: snapshots over the WebSocket, or by asking once a second while there is none.
// It reconnects by itself, for ever, and says what it knows of the reason when nothing comes.

const ASK_EVERY_MS = 1000;
const SILENT_MS = 3000;
const HALF_OPEN_MS = 10000;
const PROTOCOL = "flash-sale.monitoring";
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10000;

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

export class Feed {
  /** `onSnapshot` is told of each snapshot; `trouble` is '' or why there is none; `token` is sent where one is needed. */
  constructor(onSnapshot, { token = "", needsToken = false } = {}) {
    this.onSnapshot = onSnapshot;
    this.token = token;
    this.trouble = "";
    this.refusedToken = needsToken && !token ? "" : null;
    this.road = "";
    this.heardAt = -Infinity;
    this.toldAt = -Infinity;
    this.said = 0;
  }

  /** Whether the token at hand is known not to do, so that there is nothing to try. */
  get refused() {
    return this.token === this.refusedToken;
  }

  /** Whether a token is needed, and none that was given is known to do. */
  get needsToken() {
    return this.refusedToken !== null;
  }

  start() {
    this.keepConnected();
    this.keepAsking();
  }

  /** How old the newest figures are, in seconds: what the service said of them, and the time since. */
  age() {
    return this.said + (performance.now() - this.heardAt) / 1000;
  }

  async keepConnected() {
    let pause = FIRST_PAUSE_MS;
    for (;;) {
      while (this.refused) await wait(ASK_EVERY_MS);
      const frames = await this.session();
      pause = frames ? FIRST_PAUSE_MS : Math.min(pause * 2, LONGEST_PAUSE_MS);
      await wait(pause * (0.5 + Math.random() / 2));
    }
  }

  /** One connection from its opening to its end; resolves to the number of snapshots that came. */
  session() {
    const address = new URL("monitoring", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    return new Promise((done) => {
      let frames = 0;
      let lastAt = performance.now();
      const socket = this.token ? new WebSocket(address, [PROTOCOL, `bearer.${inBase64Url(this.token)}`]) : new WebSocket(address);
      const watch = setInterval(() => {
        if (performance.now() - lastAt > HALF_OPEN_MS) end();
      }, 1000);
      const end = () => {
        clearInterval(watch);
        socket.onmessage = socket.onclose = null;
        socket.close();
        if (this.road === "socket") this.road = "";
        done(frames);
      };
      socket.onclose = end;
      socket.onmessage = (event) => {
        lastAt = performance.now();
        if (this.take(event.data, "socket")) frames += 1;
      };
    });
  }

  /** Asks for the figures whenever the WebSocket has been silent for a while. */
  async keepAsking() {
    for (;;) {
      const silent = performance.now() - this.toldAt > SILENT_MS;
      if (!this.refused && (this.road !== "socket" || silent)) await this.ask();
      await wait(ASK_EVERY_MS);
    }
  }

  async ask() {
    try {
      const { token } = this;
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      const answer = await fetch("monitoring/metrics", { headers, signal: AbortSignal.timeout(5000), cache: "no-store" });
      if (token === this.token) this.refusedToken = answer.status === 401 ? token : null;
      if (answer.ok) this.take(await answer.text(), "asking");
      else this.trouble = await reason(answer);
    } catch {
      this.trouble = "The service does not answer.";
    }
  }

  /** The last minutes as the service has noted them; null when it does not tell. */
  async past() {
    try {
      const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
      const answer = await fetch("monitoring/metrics/history", { headers, signal: AbortSignal.timeout(5000), cache: "no-store" });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /** Takes a message in; tells whether it was one that this page knows. */
  take(text, road) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return false;
    }
    if (message?.type === "unavailable") this.trouble = WHY[message.code] ?? WHY.internal_error;
    else if (message?.type !== "snapshot") return false;
    this.road = road;
    this.toldAt = performance.now();
    if (message.type === "unavailable") return true;
    this.heardAt = this.toldAt;
    this.refusedToken = null;
    this.said = message.snapshot_age_seconds;
    this.trouble = "";
    this.onSnapshot(message);
    return true;
  }
}

const WHY = {
  store_unavailable: "The store does not answer.",
  internal_error: "The service made a mistake.",
};

function inBase64Url(text) {
  const bytes = new TextEncoder().encode(text);
  const plain = btoa(String.fromCharCode(...bytes));
  return plain.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** What a refusal says of itself. */
async function reason(answer) {
  try {
    const problem = await answer.json();
    return `${problem.title}.`;
  } catch {
    return `The service answers with status ${answer.status}.`;
  }
}
