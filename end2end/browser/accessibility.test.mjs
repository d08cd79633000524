// Every page in both themes: no violation that axe-core can find, nothing wider than a telephone, and a
// keyboard is enough.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { arrive } from './deployment_page.mjs';
import {
  PASSWORD,
  comeIn,
  finalDeployment,
  launchBrowser,
  rest,
  signIn,
  startInstance,
  violations,
  withPage,
} from './support.mjs';

let browser;
let instance;
let pages;

before(async () => {
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD })]);
  await rest(instance, 'POST', '/apps', { app_name: 'shop-web', container_port: 8080, env_vars: { LOG_LEVEL: 'info' } });
  const credential = { kind: 'registry', host: 'registry.example.com:5000', username: 'ci', secret: 'not-shown' };
  await rest(instance, 'PUT', '/credentials', credential);
  const forwarder = { kind: 'syslog', url: 'tls://192.0.2.7:6514', app_name: 'shop-web' };
  const made = await rest(instance, 'POST', '/log-forwarders', forwarder);
  await rest(instance, 'PATCH', '/apps/shop-web', { secret_env_vars: { API_KEY: 'kept-out-of-logs', SHORT: 'abc' } });
  await rest(instance, 'PUT', '/apps/shop-web/project', { project: 'office' });
  const shared = [
    { key: 'LOG_LEVEL', value: 'debug' },
    { key: 'TLS_KEY', value: 'kept-in-a-file', file: 'tls.key', uid: 1000 },
  ];
  await rest(instance, 'PUT', '/projects/office/variables', { env_vars: shared });
  // Somebody to manage, and somebody who has not come yet.
  await comeIn(browser, instance, { name: 'ann', display_name: 'Ann Lindqvist' });
  const ann = (await rest(instance, 'GET', '/users')).users.find((user) => user.name === 'ann');
  const { link } = await rest(instance, 'POST', '/invitations', { is_administrator: true });
  const invitation = new URL(link).pathname;
  const ids = [];
  for (const image of ['v1', 'v2', 'crashing']) {
    const { deployment_id: id } = await rest(instance, 'POST', '/deployments', {
      app_name: 'shop-web',
      image: instance.images[image],
    });
    await finalDeployment(instance, id);
    ids.push(id);
  }
  pages = [
    '/sign-in',
    '/setup',
    '/setup/used',
    '/',
    '/apps',
    '/apps/new',
    '/apps/shop-web',
    '/apps/shop-web/deploy',
    '/apps/shop-web/deploy/upload',
    '/apps/shop-web/rollback',
    '/apps/shop-web/logs',
    '/logs',
    '/apps/shop-web/delete',
    '/deployments',
    '/approvals',
    `/deployments/${ids[1]}`,
    `/deployments/${ids[2]}`,
    '/sign-in/code',
    '/invitations/used',
    '/people',
    '/audit',
    '/audit/1',
    '/permissions',
    '/projects',
    '/projects/office',
    '/account',
    '/account/confirm',
    '/account/second-factor',
    invitation,
    `/people/${ann.id}/delete`,
    `/people/${ann.id}/reset`,
    '/tokens',
    '/credentials',
    '/credentials/registry/registry.example.com%3A5000/remove',
    '/system',
    '/log-forwarders',
    `/log-forwarders/${made.id}`,
    `/log-forwarders/${made.id}/delete`,
    '/connect',
    '/nowhere',
  ];
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

for (const colorScheme of ['light', 'dark']) {
  test(`axe-core finds nothing, ${colorScheme}`, async () => {
    const about = { name: `axe-${colorScheme}`, baseURL: instance.url, colorScheme };
    await withPage(browser, about, async (page) => {
      await signIn(page);
      const found = [];
      for (const path of pages) {
        await page.goto(path);
        found.push(...(await violations(page, path)));
      }
      assert.deepEqual(found, []);
    });
  });
}

test('no page is wider than its screen', async () => {
  await withPage(browser, { name: 'narrow', baseURL: instance.url }, async (page) => {
    await signIn(page);
    const wide = [];
    for (const width of [320, 390, 1024, 1600]) {
      await page.setViewportSize({ width, height: 844 });
      for (const path of pages) {
        await page.goto(path);
        const content = await page.evaluate(() => document.documentElement.scrollWidth);
        if (content > width) wide.push(`${path} at ${width}: ${content}`);
      }
    }
    assert.deepEqual(wide, []);
  });
});

test('a keyboard is enough to sign in and to deploy', async () => {
  await withPage(browser, { name: 'keyboard', baseURL: instance.url }, async (page, look) => {
    const press = (...keys) => keys.reduce((done, key) => done.then(() => page.keyboard.press(key)), Promise.resolve());
    await page.goto('/apps/shop-web/deploy');
    await page.keyboard.type('admin');
    await press('Tab');
    await page.keyboard.type(PASSWORD);
    await press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Deploy shop-web' }).waitFor();

    // The focus lands in the first field; what it holds is replaced, and Enter sends the form.
    assert.equal(await page.evaluate(() => document.activeElement.id), 'image');
    await press('ControlOrMeta+A');
    await page.keyboard.type(instance.images.v2);
    await look('typed');
    await press('Enter');
    const id = await arrive(page);
    assert.equal((await finalDeployment(instance, id)).status, 'success');

    // The first stop is past the navigation, and every stop can be seen.
    await page.goto('/apps');
    await press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
    await press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    await page.goto('/apps/shop-web');
    const hidden = [];
    for (let stop = 0; stop < 60; stop += 1) {
      await press('Tab');
      const seen = await page.evaluate(() => {
        const element = document.activeElement;
        if (element === document.body) return 'end';
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
        const shown = (outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1) || boxShadow !== 'none';
        const { width, height } = element.getBoundingClientRect();
        return shown && width > 1 && height > 1 ? 'shown' : element.outerHTML.slice(0, 100);
      });
      if (seen === 'end') break;
      if (seen !== 'shown') hidden.push(seen);
    }
    assert.deepEqual(hidden, [], 'focus that cannot be seen');
  });
});
