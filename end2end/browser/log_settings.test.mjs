// Where logs go, what is kept out of them, and what an app's log tells and keeps.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import {
  PASSWORD,
  finalDeployment,
  launchBrowser,
  rest,
  signIn,
  startInstance,
  until,
  violations,
  withPage,
} from './support.mjs';

const APP = 'shop-web';
const WIDTHS = [390, 1024, 1600];
const SECRET = 'kept-out-of-every-page';
let browser;
let instance;

before(async () => {
  const more = ['--allow-address', '127.0.0.1'];
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD, more })]);
  await rest(instance, 'POST', '/apps', { app_name: APP, container_port: 8080 });
  const { deployment_id: id } = await rest(instance, 'POST', '/deployments', { app_name: APP, image: instance.images.v1 });
  assert.equal((await finalDeployment(instance, id)).status, 'success');
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

/** A syslog receiver: what came, and an end to it. */
async function receiver() {
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('data', (part) => (server.text += part)).on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  server.text = '';
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.end = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return server;
}

/** Has the app print this, through the ingress. */
function say(text) {
  const headers = { host: `${APP}.localhost`, 'content-type': 'text/plain' };
  const options = { host: '127.0.0.1', port: instance.http_port, path: '/say', method: 'POST', headers };
  return new Promise((done, failed) => {
    httpRequest(options, (answer) => answer.resume().on('end', done)).on('error', failed).end(text);
  });
}

async function send(page, button) {
  const [response] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: button, exact: true }).click(),
  ]);
  await page.waitForLoadState();
  return response;
}

/** A value of the page's list of facts. */
const fact = (page, name) => page.locator('.facts > div', { has: page.getByText(name, { exact: true }) }).locator('dd');

async function faultOf(input) {
  assert.equal(await input.getAttribute('aria-invalid'), 'true');
  const words = await input.evaluate((element) =>
    element.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id)?.innerText));
  assert.ok(words.some((text) => text?.length > 5), `${words}`);
}

async function expectNarrow(page, width, path) {
  const content = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(content <= width, `${path} is ${content} wide at ${width}`);
}

