// One deployment, live: every event of it redraws the phases and adds its lines.

import { calmly } from "./live.js";
import { follow, sayNothing, sayState } from "./stream.js";

// What the server and the app say of the end may come a moment after it.
const LAST_WORDS_MS = 5000;

const page = document.querySelector("[data-deployment]");
// What has ended is drawn as it is: nothing of it will change.
if (page && !isFinal()) {
  let ended = false;
  const update = calmly(250, (worked) => {
    if (worked && isFinal()) finished();
  });
  const stop = follow(
    { deployment_id: page.dataset.deployment },
    {
      onEntry: update,
      onState: (state) => {
        if (!ended) sayState(state);
      },
      onGap: update,
    },
  );
  // The stream may be lost while the server is well: look now and then until it has ended.
  const ticking = setInterval(() => {
    if (!document.hidden) update();
  }, 3000);

  function finished() {
    if (ended) return;
    ended = true;
    clearInterval(ticking);
    sayNothing();
    setTimeout(stop, LAST_WORDS_MS);
    const line = document.querySelector("[data-announce]");
    const status = document.querySelector("[data-deployment-status]");
    if (line && status) line.textContent = status.textContent.trim();
  }
}

function isFinal() {
  return document.querySelector("[data-deployment-status]")?.dataset.final === "true";
}
