// Relative times that stay true while the page is open; the exact time is in the title.

const STEPS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const words = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });

export function tellTimes() {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const at = new Date(time.dateTime);
    const seconds = (at - Date.now()) / 1000;
    const [unit, length] = STEPS.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
    time.textContent =
      Math.abs(seconds) < 5 ? "just now" : words.format(Math.trunc(seconds / length), unit);
    time.title = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  }
  for (const time of document.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - new Date(time.dataset.since)) / 1000));
    time.textContent = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
}

setInterval(() => {
  if (!document.hidden) tellTimes();
}, 1000);
tellTimes();
