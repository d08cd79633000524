// The scaffolding itself: Chromium runs, scripts can be switched off, and faults of a page are noticed.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launchBrowser, withPage } from './support.mjs';

const PAGE = `<!doctype html><title>t</title><h1>plain</h1>
<script>document.querySelector('h1').textContent = 'scripted';
if (location.search === '?throw') throw new Error('on purpose');</script>`;

let browser;
let server;
let baseURL;

before(async () => {
  server = createServer((request, response) => {
    response.statusCode = request.url === '/broken' ? 503 : 200;
    response.setHeader('content-type', 'text/html');
    response.end(PAGE);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  baseURL = `http://127.0.0.1:${server.address().port}`;
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
});

test('a page is rendered with and without scripts', async () => {
  for (const [javaScript, text] of [[true, 'scripted'], [false, 'plain']]) {
    await withPage(browser, { name: 'scaffolding', javaScript, baseURL }, async (page) => {
      await page.goto('/');
      assert.equal(await page.textContent('h1'), text);
    });
  }
});

test('a script that throws and an answer of 5xx fail a journey', async () => {
  for (const [path, fault] of [['/?throw', /on purpose/], ['/broken', /503/]]) {
    const journey = withPage(browser, { name: 'scaffolding-fault', baseURL }, (page) => page.goto(path));
    await assert.rejects(journey, fault);
  }
});
