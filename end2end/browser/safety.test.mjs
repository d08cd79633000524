// Who may see and send what; and what every page keeps to: its origin, its policy, its weight.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { PASSWORD, finalDeployment, launchBrowser, rest, signIn, startInstance, withPage } from './support.mjs';

const HTML_LIMIT_BYTES = 50 * 1024;
const ASSETS_LIMIT_BYTES = 60 * 1024;

let browser;
let instance;
let pages;

before(async () => {
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD })]);
  await rest(instance, 'POST', '/apps', { app_name: 'shop-web', container_port: 8080 });
  const { deployment_id: id } = await rest(instance, 'POST', '/deployments', {
    app_name: 'shop-web',
    image: instance.images.v1,
  });
  assert.equal((await finalDeployment(instance, id)).status, 'success');
  pages = [
    '/',
    '/apps',
    '/apps/new',
    '/apps/shop-web',
    '/apps/shop-web/deploy',
    '/apps/shop-web/rollback',
    '/apps/shop-web/logs',
    '/apps/shop-web/delete',
    '/deployments',
    `/deployments/${id}`,
    '/people',
    '/audit',
    '/audit/1',
    '/account',
    '/account/second-factor',
    '/tokens',
    '/system',
    '/connect',
  ];
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

for (const javaScript of [true, false]) {
  test(`a stranger is asked to sign in everywhere, javaScript ${javaScript}`, async () => {
    await withPage(browser, { name: 'stranger', javaScript, baseURL: instance.url }, async (page) => {
      for (const path of pages) {
        await page.goto(path);
        assert.equal(new URL(page.url()).pathname, '/sign-in', path);
        assert.doesNotMatch(await page.content(), /shop-web\.localhost/, `${path} tells strangers about apps`);
      }
      // And is led to where they wanted to go.
      await page.goto('/apps/shop-web/logs');
      await signIn(page);
      assert.equal(new URL(page.url()).pathname, '/apps/shop-web/logs');
    });
  });

  test(`every page keeps to its origin, its policy and its weight, javaScript ${javaScript}`, async () => {
    await withPage(browser, { name: 'pages', javaScript, baseURL: instance.url }, async (page, look) => {
      const requests = [];
      page.on('request', (request) => requests.push(request.url()));
      page.on('websocket', (socket) => requests.push(socket.url()));
      await signIn(page);
      for (const path of pages) {
        const response = await page.goto(path);
        assert.equal(response.status(), 200, path);
        await checkPolicy(response, page, path);
        // Without scripts they look the same.
        if (javaScript) await look(path.slice(1).replaceAll('/', '-').replace(/dep-.*/, 'one') || 'overview');
      }
      assert.ok(requests.length > pages.length);
      const own = new URL(instance.url).host;
      assert.deepEqual(requests.filter((url) => new URL(url).host !== own), [], 'requests left the origin');
    });
  });
}

async function checkPolicy(response, page, path) {
  const headers = response.headers();
  const policy = headers['content-security-policy'] ?? '';
  assert.match(policy, /default-src 'self'/, path);
  assert.doesNotMatch(policy, /unsafe|\*|https?:|data:/, path);
  assert.match(policy, /frame-ancestors 'none'/, path);
  assert.equal(headers['x-content-type-options'], 'nosniff', path);

  const html = await response.text();
  // Log lines carry what they hold inside, folded, so that they open without scripts. That repeats
  // itself line by line, so of a log what travels is weighed: every answer is compressed.
  const weighed = path.endsWith('/logs') ? gzipSync(html) : html;
  assert.ok(Buffer.byteLength(weighed) < HTML_LIMIT_BYTES, `${path} has ${Buffer.byteLength(weighed)} bytes`);
  assert.doesNotMatch(html, /<script(?![^>]*\bsrc=)[^>]*>/, `${path} has an inline script`);
  assert.doesNotMatch(html, /<[^>]+\s(on[a-z]+|style)=/i, `${path} has an inline handler or style`);
  assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1, `${path} has one h1`);
  assert.match(await page.title(), /FlukeDeploy/, path);
}

