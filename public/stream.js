// One connection to the log stream, kept up quietly. Pages say what they want to hear; this says
// whether it can be heard, and never retries faster than every second.

const SLOWEST_MS = 30_000;

/** Connects to the stream and calls `onEntry` with each entry, `onState("live" | "lost")` when the
 *  connection comes or goes, and `onGap("connection" | "dropped")` when entries may have been missed. `filter` may be a function:
 *  it is asked at each connection, so that it can say where to go on. Gives back what ends it. */
export function follow(filter, { onEntry, onState, onGap }) {
  let socket;
  let tries = 0;
  let timer;
  let everOpen = false;
  let over = false;

  function connect() {
    clearTimeout(timer);
    if (over) return;
    const address = new URL("/api/v1/stream", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const wanted = typeof filter === "function" ? filter() : filter;
    for (const [name, value] of Object.entries(wanted)) address.searchParams.set(name, value);
    socket = new WebSocket(address);
    socket.addEventListener("message", (message) => {
      let frame;
      try {
        frame = JSON.parse(message.data);
      } catch {
        return;
      }
      if (frame["@type"]) onEntry(frame);
      else if (frame.type === "connected") {
        tries = 0;
        onState("live");
        if (everOpen) onGap("connection");
        everOpen = true;
      } else if (frame.type === "dropped") onGap("dropped");
    });
    socket.addEventListener("close", () => {
      if (over || (document.hidden && !everOpen)) return;
      onState("lost");
      const wait = Math.min(SLOWEST_MS, 1000 * 2 ** tries) * (0.75 + Math.random() / 2);
      tries += 1;
      timer = setTimeout(connect, wait);
    });
  }

  connect();
  // A page that comes out of the back/forward cache has lost its socket without a close event.
  addEventListener("pageshow", (event) => {
    if (event.persisted && socket.readyState > WebSocket.OPEN) connect();
  });
  addEventListener("pagehide", () => {
    clearTimeout(timer);
    socket.close();
  });
  addEventListener("online", () => {
    if (socket.readyState > WebSocket.OPEN) connect();
  });
  return () => {
    over = true;
    clearTimeout(timer);
    socket.close();
  };
}

/** Nothing is followed any more: the page says neither that it is live nor that it is not. */
export function sayNothing() {
  const line = document.querySelector("[data-live-status]");
  if (!line) return;
  delete line.dataset.state;
  line.textContent = "";
}

/** Says in the page's status line whether what is shown is live. */
export function sayState(state) {
  const line = document.querySelector("[data-live-status]");
  if (!line || line.dataset.state === state) return;
  line.dataset.state = state;
  const now = new Date().toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  line.textContent = state === "live" ? "Live" : `Not connected. Shown as of ${now}; reconnecting.`;
}
