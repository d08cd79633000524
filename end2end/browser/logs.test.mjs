// The log explorer: what one looks for is found and stays where it is, whatever apps print.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
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

const APP = 'chatty';
const WIDTHS = [390, 1024, 1600];
// What a page must show and never do. Terminal codes and what turns text are gone before anything is stored.
const HOSTILE = [
  '<script>globalThis.hacked = 1</script>',
  '<img src=x onerror="globalThis.hacked = 1">',
  'said \u202egnihtyreve\u202c and zero\u200bwidth',
  'עברית first, then latin',
  `${'long '.repeat(400)}end`,
];
let browser;
let instance;
let deployment;

before(async () => {
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD })]);
  await rest(instance, 'POST', '/apps', { app_name: APP, container_port: 8080 });
  await rest(instance, 'POST', '/apps', { app_name: 'silent', container_port: 8080 });
  const { deployment_id: id } = await rest(instance, 'POST', '/deployments', {
    app_name: APP,
    image: instance.images.v1,
  });
  assert.equal((await finalDeployment(instance, id)).status, 'success');
  deployment = id;
  await say([
    ...HOSTILE,
    JSON.stringify({ level: 'error', msg: 'payment failed', order: 4711, amount: '12.50' }),
    'java.io.IOException: disk is gone\n\tat a.B.write(B.java:7)\n\tat a.B.main(B.java:3)',
    'WARN the cache is cold',
    'again and again',
    'again and again',
    'again and again',
    'last words',
  ]);
  await stored('last words');
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

/** Has the app print this, through the ingress. */
function say(lines) {
  return new Promise((done, failed) => {
    const options = {
      host: '127.0.0.1',
      port: instance.http_port,
      path: '/say',
      method: 'POST',
      headers: { host: `${APP}.localhost`, 'content-type': 'text/plain' },
    };
    httpRequest(options, (answer) => {
      answer.resume();
      answer.on('end', () => (answer.statusCode === 204 ? done() : failed(new Error(`said: ${answer.statusCode}`))));
    })
      .on('error', failed)
      .end(lines.join('\n'));
  });
}

const find = async (q, more = '') =>
  (await rest(instance, 'GET', `/logs?app_name=${APP}&q=${encodeURIComponent(q)}&limit=1000${more}`)).logs;

const stored = (text) => until(`'${text}' in the store`, 30_000, async () => (await find(`"${text}"`)).length > 0);

const numbered = (word, count) => Array.from({ length: count }, (_, number) => `${word} ${number + 1} of ${count}`);

const entries = (page) => page.locator('#log > .entry');

const line = (page, text) => entries(page).filter({ has: page.locator('.entry-text', { hasText: text }) });

/** How far it is scrolled, and how far from its end that is. */
const scrolled = (page) =>
  page.locator('#log').evaluate((log) => ({ top: log.scrollTop, left: log.scrollHeight - log.scrollTop - log.clientHeight }));

