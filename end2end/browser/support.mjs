// What the browser tests share: an instance of the product, and the distribution's Chromium.
import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.FLUKEDEPLOY_CHROMIUM ?? '/usr/bin/chromium';
const START_TIMEOUT_MS = 120_000;
const artifacts = join(dirname(fileURLToPath(import.meta.url)), '..', 'artifacts');

/**
 * Starts an instance of its own and describes it: `url`, `token`, `http_port`, `stream_url`, `log_path`,
 * `images.{v1,v2,crashing}`, and `stop()`. With a password the account `admin` exists; without, the
 * set-up link is in the log. `FLUKEDEPLOY_URL` names a running instance to use instead, with
 * `FLUKEDEPLOY_TOKEN`, `FLUKEDEPLOY_HTTP_PORT`, `FLUKEDEPLOY_IMAGE_V1`, `FLUKEDEPLOY_IMAGE_V2`.
 */
export async function startInstance({ adminPassword } = {}) {
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
  const child = spawn(env.FLUKEDEPLOY_WITH_INSTANCE, adminPassword ? [adminPassword] : [], {
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
 * Runs `journey(page)` in a fresh browser context. A screenshot is kept either way; an error on the page
 * (a script that threw, a request that got a 5xx, a resource blocked by the content policy) fails it.
 */
export async function withPage(browser, { name, javaScript = true, baseURL }, journey) {
  const context = await browser.newContext({ baseURL, javaScriptEnabled: javaScript });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(`script: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && /Content Security Policy/.test(message.text())) faults.push(message.text());
  });
  page.on('response', (response) => {
    if (response.status() >= 500) faults.push(`${response.status()} ${response.url()}`);
  });
  try {
    await journey(page);
    if (faults.length > 0) throw new Error(`the page had faults:\n${faults.join('\n')}`);
  } finally {
    await mkdir(artifacts, { recursive: true });
    const file = `${name}-${javaScript ? 'js' : 'nojs'}.png`;
    await page.screenshot({ path: join(artifacts, file), fullPage: true }).catch(() => {});
    await context.close();
  }
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