test('all assets together are light', async () => {
  await withPage(browser, { name: 'weight', baseURL: instance.url }, async (page) => {
    const paths = new Set();
    page.on('request', (request) => {
      const { pathname } = new URL(request.url());
      if (pathname.startsWith('/assets/')) paths.add(pathname);
    });
    await signIn(page);
    for (const path of pages) await page.goto(path);
    const sizes = {};
    for (const path of paths) {
      const content = await (await fetch(instance.url + path)).arrayBuffer();
      sizes[path] = gzipSync(Buffer.from(content)).length;
    }
    const names = Object.keys(sizes).join(' ');
    assert.ok(/\.css/.test(names) && /\.js/.test(names), `only ${names}`);
    const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
    assert.ok(total < ASSETS_LIMIT_BYTES, `${total} bytes compressed: ${JSON.stringify(sizes)}`);
  });
});

test('no script can read a cookie that lets somebody in', async () => {
  await withPage(browser, { name: 'cookies', baseURL: instance.url }, async (page) => {
    await signIn(page);
    const session = (await page.context().cookies()).filter((cookie) => /^(__Host-)?flukedeploy_(?!theme)/.test(cookie.name));
    assert.ok(session.length >= 1, 'there is no session');
    const readable = await page.evaluate(() => document.cookie);
    for (const cookie of session) {
      assert.ok(cookie.httpOnly, cookie.name);
      assert.ok(!readable.includes(cookie.value), `${cookie.name} can be read`);
    }
  });
});

test('a form on a foreign page is refused', async () => {
  const evil = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end(`<!doctype html><title>evil</title><form method="post" action="${instance.url}/apps/shop-web/delete">
      <input name="confirm" value="shop-web"><button>Win a prize</button></form>`);
  });
  await new Promise((done) => evil.listen(0, '127.0.0.1', done));
  try {
    await withPage(browser, { name: 'foreign-form', baseURL: instance.url }, async (page, look) => {
      await signIn(page);
      // Another port of the same host is the same site: its cookie travels, so the origin has to tell.
      await page.goto(`http://127.0.0.1:${evil.address().port}/`);
      const [response] = await Promise.all([
        page.waitForResponse((response) => response.request().method() === 'POST'),
        page.getByRole('button').click(),
      ]);
      assert.equal(response.status(), 403);
      await page.getByRole('heading', { name: 'This came from another site' }).waitFor();
      await look('refused');
    });
  } finally {
    evil.closeAllConnections();
    evil.close();
  }
  assert.equal((await rest(instance, 'GET', '/apps/shop-web')).app_name, 'shop-web');
});

test('the session opens neither API nor stream to a foreign page', async () => {
  await withPage(browser, { name: 'foreign-request', baseURL: instance.url }, async (page) => {
    await signIn(page);
    const cookies = await page.context().cookies();
    assert.ok(cookies.every(({ httpOnly }) => httpOnly), JSON.stringify(cookies));
    const cookie = cookies.find(({ name }) => !name.endsWith('_device'));
    assert.ok(cookie.httpOnly && cookie.sameSite === 'Lax', JSON.stringify(cookie));
    const headers = { cookie: `${cookie.name}=${cookie.value}`, 'content-type': 'application/json' };
    const send = (extra) =>
      fetch(`${instance.url}/api/v1/apps`, {
        method: 'POST',
        headers: { ...headers, ...extra },
        body: JSON.stringify({ app_name: 'forged', container_port: 80 }),
      });
    const foreigners = [{ origin: 'http://evil.example' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }];
    for (const foreign of foreigners) {
      assert.equal((await send(foreign)).status, 403, JSON.stringify(foreign));
    }
    assert.equal((await send({ origin: instance.url, 'sec-fetch-site': 'same-origin' })).status, 201);
    assert.equal((await fetch(`${instance.url}/api/v1/apps`)).status, 401);
  });
});
