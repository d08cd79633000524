// Before anything is built: jobs and build settings, credentials, and the form that says what to deploy.
// What is secret is in no page, whatever was wrong with the form.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PASSWORD, launchBrowser, rest, signIn, startInstance, violations, withPage } from './support.mjs';

const SECRET = 'hunter2-never-shown';

let browser;
let instance;

before(async () => {
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD })]);
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

for (const javaScript of [true, false]) {
  test(`what is built, by forms, javaScript ${javaScript}`, async () => {
    const app = javaScript ? 'docs' : 'docs-plain';
    await rest(instance, 'POST', '/apps', { app_name: app, container_port: 8080 });
    const about = { name: 'sources', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      const found = [];
      const see = async (what) => {
        await look(what);
        assert.ok(!(await page.content()).includes(SECRET), `${what} holds the secret`);
        if (javaScript) found.push(...(await violations(page, what)));
      };
      await signIn(page);
      await buildSettings(page, see, app);
      await credentials(page, see);
      await deployForm(page, see, app);
      await archive(page, see, app);
      assert.deepEqual(found, []);
    });
  });
}

async function buildSettings(page, see, app) {
  const part = (name) => page.locator('details.part > summary').filter({ hasText: new RegExp(`^${name}`) });
  const tests = page.getByRole('group', { name: 'Tests' });
  await page.goto(`/apps/${app}`);
  await part('Building').click();
  await page.getByLabel(/^Build arguments to set/).fill('MODE=demo');
  await page.getByLabel(/^Build secrets to set/).fill(`NPM_TOKEN=${SECRET}`);
  await part('Jobs').click();
  await tests.getByLabel(/^Command/).fill('./test\n--all');
  await tests.getByLabel('Time limit').fill('0');
  await see('settings-typed');
  await send(page, 'Save settings', 422);
  await page.getByText('Must be 1 to 14400, not').first().waitFor();
  assert.equal(await tests.getByLabel(/^Command/).inputValue(), './test\n--all');
  assert.equal(await page.getByLabel(/^Build secrets to set/).inputValue(), '', 'the secret came back');
  await page.getByText('Type it again').first().waitFor();
  await see('settings-refused');

  await page.getByLabel(/^Build secrets to set/).fill(`NPM_TOKEN=${SECRET}`);
  await tests.getByLabel('Time limit').fill('60');
  await send(page, 'Save settings', 303);
  await page.getByText('The settings are saved.').waitFor();
  const settings = await rest(instance, 'GET', `/apps/${app}`);
  assert.deepEqual(settings.jobs.test.command, ['./test', '--all']);
  assert.deepEqual(settings.build.secret_names, ['NPM_TOKEN']);
  await part('Building').click();
  await page.getByRole('code').filter({ hasText: 'NPM_TOKEN' }).waitFor();
  await see('settings-saved');
}

async function credentials(page, see) {
  await page.goto('/credentials');
  await page.getByText('No credentials yet').waitFor();
  await page.getByLabel('Host', { exact: true }).fill('https://wrong.example.com');
  await page.getByLabel('User', { exact: true }).fill('ci');
  await page.getByLabel('Password or token').fill(SECRET);
  await send(page, 'Store credential', 422);
  assert.equal(await page.getByLabel('Host', { exact: true }).inputValue(), 'https://wrong.example.com');
  assert.equal(await page.getByLabel('Password or token').inputValue(), '', 'the secret came back');
  await page.getByText('Type it again').first().waitFor();
  await see('credential-refused');

  // Only what the choice needs is shown.
  assert.ok(!(await page.getByLabel('Private key', { exact: true }).isVisible()));
  await page.getByLabel('Git repositories over ssh').check();
  assert.ok(await page.getByLabel('Private key', { exact: true }).isVisible());
  assert.ok(!(await page.getByLabel('Password or token').isVisible()));
  await see('credential-key');
  await page.getByLabel('An image registry').check();
  await page.getByLabel('Host', { exact: true }).fill('registry.example.com:5000');
  await page.getByLabel('Password or token').fill(SECRET);
  await send(page, 'Store credential', 303);
  await page.getByText('The credential is stored.').waitFor();
  await see('credential-stored');

  await page.getByRole('link', { name: 'Remove registry.example.com:5000' }).click();
  await page.getByRole('heading', { level: 1, name: 'Remove registry.example.com:5000' }).waitFor();
  await see('credential-remove');
  await page.getByRole('button', { name: 'Remove registry.example.com:5000' }).click();
  await page.getByText('No credentials yet').waitFor();
}

async function deployForm(page, see, app) {
  await page.goto(`/apps/${app}/deploy`);
  assert.ok(await page.getByLabel('Image', { exact: true }).isVisible());
  await page.getByLabel('A git repository').check();
  assert.ok(!(await page.getByLabel('Image', { exact: true }).isVisible()));
  await page.getByLabel('Repository', { exact: true }).fill('--upload-pack=x');
  await page.getByLabel(/^Branch, tag or commit/).fill('main');
  await page.getByLabel('With its submodules').check();
  await page.getByLabel('Checks').selectOption('strict');
  await send(page, 'Deploy', 422);
  const repository = page.getByLabel('Repository', { exact: true });
  assert.equal(await repository.inputValue(), '--upload-pack=x');
  assert.equal(await repository.getAttribute('aria-invalid'), 'true');
  assert.ok(await page.getByLabel('A git repository').isChecked());
  assert.ok(await page.getByLabel('With its submodules').isChecked());
  assert.equal(await page.getByLabel('Checks').inputValue(), 'strict');
  await see('deploy-refused');

  await repository.fill('https://git.example.com/team/docs.git');
  await send(page, 'Show the plan first', 200);
  const plan = page.getByRole('region', { name: 'The plan' });
  await plan.getByText('https://git.example.com/team/docs.git main').waitFor();
  await plan.getByText('./test --all').waitFor();
  await see('deploy-plan');
  const { total } = await rest(instance, 'GET', `/deployments?app_name=${app}`);
  assert.ok(!total, 'showing the plan did something');
}

async function archive(page, see, app) {
  await page.goto(`/apps/${app}/deploy`);
  await page.getByLabel('An archive').check();
  await page.getByRole('link', { name: 'choose an archive' }).click();
  await page.getByRole('heading', { level: 1, name: 'Send an archive' }).waitFor();
  await send(page, 'Send', 422);
  await page.getByText('Must be chosen.').first().waitFor();
  await see('archive-refused');
  await page.getByLabel('Archive', { exact: true }).setInputFiles({
    name: 'source.tar',
    mimeType: 'application/x-tar',
    buffer: Buffer.alloc(10_240),
  });
  await send(page, 'Send', 303);
  await page.getByText('The archive is here.').waitFor();
  assert.ok(await page.getByLabel('An archive').isChecked());
  assert.match(await page.getByLabel('Archive', { exact: true }).inputValue(), /^up-/);
  await see('archive-sent');
}

/** Presses a button, waits for the page that follows, and looks at the status of the answer. */
async function send(page, button, status) {
  const [response] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: button, exact: true }).click(),
  ]);
  assert.equal(response.status(), status, button);
  await page.waitForLoadState();
}
