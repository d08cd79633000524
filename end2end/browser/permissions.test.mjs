// What is granted is what is seen: a teammate gets one app, sees nothing else, and loses it again.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  OTHER_PASSWORD,
  PASSWORD,
  comeIn,
  launchBrowser,
  rest,
  signIn,
  startInstance,
  violations,
  withPage,
} from './support.mjs';

let browser;
let instance;

before(async () => {
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD })]);
  for (const app_name of ['shop-web', 'bank-api']) await rest(instance, 'POST', '/apps', { app_name });
  await comeIn(browser, instance, { name: 'ann' });
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

async function submitted(page, button) {
  const [response] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: button }).first().click(),
  ]);
  await page.waitForLoadState();
  return response;
}

/** The apps that a page of apps names. */
async function appsSeen(page) {
  await page.goto('/apps');
  const text = await page.locator('main').innerText();
  return ['shop-web', 'bank-api'].filter((name) => text.includes(name));
}

for (const javaScript of [true, false]) {
  test(`a teammate has the app that was granted and no other, javaScript ${javaScript}`, async () => {
    const about = { name: `permissions-${javaScript ? 'js' : 'nojs'}`, javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      await signIn(page);
      await page.goto('/people');
      await page.getByRole('link', { name: 'Permissions' }).click();
      await page.getByLabel('App (optional)', { exact: true }).fill('no such app');
      await page.getByLabel('Only in environments').fill('staging');
      assert.equal((await submitted(page, 'Grant')).status(), 422);
      assert.equal(await page.getByLabel('Only in environments').inputValue(), 'staging');
      await look('refused');
      await page.getByLabel('Only in environments').fill('');
      await page.getByLabel('App (optional)', { exact: true }).fill('shop-web');
      await page.getByLabel('Role', { exact: true }).selectOption('deployer');
      assert.equal((await submitted(page, 'Grant')).status(), 303);
      await page.goto('/permissions');
      await page.getByRole('cell', { name: 'Deployer', exact: true }).waitFor();
      await look('granted');
      if (javaScript) assert.deepEqual(await violations(page, 'permissions'), []);

      await withPage(browser, { ...about, name: `${about.name}-ann` }, async (teammate, look) => {
        await teammate.goto('/sign-in');
        await teammate.getByLabel('Name').fill('ann');
        await teammate.getByLabel('Password').fill(OTHER_PASSWORD);
        await submitted(teammate, 'Sign in');
        await look('overview');
        assert.deepEqual(await appsSeen(teammate), ['shop-web']);
        await look('apps');
        const offered = await teammate.getByRole('navigation', { name: 'Main' }).innerText();
        for (const closed of ['People', 'Credentials', 'Webhooks', 'System']) {
          assert.ok(!offered.includes(closed), `${closed} is offered`);
        }
        assert.equal((await teammate.goto('/apps/bank-api')).status(), 404);
        assert.equal((await teammate.goto('/permissions')).status(), 403);
        assert.equal((await teammate.goto('/apps/shop-web')).status(), 200);
        await submitted(page, 'Withdraw the role');
        assert.deepEqual(await appsSeen(teammate), []);
        assert.equal((await teammate.goto('/apps/shop-web')).status(), 404);
      });
    });
  });
}

test('a token for one app is made by the form', async () => {
  await withPage(browser, { name: 'narrow-token', javaScript: true, baseURL: instance.url }, async (page, look) => {
    await signIn(page);
    await page.goto('/tokens');
    await page.getByLabel('Name').fill('ci of shop');
    await page.getByLabel('Only for apps').fill('shop-web');
    await page.getByLabel('Its role there').selectOption('viewer');
    await look('form');
    assert.equal((await submitted(page, 'Create token')).status(), 201);
    const token = await page.locator('#new-token').innerText();
    const answer = await fetch(`${instance.url}/api/v1/apps`, { headers: { authorization: `Bearer ${token}` } });
    const { apps } = await answer.json();
    assert.deepEqual(apps.map((app) => app.app_name), ['shop-web']);
  });
});
