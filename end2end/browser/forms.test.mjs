// Forms that are refused: nothing typed is lost, and what is wrong is said beside its field.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PASSWORD, launchBrowser, rest, signIn, startInstance, withPage } from './support.mjs';

let browser;
let instance;

before(async () => {
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD })]);
  await rest(instance, 'POST', '/apps', { app_name: 'shop-web', container_port: 8080 });
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

for (const javaScript of [true, false]) {
  test(`a refused form keeps what was typed, javaScript ${javaScript}`, async () => {
    const about = { name: 'forms', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      await signIn(page);

      await page.goto('/apps/new');
      const typed = {
        Name: 'Shop Web!',
        Image: 'not an image',
        'Container port': '99999',
        Replicas: '10000',
        Variables: 'LOG_LEVEL=info\nno equals sign',
        Domains: '-bad-.example.com',
      };
      for (const [label, value] of Object.entries(typed)) await field(page, label).fill(value);
      await page.getByLabel('A replica is healthy when').selectOption('http');
      await page.getByLabel('Strategy').selectOption('recreate');
      assert.equal((await send(page, 'Create app')).status(), 422);
      for (const [label, value] of Object.entries(typed)) {
        assert.equal(await field(page, label).inputValue(), value, `${label} was lost`);
        await faultOf(field(page, label), label);
      }
      assert.equal(await page.getByLabel('A replica is healthy when').inputValue(), 'http');
      assert.equal(await page.getByLabel('Strategy').inputValue(), 'recreate');
      await look('new-app-refused');

      // A name that is taken is no fault of its form, but is said in the same place.
      await field(page, 'Name').fill('shop-web');
      await field(page, 'Image').fill('');
      await field(page, 'Container port').fill('8080');
      await field(page, 'Replicas').fill('1');
      await field(page, 'Variables').fill('');
      await field(page, 'Domains').fill('');
      await page.getByLabel('A replica is healthy when').selectOption('tcp');
      assert.equal((await send(page, 'Create app')).status(), 409);
      assert.match(await page.getByRole('alert').innerText(), /shop-web/);
      assert.equal(await field(page, 'Name').inputValue(), 'shop-web');
      await look('name-taken');

      await page.goto('/apps/shop-web/deploy');
      await field(page, 'Image').fill('shop web:v1');
      await field(page, 'Replicas').fill('0');
      await field(page, 'Reason').fill('because <b>&amp;');
      await page.getByLabel('If it fails').uncheck();
      assert.equal((await send(page, 'Deploy')).status(), 422);
      await faultOf(field(page, 'Image'), 'Image');
      await faultOf(field(page, 'Replicas'), 'Replicas');
      assert.equal(await field(page, 'Reason').inputValue(), 'because <b>&amp;');
      assert.ok(!(await page.getByLabel('If it fails').isChecked()), 'the tick came back');
      await look('deploy-refused');

      await page.goto('/apps/shop-web/delete');
      await page.getByLabel(/^Type the app's name/).fill('shop');
      assert.equal((await send(page, 'Delete shop-web')).status(), 422);
      await faultOf(page.getByLabel(/^Type the app's name/), 'the confirmation');
      assert.equal((await rest(instance, 'GET', '/apps/shop-web')).app_name, 'shop-web');
      await look('delete-refused');
    });
  });

  test(`what is not there is said, javaScript ${javaScript}`, async () => {
    const about = { name: 'not-there', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      await signIn(page);
      assert.equal((await page.goto('/apps/shop-wbe')).status(), 404);
      await page.getByRole('main').getByRole('link', { name: 'shop-web' }).waitFor();
      await look('near-name');
      for (const path of ['/deployments/dep-1-00000000', '/nowhere', '/apps/shop-web/nowhere']) {
        assert.equal((await page.goto(path)).status(), 404, path);
        await page.getByRole('heading', { level: 1 }).waitFor();
      }
      await look('nowhere');
    });
  });
}

/** By its label, which ends with "(optional)" where nothing need be typed. */
function field(page, label) {
  return page.getByRole('textbox', { name: new RegExp(`^${label}( \\(optional\\))?$`) });
}

/** The field is marked as wrong, and its description says what is. */
async function faultOf(input, what) {
  assert.equal(await input.getAttribute('aria-invalid'), 'true', `${what} is not marked`);
  const words = await input.evaluate((element) =>
    element.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id)?.innerText));
  assert.ok(words.some((text) => /\b(must|may|needs|cannot)\b/i.test(text ?? '')), `${what} says ${words}`);
}

async function send(page, button) {
  const [response] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: button, exact: true }).click(),
  ]);
  await page.waitForLoadState();
  return response;
}
