// What the page of a deployment shows, read as a person and as a program would.
import { DEPLOYMENT_TIMEOUT_MS } from './support.mjs';

/** The words that stand for the wire's names. */
export const WORDS = {
  pre_build: 'Pre-build',
  build: 'Build',
  pre_deploy: 'Pre-deploy',
  deploy: 'Deploy',
  post_deploy: 'Post-deploy',
  pending: 'Pending',
  building: 'Building',
  deploying: 'Deploying',
  running: 'Running',
  success: 'Success',
  failed: 'Failed',
  rolled_back: 'Rolled back',
};

export const PHASES = ['pre_build', 'build', 'pre_deploy', 'deploy', 'post_deploy'];

/** Waits for the page of the deployment that a form has started: its id. */
export async function arrive(page) {
  await page.waitForURL(/\/deployments\/dep-[^/]+$/);
  return new URL(page.url()).pathname.split('/').pop();
}

/** Waits, touching nothing, until the page says that the deployment has ended. */
export async function ended(page) {
  await page.locator('[data-deployment-status][data-final="true"]').waitFor({ timeout: DEPLOYMENT_TIMEOUT_MS });
}

/**
 * The five phases as `{deploy: 'running', …}`; each must say its state in words, too. Read in one go: the
 * page redraws itself meanwhile, and a state of one moment beside the words of the next proves nothing.
 */
export async function phases(page) {
  const items = await page.getByRole('list', { name: 'Phases' }).evaluate((list) =>
    [...list.children].map((item) => ({ name: item.dataset.phase, status: item.dataset.status, text: item.innerText })));
  const shown = {};
  for (const { name, status, text } of items) {
    for (const word of [WORDS[name], WORDS[status]]) {
      if (!text.includes(word)) throw new Error(`the phase ${name} is ${status}, but says ${JSON.stringify(text)}`);
    }
    shown[name] = status;
  }
  return shown;
}

/** The value beside `term` in the page's lists of facts; null if there is no such fact. */
export async function fact(page, term) {
  const value = page.locator('dl > div').filter({ has: page.locator('dt', { hasText: new RegExp(`^${term}$`) }) });
  return (await value.count()) === 0 ? null : (await value.first().locator('dd').innerText()).trim();
}

/** "exited early" becomes "Exited early.", as pages write what the wire calls it. */
export function sentence(text) {
  const end = /[.!?]$/.test(text) ? '' : '.';
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}