for (const javaScript of [true, false]) {
  const kind = javaScript ? 'with' : 'without';

  for (const width of WIDTHS) {
    test(`what is looked for is found, ${kind} JavaScript at ${width} px`, async () => {
      const viewport = { width, height: 900 };
      const about = { name: `logs-${width}`, javaScript, baseURL: instance.url, viewport };
      await withPage(browser, about, async (page) => {
        await signIn(page);
        await page.goto(`/apps/${APP}/logs`);
        await line(page, 'last words').waitFor();

        // A filter is an address; what was typed stays.
        await page.getByLabel('Text').fill('"payment failed"');
        await page.getByLabel('Level').selectOption('error');
        await page.getByRole('button', { name: 'Filter' }).click();
        await page.waitForURL((url) => url.searchParams.get('q') === '"payment failed"');
        assert.equal(await entries(page).count(), 1);
        assert.equal(await page.getByLabel('Text').inputValue(), '"payment failed"');
        assert.equal(await page.getByLabel('Level').inputValue(), 'error');
        await page.getByText('1 entry in the last 24 hours').waitFor();

        // All of it is inside, and each part leads to its like.
        const one = line(page, 'payment failed');
        await one.locator('summary').click();
        await one.getByRole('row', { name: 'order 4711' }).waitFor();
        await one.getByRole('row', { name: 'amount 12.50' }).waitFor();
        await one.getByText('Replica', { exact: true }).waitFor();
        const link = one.getByRole('link', { name: 'Link to this line' });
        const [entry] = await find('"payment failed"');
        assert.equal(await link.evaluate((at) => at.href), `${instance.url}/apps/${APP}/logs?id=${entry.id}#e-${entry.id}`);

        // The link to a line shows it among its neighbours, whatever the filter was.
        await link.click();
        await line(page, 'last words').waitFor();
        const here = page.locator('.entry-here');
        assert.equal(await here.count(), 1);
        assert.equal(await here.getAttribute('data-entry'), entry.id);
        await here.getByRole('row', { name: 'order 4711' }).waitFor();
        await line(page, 'sample app v1 listens').waitFor();

        // What cannot be read is said beside the field, and is kept.
        await page.goto(`/apps/${APP}/logs`);
        await page.getByLabel('Text').fill('/pay(/');
        await page.getByRole('button', { name: 'Filter' }).click();
        await page.getByText('Nothing was searched').first().waitFor();
        const field = page.getByLabel('Text');
        assert.equal(await field.inputValue(), '/pay(/');
        assert.equal(await field.getAttribute('aria-invalid'), 'true');
        const fault = page.locator(`#${(await field.getAttribute('aria-describedby')).split(' ')[0]}`);
        assert.match(await fault.innerText(), /expression/i);
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
      });
    });
  }

  test(`a bar narrows the time, ${kind} JavaScript`, async () => {
    const about = { name: 'logs-time', javaScript, baseURL: instance.url, viewport: { width: 1280, height: 900 } };
    await withPage(browser, about, async (page, look) => {
      await signIn(page);
      await page.goto(`/apps/${APP}/logs?range=1h`);
      const bar = page.locator('.histogram-bars .bar').last();
      const href = await bar.getAttribute('href');
      const ends = new URL(href, instance.url).searchParams;
      assert.equal(Date.parse(ends.get('until')) - Date.parse(ends.get('since')), 60_000);
      await look('hour');
      await bar.click();
      await page.waitForURL((url) => url.search === new URL(href, instance.url).search);
      const times = await entries(page).locator('summary > time').evaluateAll((all) => all.map((time) => time.dateTime));
      assert.ok(times.length > 0 && times.every((time) => time >= ends.get('since') && time < ends.get('until')), times.join());
      // The same as a table, for a keyboard.
      await page.getByText('Counts as a table').click();
      const row = page.getByRole('row').filter({ has: page.getByRole('rowheader') }).first();
      await row.getByRole('link').click();
      await until('a narrower time', 5000, () => new URL(page.url()).searchParams.get('since') !== ends.get('since') ||
        new URL(page.url()).searchParams.get('until') !== ends.get('until'));
      // The deployment is a mark that leads to it.
      await page.goto(`/apps/${APP}/logs?range=1h`);
      await page.getByRole('list', { name: 'Deployments in this time' }).getByRole('link').first().click();
      await page.waitForURL((url) => url.pathname === `/deployments/${deployment}`);
    });
  });

  test(`what an app prints is only text, ${kind} JavaScript`, async () => {
    const about = { name: 'logs-hostile', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      await signIn(page);
      await page.goto(`/apps/${APP}/logs`);
      await line(page, HOSTILE[0]).waitFor();
      await line(page, HOSTILE[1]).waitFor();
      await line(page, 'said gnihtyreve and zero‹U+200B›width').waitFor();
      const long = line(page, 'long long long');
      assert.ok((await long.boundingBox()).height <= 130, 'a long line is cut while it is closed');
      await long.locator('summary').click();
      await long.getByText(/long end$/).waitFor();
      const trace = line(page, 'java.io.IOException');
      await trace.getByText('stack trace').first().waitFor();
      await trace.locator('summary').click();
      await trace.locator('pre', { hasText: 'at a.B.main(B.java:3)' }).waitFor();
      await line(page, 'again and again').getByText('×3').waitFor();
      await look('lines');
      assert.equal(await page.evaluate(() => globalThis.hacked).catch(() => undefined), undefined);
      assert.equal(await page.locator('#log script, #log img').count(), 0);
    });
  });

  test(`a download has what the filter says, ${kind} JavaScript`, async () => {
    const about = { name: 'logs-download', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page) => {
      await signIn(page);
      await page.goto(`/apps/${APP}/logs?q=${encodeURIComponent('"again and again"')}`);
      for (const [word, wanted] of [['As text', /chatty again and again$/], ['As JSON, one entry a line', /"message":"again and again"/]]) {
        await page.getByText('Download', { exact: true }).click();
        const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: word }).click()]);
        assert.match(download.suggestedFilename(), /^chatty-logs\.(txt|ndjson)$/);
        const lines = (await readFile(await download.path(), 'utf8')).trimEnd().split('\n');
        assert.equal(lines.length, 3);
        for (const text of lines) assert.match(text, wanted);
        await page.reload();
      }
    });
  });
}

