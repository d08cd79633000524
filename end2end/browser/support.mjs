// What the browser tests share: an instance of the product, and the distribution's Chromium.
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.FLUKEDEPLOY_CHROMIUM ?? '/usr/bin/chromium';
const START_TIMEOUT_MS = 120_000;
/** Of the account `admin`, where an instance is started with one. */
export const PASSWORD = 'correct horse battery';
/** For whatever waits until a deployment has ended. */
export const DEPLOYMENT_TIMEOUT_MS = 90_000;
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
let axe;
const artifacts = join(dirname(fileURLToPath(import.meta.url)), '..', 'artifacts');

/**
 * Starts an instance of its own and describes it: `url`, `token`, `http_port`, `stream_url`, `data_dir`,
 * `log_path`, `images.{v1,slow,v2,crashing}` (`slow` is v1 that answers late), and `stop()`. With a
 * password the account `admin` exists, and `more` is what `serve` is told besides; without, the token of the
 * set-up link is in `data_dir`. `FLUKEDEPLOY_URL` names a running instance to use instead, with
 * `FLUKEDEPLOY_TOKEN`, `FLUKEDEPLOY_HTTP_PORT`, `FLUKEDEPLOY_IMAGE_V1`, `FLUKEDEPLOY_IMAGE_V2`.
 */
export async function startInstance({ adminPassword, more = [] } = {}) {
  const env = process.env;
  if (env.FLUKEDEPLOY_URL) {
    return {
      url: env.FLUKEDEPLOY_URL,
      token: env.FLUKEDEPLOY_TOKEN,
      http_port: Number(env.FLUKEDEPLOY_HTTP_PORT),
      images: { v1: env.FLUKEDEPLOY_IMAGE_V1, v2: env.FLUKEDEPLOY_IMAGE_V2 },
      stop: async () => {},
    };
  }
  if (!env.FLUKEDEPLOY_WITH_INSTANCE) {
    throw new Error('set FLUKEDEPLOY_WITH_INSTANCE to the built with-instance program, or run ./flukedeploy test');
  }
  const child = spawn(env.FLUKEDEPLOY_WITH_INSTANCE, adminPassword ? [adminPassword, ...more] : [], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const timer = setTimeout(() => child.kill(), START_TIMEOUT_MS);
  const line = await Promise.race([
    once(lines, 'line').then(([text]) => text),
    exited.then(([code]) => {
      throw new Error(`the instance did not start: exit code ${code}`);
    }),
  ]).finally(() => clearTimeout(timer));
  return {
    ...JSON.parse(line),
    async stop() {
      child.stdin.end();
      const [code] = await exited;
      if (code !== 0) throw new Error(`the instance did not stop cleanly: exit code ${code}`);
    },
  };
}

/** Starts Chromium. Close it in `after`. */
export function launchBrowser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/**
 * Runs `journey(page)` in a fresh browser context. A screenshot is kept either way; a fault of the page
 * fails it: a script that threw or complained, a request that got a 5xx, something the page needs that
 * got a 4xx, a resource blocked by the content policy.
 */
export async function withPage(browser, { name, javaScript = true, baseURL, ...options }, journey) {
  // Without motion: a colour on its way to another is neither of them, and its contrast means nothing.
  const context = await browser.newContext({
    baseURL,
    javaScriptEnabled: javaScript,
    viewport: DESKTOP,
    reducedMotion: 'reduce',
    ...options,
  });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(`script: ${error.message}`));
  page.on('console', (message) => {
    // A page that is a refusal is reported here as well; `response` below tells it from a lost resource.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      faults.push(message.text());
    }
  });
  page.on('response', (response) => {
    const lost = response.status() >= 400 && !response.request().isNavigationRequest();
    if (lost || response.status() >= 500) faults.push(`${response.status()} ${response.url()}`);
  });
  const look = lookAt(page, `${name}-${javaScript ? 'js' : 'nojs'}`);
  try {
    await journey(page, look);
    if (faults.length > 0) throw new Error(`the page had faults:\n${faults.join('\n')}`);
  } finally {
    await look('end').catch(() => {});
    await context.close();
  }
}

/** Keeps a screenshot of every step, numbered: on a desktop in light, and on a telephone in dark colours. */
function lookAt(page, name) {
  let step = 0;
  return async (what) => {
    step += 1;
    await mkdir(artifacts, { recursive: true });
    const path = join(artifacts, `${name}-${String(step).padStart(2, '0')}-${what}`);
    await page.screenshot({ path: `${path}.png`, fullPage: true, animations: 'disabled' });
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.setViewportSize(PHONE);
    await page.screenshot({ path: `${path}-phone.png`, fullPage: true, animations: 'disabled' });
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize(DESKTOP);
  };
}

/**
 * What axe-core finds on the page that is shown. Evaluated in the page's own world, past its content
 * policy, which rightly refuses foreign scripts.
 */
export async function violations(page, what) {
  axe ??= await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  await page.evaluate(axe);
  const result = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  return result.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${what} ${id}: ${node.target} ${node.html.slice(0, 120)}`));
}

/** Signs in as `admin` on the page that is shown, or on the sign-in page. */
export async function signIn(page) {
  if (page.url() === 'about:blank') await page.goto('/sign-in');
  await page.getByLabel('Name').fill('admin');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('navigation', { name: 'Main' }).waitFor();
}

/** Password of whoever is invited. */
export const OTHER_PASSWORD = 'violet kettle orbit';

/** Invites somebody and accepts on their behalf, in a browser of their own. */
export async function comeIn(browser, instance, invitation) {
  const { link } = await rest(instance, 'POST', '/invitations', invitation);
  const context = await browser.newContext({ baseURL: instance.url });
  try {
    const page = await context.newPage();
    await page.goto(new URL(link).pathname);
    await page.getByLabel('Password', { exact: true }).fill(OTHER_PASSWORD);
    await page.getByLabel('Password again').fill(OTHER_PASSWORD);
    await page.getByRole('button', { name: 'Create the account' }).click();
    await page.getByRole('navigation', { name: 'Main' }).waitFor();
  } finally {
    await context.close();
  }
}

/** What an authenticator app with this secret shows now, or so many steps of 30 s later. */
export function oneTimeCode(base32, stepsLater = 0) {
  const bits = [...base32].map((digit) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(digit).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + stepsLater));
  const hash = createHmac('sha1', key).update(step).digest();
  const number = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

/** REST with the instance's token: the parsed body, an error unless 2xx. */
export async function rest(instance, method, path, body) {
  const answer = await fetch(`${instance.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${instance.token}`, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}

/** Waits until a deployment has ended: its summary. */
export async function finalDeployment(instance, id) {
  return until(`the end of ${id}`, DEPLOYMENT_TIMEOUT_MS, async () => {
    const summary = await rest(instance, 'GET', `/deployments/${id}`);
    return ['success', 'failed', 'rolled_back'].includes(summary.status) && summary;
  });
}

/** Asks `question` until its answer is truthy, and returns that. */
export async function until(what, timeoutMs, question) {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** What an app answers through the ingress: the version of the sample app. */
export function served(instance, app) {
  return new Promise((done, failed) => {
    const options = {
      host: '127.0.0.1',
      port: instance.http_port,
      path: '/version',
      headers: { host: `${app}.localhost` },
      timeout: 10_000,
    };
    httpRequest(options, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => (text += part));
      answer.on('end', () => done(answer.statusCode === 200 ? text : `${answer.statusCode} ${text}`));
    })
      .on('timeout', function () {
        this.destroy(new Error('the ingress did not answer'));
      })
      .on('error', failed)
      .end();
  });
}
