// The log explorer: lines as they come, in the server's own template. A reader who scrolled up, opened
// a line or paused is not moved: lines wait, are counted, and come all at once when wanted.

import { calmly } from "./live.js";
import { follow, sayState } from "./stream.js";

const MOST_LINES = 2000;
const MOST_KNOWN = 10_000;
const SHORT = 600;
const REPLICA = 7;
// One layout for a burst of lines; a hidden page has no frames, so they wait in a timer.
const GATHER_MS = 100;
const COUNTS_MS = 15_000;
// What turns or hides text; `log_text.rs` shows the same.
const ACTS =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const DAY = [{ weekday: "long" }, { day: "numeric" }, { month: "long" }, { year: "numeric" }];

const explorer = document.querySelector("[data-explorer]");
const log = document.getElementById("log");
if (explorer && log) {
  keepWrap();
  explorer.addEventListener("toggle", fill, true);
  for (const body of explorer.querySelectorAll("[open] > .entry-body")) addCopies(body);
  if (log.dataset.followLog !== undefined) live();
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  const target = { "/": "q", p: "pause" }[event.key];
  const part = target && document.getElementById(target);
  if (!part) return;
  event.preventDefault();
  if (target === "q") part.select();
  else part.click();
});

function visible(text) {
  return text.replace(ACTS, (c) => `‹U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
}

function short(text) {
  if (text.length <= SHORT) return visible(text);
  const start = [...text.slice(0, 2 * SHORT)].slice(0, SHORT).join("");
  return visible(start) + (start.length < text.length ? "…" : "");
}

function keepWrap() {
  const box = document.getElementById("wrap");
  if (!box) return;
  try {
    box.checked = localStorage.getItem("log-wrap") !== "no";
    box.addEventListener("change", () => localStorage.setItem("log-wrap", box.checked ? "yes" : "no"));
  } catch {
    // Nothing may be kept here: the choice holds for this page.
  }
}

// Beside the link to the entry's JSON, once a line is opened.
function addCopies(body) {
  const json = body.querySelector(":scope > p")?.lastElementChild;
  if (!json || body.querySelector(".copy")) return;
  json.before(copyButton("Copy message", json.href, "message"));
  json.after(copyButton("Copy JSON", json.href));
}

function copyButton(word, address, part) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = word;
  button.addEventListener("click", async () => {
    try {
      const answer = await fetch(address);
      if (!answer.ok) throw new Error(answer.statusText);
      const { entry } = await answer.json();
      await navigator.clipboard.writeText(part ? entry[part] : JSON.stringify(entry, null, 2));
      button.textContent = "Copied";
    } catch {
      button.textContent = "Could not copy";
    }
    setTimeout(() => (button.textContent = word), 1500);
  });
  return button;
}

// A line that came live is short; what is inside comes from the server when it is opened.
async function fill(event) {
  const inside = event.target;
  const line = inside.closest(".entry");
  if (!line || !inside.open) return;
  const there = inside.querySelector(".entry-body");
  if (there) {
    addCopies(there);
    return;
  }
  const waiting = document.createElement("p");
  waiting.className = "entry-body";
  waiting.textContent = "…";
  inside.append(waiting);
  try {
    const query = new URLSearchParams({ id: line.dataset.entry, context: 0 });
    const answer = await fetch(`${log.dataset.lines}?${query}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const body = page.querySelector(".entry-here .entry-body");
    if (!body) throw new Error("no such line");
    waiting.replaceWith(document.importNode(body, true));
    addCopies(inside.querySelector(".entry-body"));
  } catch {
    waiting.remove();
    inside.open = false;
  }
}