// From here on there is too much for one page.
for (const javaScript of [true, false]) {
  const kind = javaScript ? 'with' : 'without';

  test(`older and newer entries are a link away, ${kind} JavaScript`, async () => {
    await say(numbered(`${kind}page`, 450));
    await stored(`${kind}page 450 of 450`);
    const about = { name: 'logs-paging', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page) => {
      await signIn(page);
      await page.goto(`/apps/${APP}/logs?q=${kind}page`);
      const first = async () => entries(page).first().locator('.entry-text').innerText();
      assert.match(await first(), /page 251 of/);
      await page.getByRole('link', { name: 'Older entries' }).click();
      await until('the page before', 5000, async () => /page 51 of/.test(await first()));
      // Stable while lines arrive.
      await say([`${kind}page 451 of 450`]);
      await stored(`${kind}page 451 of 450`);
      await page.reload();
      assert.match(await first(), /page 51 of/);
      await page.getByRole('link', { name: 'Newer entries' }).click();
      await until('the page after', 5000, async () => /page 251 of/.test(await first()));
      await page.getByRole('link', { name: 'Newer entries' }).click();
      await until('the newest', 5000, async () => /page 451 of/.test(await first()));
    });
  });
}

test('a pause holds lines back, and afterwards each is there once', async () => {
  const about = { name: 'logs-pause', baseURL: instance.url };
  await withPage(browser, about, async (page, look) => {
    await signIn(page);
    await page.goto(`/apps/${APP}/logs?q=pause+-without`);
    await page.getByText('Live', { exact: true }).waitFor();
    await say(numbered('pause', 20));
    await line(page, 'pause 20 of 20').waitFor();
    const pause = page.getByRole('button', { name: /Pause|Resume/ });
    await page.keyboard.press('p');
    await page.getByRole('button', { name: 'Resume', exact: true }).waitFor();
    // The same rule as for stored lines: a word, and one that must not be there.
    await say([...numbered('pause', 30).map((text) => `while ${text}`), 'pause without', 'of something else']);
    await page.getByRole('button', { name: 'Resume: 30 new entries' }).waitFor();
    assert.equal(await entries(page).count(), 20);
    await look('paused');
    await pause.click();
    await line(page, 'while pause 30 of 30').waitFor();
    const shown = await entries(page).evaluateAll((all) => all.map((one) => one.querySelector('.entry-text').textContent));
    const wanted = [...numbered('pause', 20), ...numbered('pause', 30).map((text) => `while ${text}`)];
    assert.deepEqual(shown, wanted);
    assert.ok((await scrolled(page)).left < 24, 'the newest line is in sight');
  });
});