for (const javaScript of [true, false]) {
  const kind = javaScript ? 'with' : 'without';

  test(`a log forwarder is made, watched, turned off and removed, ${kind} JavaScript`, async () => {
    const syslog = await receiver();
    const about = { name: 'forwarder', javaScript, baseURL: instance.url };
    try {
      await withPage(browser, about, async (page, look) => {
        await signIn(page);
        await page.goto('/log-forwarders');
        await page.getByText('No log forwarders yet').waitFor();
        await look('none');

        // What is refused keeps what was typed, but for what nobody may see.
        await page.getByLabel('Form', { exact: true }).selectOption('otlp');
        await page.getByLabel('Address').fill('ftp://logs.example.com');
        await page.getByLabel(/^App/).fill('No App!');
        await page.getByLabel('Levels').selectOption('error');
        await page.getByLabel(/^Authorization/).fill(`Bearer ${SECRET}`);
        assert.equal((await send(page, 'Create log forwarder')).status(), 422);
        await faultOf(page.getByLabel('Address'));
        await faultOf(page.getByLabel(/^App/));
        assert.equal(await page.getByLabel('Address').inputValue(), 'ftp://logs.example.com');
        assert.equal(await page.getByLabel(/^App/).inputValue(), 'No App!');
        assert.equal(await page.getByLabel('Form', { exact: true }).inputValue(), 'otlp');
        assert.equal(await page.getByLabel('Levels').inputValue(), 'error');
        assert.ok(!(await page.content()).includes(SECRET), 'the page has the header');
        await look('refused');

        const { port } = syslog.address();
        await page.getByLabel('Form', { exact: true }).selectOption('syslog');
        await page.getByLabel('Address').fill(`tcp://127.0.0.1:${port}`);
        await page.getByLabel(/^App/).fill(APP);
        await page.getByLabel('Levels').selectOption('debug');
        await page.getByLabel(/^Authorization/).fill('');
        await send(page, 'Create log forwarder');
        await page.getByRole('heading', { level: 1, name: `127.0.0.1:${port}` }).waitFor();

        // What is printed arrives, and is counted.
        await say(`first words ${kind}`);
        await until('the line to arrive', 20_000, () => syslog.text.includes(`first words ${kind}`));
        await until('the count', 20_000, async () => {
          await page.reload();
          return Number(await fact(page, 'Entries sent').innerText()) > 0;
        });
        assert.match(await fact(page, 'State').innerText(), /On/);
        assert.match(await fact(page, 'About').innerText(), /Only shop-web/);
        await look('sends');

        // A receiver that is gone: that is said, and how much waits.
        syslog.end();
        await say(`while it is gone ${kind}`);
        await until('the failure', 30_000, async () => {
          await page.reload();
          return /Failing/.test(await fact(page, 'State').innerText());
        });
        assert.ok(Number(await fact(page, 'Entries waiting').innerText()) > 0);
        assert.ok((await fact(page, 'Last error').innerText()).length > 10);
        await look('fails');
        const address = new URL(page.url()).pathname;
        await send(page, 'Send a test');
        assert.match(await page.getByRole('alert').innerText(), /did not arrive/);
        await page.goto('/log-forwarders');
        const row = page.getByRole('row', { name: new RegExp(`127.0.0.1:${port}`) });
        assert.match(await row.innerText(), /Failing[^]*Only shop-web/);
        await look('list');

        await row.getByRole('link').click();
        await page.waitForURL((url) => url.pathname === address);
        await send(page, 'Turn off');
        assert.match(await fact(page, 'State').innerText(), /Off/);
        await send(page, 'Turn on');
        await page.getByRole('button', { name: 'Turn off' }).waitFor();
        await page.getByRole('link', { name: 'Remove' }).click();
        await page.getByRole('link', { name: 'Keep it' }).waitFor();
        await look('remove');
        await send(page, 'Remove the log forwarder');
        await page.getByText('No log forwarders yet').waitFor();

        // The key of signatures is shown once.
        await page.getByLabel('Form', { exact: true }).selectOption('webhook');
        await page.getByLabel('Address').fill(`http://127.0.0.1:${port}/in`);
        await send(page, 'Create log forwarder');
        const key = await page.locator('#new-secret').innerText();
        assert.ok(key.trim().length >= 32, key);
        await look('key');
        await page.goto('/log-forwarders');
        assert.ok(!(await page.content()).includes(key.trim()), 'the key is there again');
        await page.getByRole('link', { name: `127.0.0.1:${port}` }).click();
        await page.getByRole('link', { name: 'Remove' }).click();
        await send(page, 'Remove the log forwarder');
        await page.getByText('No log forwarders yet').waitFor();
      });
    } finally {
      syslog.end();
    }
  });

  test(`a secret is marked, never shown, and no secret any more, ${kind} JavaScript`, async () => {
    const about = { name: 'secrets', javaScript, baseURL: instance.url };
    const name = `API_KEY_${kind.toUpperCase()}`;
    await withPage(browser, about, async (page, look) => {
      await signIn(page);
      await page.goto(`/apps/${APP}`);
      await page.getByLabel(/^Add or replace/).fill(`LEVEL_${kind.toUpperCase()}=info`);
      await page.getByLabel(/^Secret variables to add or replace/).fill(`${name}=${SECRET}\nSHORT=abc`);
      await send(page, 'Save settings');
      await page.getByText('The settings are saved.').waitFor();
      const row = page.locator('.variables li', { hasText: name });
      await row.getByText('Secret', { exact: true }).waitFor();
      // One that cannot be found in logs is said to be none.
      await page.getByText('Not every secret can be kept out of logs').waitFor();
      assert.ok(!(await page.content()).includes(SECRET), 'the page has the value');
      await look('marked');

      // A plain one is marked afterwards.
      const plain = page.locator('.variables li', { hasText: `LEVEL_${kind.toUpperCase()}` });
      await plain.getByRole('checkbox', { name: /^Secret/ }).check();
      await send(page, 'Save settings');
      await plain.locator('.tag', { hasText: 'Secret' }).waitFor();

      // To open one takes a new value: the old one stays unseen.
      await row.getByRole('checkbox', { name: /No longer secret/ }).check();
      assert.equal((await send(page, 'Save settings')).status(), 422);
      await look('not-opened');
      assert.ok(!(await page.content()).includes(SECRET), 'the page has the value');
      await page.goto(`/apps/${APP}`);
      for (const one of [row, page.locator('.variables li', { hasText: 'SHORT' })]) {
        await one.getByRole('checkbox', { name: /^Remove/ }).check();
      }
      await send(page, 'Save settings');
      assert.equal(await row.count(), 0);
    });
  });

  test(`what the log tells and keeps is set for each app, ${kind} JavaScript`, async () => {
    const about = { name: 'log-settings', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      await signIn(page);
      await page.goto(`/apps/${APP}`);
      const part = page.locator('#part-log');
      await part.locator('summary').click();
      await part.getByLabel('Requests in the log').selectOption('off');
      await part.getByLabel('Others in 1000').fill('2000');
      await part.getByLabel(/^Keep for, in days/).fill('0');
      await look('typed');
      assert.equal((await send(page, 'Save settings')).status(), 422);
      // It is open where something is wrong, and keeps what was typed.
      await faultOf(part.getByLabel('Others in 1000'));
      await faultOf(part.getByLabel(/^Keep for, in days/));
      assert.equal(await part.getByLabel('Others in 1000').inputValue(), '2000');
      assert.equal(await part.getByLabel('Requests in the log').inputValue(), 'off');
      await look('refused');
      await part.getByLabel('Requests in the log').selectOption('on');
      await part.getByLabel('Others in 1000').fill('250');
      await part.getByLabel(/^Keep for, in days/).fill('7');
      await part.getByLabel(/^Keep at most, in MiB/).fill('64');
      await send(page, 'Save settings');
      await part.getByText('failed and slow requests, 250 in 1000 others').waitFor();
      const { logs } = await rest(instance, 'GET', `/apps/${APP}`);
      assert.deepEqual([logs.access.sample_permille, logs.retain_days, logs.retain_mb], [250, 7, 64]);
      const rest_of = { logs: { access: { sample_permille: null }, retain_days: null, retain_mb: null } };
      await rest(instance, 'PATCH', `/apps/${APP}`, rest_of);
    });
  });
}

