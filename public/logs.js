// An app's lines as they come, written into the server's own template. The reader who scrolled
// up stays where they are; what fits the page's filter is shown, nothing else.

import { calmly } from "./live.js";
import { follow, sayState } from "./stream.js";

const MOST_LINES = 2000;
const LEVELS = ["debug", "info", "warn", "error"];

const log = document.querySelector("[data-tail]");
const template = document.getElementById("log-line");
if (log && template) {
  const text = (log.dataset.text ?? "").toLowerCase();
  const least = LEVELS.indexOf(log.dataset.minLevel);
  const waiting = [];
  let scheduled = false;

  const filter = { app_name: log.dataset.tail };
  if (log.dataset.deploymentId) filter.deployment_id = log.dataset.deploymentId;
  follow(
    filter,
    {
      onEntry: (entry) => {
        if (LEVELS.indexOf(entry.level) < least) return;
        if (text && !entry.message.toLowerCase().includes(text)) return;
        waiting.push(entry);
        if (waiting.length > MOST_LINES) waiting.shift();
        if (!scheduled) {
          scheduled = true;
          // One layout for a burst of lines; a hidden page has no frames, so it waits in a timer.
          setTimeout(write, 100);
        }
      },
      onState: sayState,
      onGap: calmly(1000),
    },
  );

  function write() {
    scheduled = false;
    const end = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    const shown = new Set([...log.querySelectorAll("[data-entry]")].slice(-300).map((line) => line.dataset.entry));
    const lines = document.createDocumentFragment();
    for (const entry of waiting.splice(0)) {
      if (!shown.has(entry.id)) lines.append(lineOf(entry));
    }
    log.querySelector(".log-empty")?.remove();
    log.append(lines);
    for (const old of [...log.children].slice(0, Math.max(0, log.children.length - MOST_LINES))) old.remove();
    if (end) log.scrollTop = log.scrollHeight;
  }

  function lineOf(entry) {
    const line = template.content.firstElementChild.cloneNode(true);
    line.dataset.entry = entry.id;
    line.classList.add(`log-${entry.level}`);
    if (entry.source.type !== "container") line.classList.add("log-event");
    const time = line.querySelector("time");
    time.dateTime = entry.timestamp;
    time.textContent = entry.timestamp.slice(11, 19);
    time.title = entry.timestamp;
    line.querySelector(".log-who").textContent = entry.source.type === "container" ? entry.level : "event";
    line.querySelector(".log-text").textContent = entry.message;
    return line;
  }
}
