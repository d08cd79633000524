// A secret is delivered as a file, and a project shares variables with its apps: by forms, with and
// without JavaScript, and nothing that was typed as a secret comes back.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  OTHER_PASSWORD,
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

const SECRET = '-----BEGIN PRIVATE KEY-----\nhunter2-and-more\n-----END PRIVATE KEY-----\n';

let browser;
let instance;

before(async () => {
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD })]);
  await comeIn(browser, instance, { name: 'ann' });
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

async function submitted(page, button) {
  const [response] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: button, exact: true }).click(),
  ]);
  await page.waitForLoadState();
  return response.status();
}

/** Every list of variables of the page, a text each: read in one go. */
function variables(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll('ul.variables')].map((list) => list.innerText.replace(/\s+/g, ' ')).join(' | '));
}

async function lacksSecrets(page) {
  const html = await page.content();
  assert.ok(!html.includes('hunter2'), 'a secret is in the page');
}

for (const javaScript of [true, false]) {
  const mode = javaScript ? 'js' : 'nojs';
  const app = `shop-${mode}`;
  const project = `office-${mode}`;

  test(`a secret becomes a file and a project shares variables, javaScript ${javaScript}`, async () => {
    const settings = { container_port: 8080, health: { path: '/health' }, env_vars: { LOG_LEVEL: 'info' } };
    await rest(instance, 'POST', '/apps', { app_name: app, ...settings });
    await withPage(browser, { name: 'projects', javaScript, baseURL: instance.url }, async (page, look) => {
      await signIn(page);
      await page.goto(`/apps/${app}`);
      const asFile = page.getByRole('group', { name: 'A secret as a file' });
      await asFile.getByLabel('Its name').fill('TLS_KEY');
      await asFile.getByLabel('File name').fill('../tls.key');
      await asFile.getByLabel('What it holds').fill(SECRET);
      assert.equal(await submitted(page, 'Save settings'), 422);
      // What is no secret is still there; the secret has to be typed again.
      assert.equal(await asFile.getByLabel('Its name').inputValue(), 'TLS_KEY');
      assert.equal(await asFile.getByLabel('What it holds').inputValue(), '');
      await lacksSecrets(page);
      await look('refused');
      await asFile.getByLabel('File name').fill('tls.key');
      await asFile.getByLabel('What it holds').fill(SECRET);
      assert.equal(await submitted(page, 'Save settings'), 303);
      await page.goto(`/apps/${app}`);
      assert.match(await variables(page), /TLS_KEY Secret as \/run\/secrets\/tls\.key/);
      await lacksSecrets(page);

      await page.goto('/apps');
      await page.getByRole('link', { name: 'Projects' }).click();
      await page.getByRole('heading', { level: 1, name: 'Projects' }).waitFor();
      await page.getByLabel('App', { exact: true }).selectOption(app);
      await page.getByLabel('Project (optional)').fill(project);
      assert.equal(await submitted(page, 'Put'), 303);
      await page.goto(`/projects/${project}`);
      await page.getByLabel('Add or replace (optional)', { exact: true }).fill('LOG_LEVEL=debug\nREGION=north');
      await page.getByLabel('Secret variables to add or replace').fill('API_KEY=hunter2-of-the-project');
      await asFile.getByLabel('Its name').fill('CERT');
      await asFile.getByLabel('What it holds').fill(SECRET);
      await look('project-form');
      assert.equal(await submitted(page, 'Save variables'), 303);
      await page.goto(`/projects/${project}?saved=1`);
      await look('project');
      await lacksSecrets(page);
      assert.match(await variables(page), /API_KEY Secret .*CERT Secret as \/run\/secrets\/CERT/);
      if (javaScript) assert.deepEqual(await violations(page, 'project'), []);

      await page.goto(`/apps/${app}`);
      await look('app');
      await lacksSecrets(page);
      const shown = await variables(page);
      assert.match(shown, /LOG_LEVEL Overridden by this app/);
      assert.match(shown, /REGION From the project/);
      if (javaScript) assert.deepEqual(await violations(page, 'app'), []);

      // With the next release the app has all of it.
      const deployment = { app_name: app, image: instance.images.v1 };
      const { deployment_id: id } = await rest(instance, 'POST', '/deployments', deployment);
      assert.equal((await finalDeployment(instance, id)).status, 'success');
      const { releases } = await rest(instance, 'GET', `/apps/${app}/releases`);
      const names = releases[0].env_vars.map(({ key, is_shared }) => `${key}${is_shared ? ' shared' : ''}`);
      assert.deepEqual(names, ['API_KEY shared', 'CERT shared', 'LOG_LEVEL', 'REGION shared', 'TLS_KEY']);
      await page.goto(`/deployments/${id}`);
      await lacksSecrets(page);

      // A file becomes a variable again; a shared variable goes.
      await page.goto(`/projects/${project}`);
      await page.getByLabel('As a variable CERT').check();
      await page.getByLabel('Remove REGION').check();
      assert.equal(await submitted(page, 'Save variables'), 303);
      await page.goto(`/projects/${project}`);
      const left = await variables(page);
      assert.ok(!left.includes('REGION') && !left.includes('/run/secrets'), left);
    });
  });

  test(`a maintainer of one app sees the project and changes nothing of it, javaScript ${javaScript}`, async () => {
    await rest(instance, 'POST', '/apps', { app_name: `bank-${mode}` });
    await rest(instance, 'PUT', `/apps/bank-${mode}/project`, { project });
    const { users } = await rest(instance, 'GET', '/users');
    const { id: account } = users.find((user) => user.name === 'ann');
    await rest(instance, 'POST', '/grants', { account, app: app, role: 'maintainer' });
    await withPage(browser, { name: 'projects-ann', javaScript, baseURL: instance.url }, async (page, look) => {
      await page.goto('/sign-in');
      await page.getByLabel('Name').fill('ann');
      await page.getByLabel('Password').fill(OTHER_PASSWORD);
      await submitted(page, 'Sign in');
      await page.goto(`/projects/${project}`);
      await look('project');
      const text = await page.locator('main').innerText();
      assert.match(text, /only a maintainer of all of them/);
      assert.ok(text.includes(app) && !text.includes('bank'), text);
      assert.equal(await page.getByRole('button', { name: 'Save variables' }).count(), 0);
      assert.equal((await page.goto('/projects/nowhere')).status(), 404);
      await page.goto('/projects');
      assert.equal(await page.getByRole('button', { name: 'Put', exact: true }).count(), 0);
    });
  });
}