function live() {
  const template = document.getElementById("log-line").content.firstElementChild;
  const toNew = document.getElementById("to-new");
  const pause = document.getElementById("pause");
  const newer = document.getElementById("newer");
  const recount = calmly(COUNTS_MS);
  const known = new Set();
  for (const line of log.querySelectorAll("[data-entry]")) {
    known.add(line.dataset.entry);
    for (const id of (line.dataset.also ?? "").split(" ")) known.add(id);
  }
  // All before this is on the page, as far as it belongs here.
  let newest = log.dataset.newest;
  // Behind this entry the stream goes on, in the order in which entries came.
  let lastId = [...log.querySelectorAll("[data-entry]")].at(-1)?.dataset.entry;
  let waiting = [];
  let gap; // { count, since, until } of what waited too long
  let scheduled = false;
  let away = false;
  let paused = false;

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    if (paused) say();
    else toEnd();
  });
  toNew.addEventListener("click", toEnd);
  log.addEventListener("scroll", () => {
    const was = away;
    away = log.scrollHeight - log.scrollTop - log.clientHeight > 24;
    if (was && !away) schedule();
  });
  // Whoever opens a line wants to read it.
  log.addEventListener("toggle", (event) => (away ||= event.target.open), true);

  const base = Object.fromEntries(new URLSearchParams(log.dataset.followLog));
  follow(() => ({ ...base, since: lastId ?? newest }), {
    onEntry: take,
    onState: (state) => {
      sayState(state);
      if (newer) newer.hidden = state === "live";
    },
    onGap: (why) => {
      // A connection that comes again goes on where the former one ended.
      if (why === "connection") return;
      gap ??= { since: newest };
      gap.until = new Date().toISOString();
      schedule();
    },
  });

  function take(entry) {
    lastId = entry.id;
    if (known.has(entry.id)) return;
    known.add(entry.id);
    if (known.size > MOST_KNOWN) known.delete(known.values().next().value);
    if (entry.timestamp > newest) newest = entry.timestamp;
    waiting.push(entry);
    if (waiting.length > MOST_LINES) {
      const first = waiting.shift();
      gap ??= { since: first.timestamp };
      gap.count = (gap.count ?? 0) + 1;
      gap.until = first.timestamp;
    }
    schedule();
  }

  function schedule() {
    if (scheduled) return;
    scheduled = true;
    setTimeout(() => {
      scheduled = false;
      if (paused || away) say();
      else write();
    }, GATHER_MS);
  }

  function toEnd() {
    paused = away = false;
    write();
    log.scrollTop = log.scrollHeight;
  }

  /** How much waits, and where one gets to it. */
  function say() {
    const count = waiting.length + (gap?.count ?? 0);
    const words = count === 1 ? "1 new entry" : `${count.toLocaleString("en")} new entries`;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? (count ? `Resume: ${words}` : "Resume") : "Pause";
    toNew.hidden = paused || !away || !count;
    toNew.textContent = `${words} ↓`;
  }

  function write() {
    const lines = document.createDocumentFragment();
    if (gap) lines.append(gapLine());
    gap = undefined;
    let last = [...log.querySelectorAll(":scope > .entry")].at(-1);
    let day = last?.querySelector("time").dateTime.slice(0, 10);
    for (const entry of waiting) {
      const key = JSON.stringify([entry.level, entry.message, entry.source, entry.flukedeploy_metadata]);
      if (last && last.key === key && !last.firstElementChild.open) {
        again(last, entry.id);
        continue;
      }
      const date = entry.timestamp.slice(0, 10);
      if (date !== day) lines.append(heading(date));
      day = date;
      last = lineOf(entry);
      last.key = key;
      lines.append(last);
    }
    const came = waiting.length > 0;
    waiting = [];
    if (came) {
      log.querySelector(".log-empty")?.remove();
      if (newer) log.insertBefore(lines, newer);
      else log.append(lines);
      trim();
      recount();
    } else if (newer) log.insertBefore(lines, newer);
    else log.append(lines);
    log.scrollTop = log.scrollHeight;
    say();
  }

  function trim() {
    const shown = log.getElementsByClassName("entry");
    if (shown.length <= MOST_LINES) return;
    const first = shown[shown.length - MOST_LINES];
    while (first.previousElementSibling) first.previousElementSibling.remove();
    const more = document.createElement("li");
    more.className = "entries-more";
    const at = new Date(Date.parse(first.querySelector("time").dateTime) + 1).toISOString();
    more.append(linkTo("Older entries", { until: at }));
    log.prepend(more);
  }

  function lineOf(entry) {
    const line = template.cloneNode(true);
    const part = (name) => line.querySelector(name);
    const own = entry.flukedeploy_metadata;
    line.id = `e-${entry.id}`;
    line.dataset.entry = entry.id;
    line.classList.add(`entry-${entry.level}`);
    if (entry.source.type !== "container") line.classList.add("entry-event");
    part(".level").classList.add(`level-${entry.level}`);
    part(".level").textContent = entry.level;
    const time = part("time");
    time.dateTime = entry.timestamp;
    time.textContent = entry.timestamp.slice(11, 23);
    const app = part(".entry-app");
    if (app) app.textContent = visible(own.app_name);
    const task = entry.source.task_id;
    part(".entry-replica").textContent = visible(task?.slice(0, REPLICA) ?? entry.source.stream ?? "platform");
    part(".entry-text").textContent = short(entry.message);
    if (own.stack_trace) {
      const count = own.stack_trace.trimEnd().split("\n").length;
      mark(line, "entry-trace", `stack trace, ${count === 1 ? "1 line" : `${count} lines`}`);
    }
    return line;
  }

  function again(line, id) {
    const count = (line.count ?? 1) + 1;
    line.count = count;
    line.dataset.also = `${line.dataset.also ?? ""} ${id}`.trim().slice(-2000);
    line.querySelector(".entry-count")?.remove();
    mark(line, "entry-count", `×${count}`);
  }

  function mark(line, name, text) {
    const mark = document.createElement("span");
    mark.className = name;
    mark.textContent = text;
    line.querySelector("summary").append(mark);
  }

  function heading(date) {
    const line = document.createElement("li");
    line.className = "entry-day";
    const time = document.createElement("time");
    time.dateTime = date;
    const part = (which) => new Date(date).toLocaleDateString("en-GB", { timeZone: "UTC", ...which });
    time.textContent = DAY.map(part).join(" ");
    line.append(time);
    return line;
  }

  function gapLine() {
    const line = document.createElement("li");
    line.className = "entries-gap";
    const until = new Date(Date.parse(gap.until) + 1).toISOString();
    const count = gap.count && `${gap.count.toLocaleString("en")} entries were too many to wait here. `;
    line.append(count || "Some entries came too fast for this page. ", linkTo("Show them", { since: gap.since, until }));
    return line;
  }

  function linkTo(word, ends) {
    const address = new URL(location.href);
    for (const name of ["before", "after", "range"]) address.searchParams.delete(name);
    for (const [name, value] of Object.entries(ends)) address.searchParams.set(name, value);
    const link = document.createElement("a");
    link.className = "link";
    link.href = address.pathname + address.search;
    link.textContent = word;
    return link;
  }
}