for (const colorScheme of ['light', 'dark']) {
  test(`axe-core finds nothing where logs are set, ${colorScheme}`, async () => {
    const forwarder = { kind: 'syslog', url: 'tcp://127.0.0.1:9', app_name: APP };
    const { id } = await rest(instance, 'POST', '/log-forwarders', forwarder);
    await rest(instance, 'PATCH', `/apps/${APP}`, { secret_env_vars: { TOKEN: SECRET, SHORT: 'abc' } });
    await say('something to send');
    await until('the failure', 30_000, async () =>
      (await rest(instance, 'GET', `/log-forwarders/${id}`)).state === 'failing');
    const about = { name: `log-settings-axe-${colorScheme}`, baseURL: instance.url, colorScheme };
    await withPage(browser, about, async (page) => {
      await signIn(page);
      const found = [];
      for (const path of ['/log-forwarders', `/log-forwarders/${id}`, `/log-forwarders/${id}/delete`, `/apps/${APP}`]) {
        for (const width of WIDTHS) {
          await page.setViewportSize({ width, height: 900 });
          await page.goto(path);
          await page.locator('#part-log').evaluateAll(([part]) => part && (part.open = true));
          await expectNarrow(page, width, path);
          found.push(...(await violations(page, `${path} at ${width}`)));
        }
      }
      assert.deepEqual(found, []);
    });
    await rest(instance, 'DELETE', `/log-forwarders/${id}`);
  });
}
