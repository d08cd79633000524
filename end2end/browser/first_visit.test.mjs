// The very first visit: the one-time link makes the account, and the account gets in and out.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PASSWORD, launchBrowser, startInstance, withPage } from './support.mjs';

let browser;

before(async () => {
  browser = await launchBrowser();
});

after(() => browser?.close());

for (const javaScript of [true, false]) {
  test(`the set-up link works once, javaScript ${javaScript}`, async () => {
    const instance = await startInstance();
    try {
      const token = (await readFile(join(instance.data_dir, 'set-up-token'), 'utf8')).trim();
      const about = { name: 'first-visit', javaScript, baseURL: instance.url };
      await withPage(browser, about, (page, look) => firstVisit(page, look, `/setup/${token}`));
    } finally {
      await instance.stop();
    }
  });
}

async function firstVisit(page, look, link) {
  // Without an account there is nothing to sign in to: every page says where the link is.
  await page.goto('/apps');
  assert.equal(new URL(page.url()).pathname, '/setup');
  await page.getByText('one-time link').waitFor();
  await look('where-the-link-is');

  await page.goto(link);
  await page.getByLabel('Name').fill('admin');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('Password again').fill('something else');
  await look('set-up');
  const refused = await submitted(page, 'Create the account');
  assert.equal(refused.status(), 422);
  await page.getByText('Must be the same as the password above').first().waitFor();
  assert.equal(await page.getByLabel('Name').inputValue(), 'admin');
  await look('set-up-refused');

  await page.getByLabel('Password', { exact: true }).fill('short');
  await page.getByLabel('Password again').fill('short');
  assert.equal((await submitted(page, 'Create the account')).status(), 422);

  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('Password again').fill(PASSWORD);
  await submitted(page, 'Create the account');
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  await page.getByRole('link', { name: 'Create the first app' }).waitFor();
  await look('signed-in');

  const again = await page.goto(link);
  assert.ok(again.status() >= 400 && again.status() < 500, `the used link answered ${again.status()}`);
  await page.getByRole('heading', { name: 'This link does not work' }).waitFor();
  assert.equal(await page.getByLabel('Password').count(), 0, 'a used link still shows the form');
  await look('link-used-twice');

  await page.goto('/');
  await signOut(page);
  assert.equal(new URL(page.url()).pathname, '/sign-in');
  await page.goto('/apps');
  assert.equal(new URL(page.url()).pathname, '/sign-in', 'signed out, but pages are shown');

  await page.getByLabel('Name').fill('admin');
  await page.getByLabel('Password').fill('not the password');
  assert.equal((await submitted(page, 'Sign in')).status(), 401);
  const alert = page.getByRole('alert');
  assert.match(await alert.innerText(), /name or the password is wrong/i);
  assert.doesNotMatch(await alert.innerText(), /Authorization|Bearer/, 'a person is told to send a header');
  assert.equal(await page.getByLabel('Name').inputValue(), 'admin', 'the name was lost');
  assert.equal(await page.getByLabel('Password').inputValue(), '', 'the password came back');
  await look('wrong-password');

  await page.getByLabel('Password').fill(PASSWORD);
  await submitted(page, 'Sign in');
  // Where one wanted to go in the first place.
  await page.getByRole('heading', { level: 1, name: 'Apps' }).waitFor();
}

async function signOut(page) {
  await page.getByRole('group').filter({ hasText: 'Signed in as admin' }).locator('summary').click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { level: 1, name: 'Sign in' }).waitFor();
}

/** Presses the button and returns what the form was answered with. */
async function submitted(page, button) {
  const [response] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: button }).click(),
  ]);
  await page.waitForLoadState();
  return response;
}
