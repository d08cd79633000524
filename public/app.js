// On every page: copy buttons, times, the theme, keys, and lists that follow what happens.
// Without it every page works; it only saves reloading.

import "./times.js";
import { calmly, showCopyButtons } from "./live.js";
import { follow, sayState } from "./stream.js";

// A refused button's form is answered at the button's address, which is no page: what is shown has
// one of its own, for reloading and for what is drawn anew.
const address = document.querySelector("[data-address]")?.dataset.address;
if (address && address !== location.pathname) history.replaceState(null, "", address);

// Copy.
showCopyButtons();
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.dataset.copy || document.getElementById(button.dataset.copyFrom)?.textContent || "";
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const from = document.getElementById(button.dataset.copyFrom);
    if (from) getSelection().selectAllChildren(from);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (button.textContent = before), 1500);
});

// Theme: the server remembers it in a cookie and draws the next page in it; here it changes at once.
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-theme-form]");
  if (!form || !event.submitter) return;
  event.preventDefault();
  const theme = event.submitter.value;
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const button of form.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button === event.submitter));
  }
  fetch(form.action, { method: "POST", body: new URLSearchParams({ theme }), redirect: "manual" });
});

// A menu closes when one looks elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
});

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Logs begin at their end.
for (const log of document.querySelectorAll("[data-log]")) log.scrollTop = log.scrollHeight;

// Lists follow the stream. What containers print changes no list.
const page = document.querySelector("[data-follow]");
if (page) {
  const filter = page.dataset.app ? { app_name: page.dataset.app } : {};
  const update = calmly(1500);
  follow(filter, {
    onEntry: (entry) => {
      if (entry.source?.type !== "container") update();
    },
    onState: sayState,
    onGap: update,
  });
  // Replicas come and go without an entry of their own.
  setInterval(() => {
    if (!document.hidden) update();
  }, 15_000);
}
