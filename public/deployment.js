// One deployment, live: every event of it redraws the phases and adds its lines.

import { calmly } from "./live.js";
import { follow, sayState } from "./stream.js";

const page = document.querySelector("[data-deployment]");
if (page) {
  const update = calmly(250, (worked) => {
    if (worked && isFinal()) finished();
  });
  follow(
    { deployment_id: page.dataset.deployment },
    { onEntry: update, onState: sayState, onGap: update },
  );
  // The stream may be lost while the server is well: look now and then until it has ended.
  const ticking = setInterval(() => {
    if (isFinal()) clearInterval(ticking);
    else if (!document.hidden) update();
  }, 3000);
}

function isFinal() {
  return document.querySelector("[data-deployment-status]")?.dataset.final === "true";
}

let told = false;
function finished() {
  if (told) return;
  told = true;
  const line = document.querySelector("[data-announce]");
  const status = document.querySelector("[data-deployment-status]");
  if (line && status) line.textContent = status.textContent.trim();
}