test('who scrolled up stays there, and is told how much is new', async () => {
  await say(numbered('scroll', 150));
  await stored('scroll 150 of 150');
  const about = { name: 'logs-scroll', baseURL: instance.url };
  await withPage(browser, about, async (page, look) => {
    await signIn(page);
    await page.goto(`/apps/${APP}/logs?q=scroll`);
    await page.getByText('Live', { exact: true }).waitFor();
    assert.ok((await scrolled(page)).left < 24, 'it begins at its end');
    await page.locator('#log').evaluate((log) => (log.scrollTop = 300));
    await until('the scroll', 2000, async () => (await scrolled(page)).top === 300);
    await say(numbered('scroll more', 40));
    const toNew = page.getByRole('button', { name: '40 new entries' });
    await toNew.waitFor();
    assert.equal((await scrolled(page)).top, 300);
    await look('held');
    await toNew.click();
    await line(page, 'scroll more 40 of 40').waitFor();
    assert.ok((await scrolled(page)).left < 24);
    await say(['scroll on']);
    await line(page, 'scroll on').waitFor();
    assert.ok((await scrolled(page)).left < 24, 'it follows again');
  });
});

test('lines that come live are as harmless as stored ones, and open', async () => {
  const about = { name: 'logs-live', baseURL: instance.url };
  await withPage(browser, about, async (page, look) => {
    await signIn(page);
    await page.goto(`/logs?app=${APP}&level=info`);
    await page.getByText('Live', { exact: true }).waitFor();
    await say([...HOSTILE.map((text) => `live ${text}`), JSON.stringify({ level: 'warn', msg: 'live fields', size: 7 }), 'DEBUG not shown here', 'live end']);
    await line(page, 'live end').waitFor();
    await line(page, `live ${HOSTILE[0]}`).waitFor();
    await line(page, 'live said gnihtyreve and zero‹U+200B›width').waitFor();
    assert.equal(await line(page, 'not shown here').count(), 0);
    const one = line(page, 'live fields');
    await one.locator('summary').click();
    await one.getByRole('row', { name: 'size 7' }).waitFor();
    // While it is read, nothing moves it.
    const before = await one.boundingBox();
    await say(numbered('meanwhile', 50));
    await page.getByRole('button', { name: '50 new entries' }).waitFor();
    assert.deepEqual(await one.boundingBox(), before);
    await look('open');
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
  });
});

test('a burst leaves a bounded page that still answers', async () => {
  const about = { name: 'logs-burst', baseURL: instance.url };
  await withPage(browser, about, async (page) => {
    await signIn(page);
    await page.goto(`/apps/${APP}/logs?q=burst`);
    await page.getByText('Live', { exact: true }).waitFor();
    await say(numbered('burst', 3000));
    await line(page, 'burst 3000 of 3000').waitFor({ timeout: 60_000 });
    assert.ok((await entries(page).count()) <= 2000);
    await page.getByRole('link', { name: 'Older entries' }).waitFor();
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'q');
  });
});

for (const colorScheme of ['light', 'dark']) {
  test(`axe-core finds nothing in the explorer, ${colorScheme}`, async () => {
    const about = { name: `logs-axe-${colorScheme}`, baseURL: instance.url, colorScheme };
    await withPage(browser, about, async (page) => {
      await signIn(page);
      const [entry] = await find('"payment failed"');
      const found = [];
      for (const path of [
        `/apps/${APP}/logs`,
        `/apps/${APP}/logs?q=%2F(%2F&level=error&since=2026-01-01T00:00:00Z`,
        `/apps/${APP}/logs?id=${entry.id}&context=5`,
        '/logs',
        '/apps/silent/logs',
      ]) {
        for (const width of WIDTHS) {
          await page.setViewportSize({ width, height: 900 });
          await page.goto(path);
          if (path.endsWith('logs')) {
            for (const part of ['#histogram-table', '#more-filters']) {
              await page.locator(part).evaluateAll(([details]) => details && (details.open = true));
            }
            await page.locator('#log .entry details').evaluateAll((all) => all.slice(-4).forEach((one) => (one.open = true)));
          }
          found.push(...(await violations(page, `${path} at ${width}`)));
        }
      }
      assert.deepEqual(found, []);
    });
  });
}
