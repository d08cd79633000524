// Replaces what the server drew with what the server draws now. The page stays the only template.

import { tellTimes } from "./times.js";

let running; // the drawing under way
let following; // the one that comes after it

/** Fetches this page and swaps every element marked `data-live`. Calls that come while one is
 *  under way share the one that follows. Resolves to false if the page could not be had. */
export function refresh() {
  if (!running) {
    running = draw().finally(() => (running = undefined));
    return running;
  }
  following ??= running.then(() => {
    following = undefined;
    return refresh();
  });
  return following;
}

async function draw() {
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    if (answer.redirected && new URL(answer.url).pathname !== location.pathname) {
      // The session ended: let the visitor sign in and come back here.
      location.assign(answer.url);
      return false;
    }
    if (answer.status >= 500) return false;
    swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    return true;
  } catch {
    return false;
  }
}

/** Calls `refresh` at most once every `calmMs`, and once more after the last call. */
export function calmly(calmMs, done = () => {}) {
  let last = 0;
  let timer;
  return () => {
    if (timer) return;
    const wait = Math.max(0, last + calmMs - Date.now());
    timer = setTimeout(async () => {
      timer = undefined;
      last = Date.now();
      done(await refresh());
    }, wait);
  };
}

function swap(fresh) {
  if (fresh.title) document.title = fresh.title;
  for (const shown of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(shown.id);
    if (!next) continue;
    if (shown.dataset.live === "append") append(shown, next);
    else if (shown.innerHTML !== next.innerHTML) replace(shown, next);
  }
  showCopyButtons();
  tellTimes();
}

/** Copying needs a script, so the server hides the buttons. */
export function showCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
}

// What the visitor opened stays open, what was typed stays, and the focus stays where it was.
function replace(shown, next) {
  const focused = shown.contains(document.activeElement) ? document.activeElement.id : "";
  const touched = new Map();
  for (const part of shown.querySelectorAll("details[id][data-touched]")) touched.set(part.id, part.open);
  const scrolled = new Map();
  for (const part of shown.querySelectorAll("[id][data-log]")) scrolled.set(part.id, [part.scrollTop, atEnd(part)]);
  const typed = [...shown.querySelectorAll("[id][data-kept]")].map((field) => [field.id, field.value]);
  shown.replaceChildren(...[...next.childNodes].map((node) => document.importNode(node, true)));
  for (const [id, value] of typed) {
    const field = document.getElementById(id);
    if (field && value) field.value = value;
  }
  for (const [id, open] of touched) {
    const part = document.getElementById(id);
    if (part) {
      part.open = open;
      part.dataset.touched = "";
    }
  }
  for (const part of shown.querySelectorAll("[id][data-log]")) {
    const [top, end] = scrolled.get(part.id) ?? [0, true];
    part.scrollTop = end ? part.scrollHeight : top;
  }
  if (focused) document.getElementById(focused)?.focus();
}

/** Adds the lines that are new; a reader who scrolled up is not moved. */
function append(shown, next) {
  const known = new Set([...shown.querySelectorAll("[data-entry]")].map((line) => line.dataset.entry));
  const end = atEnd(shown);
  for (const line of next.querySelectorAll("[data-entry]")) {
    if (!known.has(line.dataset.entry)) shown.append(document.importNode(line, true));
  }
  while (shown.querySelectorAll("[data-entry]").length > 2000) shown.querySelector("[data-entry]").remove();
  if (shown.querySelector("[data-entry]")) shown.querySelector(".log-empty")?.remove();
  if (end) shown.scrollTop = shown.scrollHeight;
}

function atEnd(part) {
  return part.scrollHeight - part.scrollTop - part.clientHeight < 24;
}

document.addEventListener("click", (event) => {
  const summary = event.target.closest("summary");
  if (summary?.parentElement.id) summary.parentElement.dataset.touched = "";
});
