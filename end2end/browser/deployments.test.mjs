// An app's life by forms alone: created, deployed, deployed again, failed, rolled back. What the page
// says is compared with REST, and with what the ingress serves.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHASES, WORDS, arrive, ended, fact, phases, sentence } from './deployment_page.mjs';
import {
  DEPLOYMENT_TIMEOUT_MS,
  PASSWORD,
  finalDeployment,
  launchBrowser,
  rest,
  served,
  signIn,
  startInstance,
  until,
  withPage,
} from './support.mjs';

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
  test(`an app's life by forms, javaScript ${javaScript}`, async () => {
    const app = javaScript ? 'shop-web' : 'shop-plain';
    const about = { name: 'deployments', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      await signIn(page);
      await firstDeployment(page, look, app, javaScript);
      await secondVersion(page, look, app);
      await failedDeployment(page, look, app);
      await rollBack(page, look, app);
    });
  });
}

async function firstDeployment(page, look, app, javaScript) {
  await page.goto('/apps');
  await page.getByRole('main').getByRole('link', { name: /^(New app|Create the first app)$/ }).first().click();
  await page.getByLabel('Name', { exact: true }).fill(app);
  await page.getByLabel(/^Image/).fill(instance.images.slow);
  await page.getByLabel('Container port').fill('8080');
  await page.getByLabel('A replica is healthy when').selectOption({ label: 'HTTP: a path answers 200 to 399' });
  await page.getByLabel(/^Health path/).fill('/health');
  await look('new-app');
  await page.getByRole('button', { name: 'Create app' }).click();

  const id = await arrive(page);
  const watched = javaScript ? await watchByScript(page) : await watchByRefresh(page);
  assert.deepEqual(Object.keys(await phases(page)), PHASES);
  await look('first-deployment-under-way');
  await watched();
  assert.ok(Object.values(await phases(page)).every((status) => status === 'success'));
  await look('first-deployment-done');
  await agrees(page, id);
  assert.equal(await served(instance, app), 'v1');

  // The way to the running app, as a person goes it.
  await page.getByRole('main').getByRole('link', { name: `Go to ${app}` }).click();
  await page.getByRole('heading', { level: 1, name: app }).waitFor();
  await page.getByText('Running').first().waitFor();
  await look('app');
  await page.getByRole('link', { name: new RegExp(`^${app}\\.localhost`) }).click();
  await page.waitForURL((url) => url.hostname === `${app}.localhost`);
  assert.match(await page.locator('body').innerText(), /v1/);
}

/**
 * Notes every state of the phases and the growth of the log while the page itself redraws; the promise
 * given back waits for the end. The document must be the same one all along.
 */
async function watchByScript(page) {
  await page.evaluate(() => {
    const seen = (window.seen = { states: [], entries: [] });
    const note = () => {
      const items = [...document.querySelectorAll('[data-phase]')];
      const state = items.map((item) => item.dataset.status).join(' ');
      if (seen.states.at(-1) !== state) seen.states.push(state);
      const entries = document.querySelectorAll('[data-entry]').length;
      if (seen.entries.at(-1) !== entries) seen.entries.push(entries);
    };
    new MutationObserver(note).observe(document.body, { subtree: true, childList: true, attributes: true });
    note();
  });
  let navigations = 0;
  page.on('framenavigated', () => (navigations += 1));
  return async () => {
    await ended(page);
    assert.equal(navigations, 0, 'the page was loaded anew');
    const seen = await page.evaluate(() => window.seen);
    assert.ok(seen, 'the document is another one');
    const states = seen.states.map((state) => state.split(' '));
    assert.ok(states.length >= 2, `the phases did not move: ${seen.states}`);
    assert.ok(states.some((state) => state.includes('running')), `no phase was seen running: ${seen.states}`);
    const order = ['pending', 'running', 'success'];
    for (const [index, later] of states.slice(1).entries()) {
      const back = later.some((status, phase) => order.indexOf(status) < order.indexOf(states[index][phase]));
      assert.ok(!back, `a phase went back: ${seen.states.slice(index, index + 2)}`);
    }
    assert.ok(seen.entries.at(-1) > seen.entries[0], `no entries came in: ${seen.entries}`);
    page.removeAllListeners('framenavigated');
  };
}

/** Without scripts the page fetches itself again until it has ended, and not once more. */
async function watchByRefresh(page) {
  assert.ok(!(await isFinal(page)), 'it had ended before it could be watched');
  let refreshes = 0;
  page.on('framenavigated', () => (refreshes += 1));
  return async () => {
    await ended(page);
    assert.ok(refreshes >= 1, 'the page never refreshed itself');
    assert.equal(await page.locator('meta[http-equiv="refresh"]').count(), 0, 'it refreshes for ever');
    page.removeAllListeners('framenavigated');
  };
}

async function isFinal(page) {
  return (await page.locator('[data-deployment-status]').getAttribute('data-final')) === 'true';
}

async function openDeployForm(page, app) {
  await page.goto(`/apps/${app}`);
  await page.getByRole('link', { name: 'Deploy', exact: true }).first().click();
  await page.getByRole('heading', { level: 1, name: `Deploy ${app}` }).waitFor();
}

async function secondVersion(page, look, app) {
  await openDeployForm(page, app);
  assert.equal(await page.getByLabel('Image', { exact: true }).inputValue(), instance.images.slow, 'the form begins with what runs');
  await page.getByLabel('Image', { exact: true }).fill(instance.images.v2);
  await page.getByLabel(/^Version/).fill('v2.0.0');
  await page.getByLabel(/^Reason/).fill('A test of <the> "second" version');
  await look('deploy-form');
  await page.getByRole('button', { name: 'Deploy', exact: true }).click();
  const id = await arrive(page);
  await ended(page);
  await look('second-version');
  await agrees(page, id);
  assert.equal(await fact(page, 'Version'), 'v2.0.0');
  assert.equal(await fact(page, 'Reason'), 'A test of <the> "second" version');
  assert.equal(await served(instance, app), 'v2');
}

async function failedDeployment(page, look, app) {
  await openDeployForm(page, app);
  await page.getByLabel('Image', { exact: true }).fill(instance.images.crashing);
  await page.getByRole('button', { name: 'Deploy', exact: true }).click();
  const id = await arrive(page);
  await ended(page);
  await look('failed');
  const summary = await agrees(page, id);
  assert.equal(summary.status, 'failed');
  assert.equal(summary.diagnosis.code, 'exited_with_code');
  assert.equal(summary.diagnosis.evidence.exit_code, 3);
  const card = page.getByRole('region', { name: sentence(summary.diagnosis.message) });
  await card.getByText('told to end with code 3').waitFor();
  await page.getByText('Release 2 was not touched').first().waitFor();
  assert.equal(await served(instance, app), 'v2', 'a failed deployment took the app away');

  await page.goto('/');
  await page.getByRole('row', { name: app }).filter({ hasText: 'Failed' }).first().waitFor();
  // It serves, so it is not among those that are not well, and still somebody should look.
  const needy = page.getByRole('region', { name: 'Needs you' }).getByRole('listitem').filter({ hasText: app });
  await needy.getByText('Release 2 serves. The last deployment failed.').waitFor();
  await needy.getByText('Running', { exact: true }).waitFor();
  await look('overview');
}

async function rollBack(page, look, app) {
  await page.goto(`/apps/${app}/rollback`);
  // What failed was never healthy, what serves is no way back: only release 1 is left.
  assert.equal(await page.getByRole('radio').count(), 1);
  await page.getByRole('radio', { name: /Release 1\b/ }).check();
  await page.getByLabel(/^Reason/).fill('back to what worked');
  await look('rollback-form');
  await page.getByRole('button', { name: 'Roll back' }).click();
  const id = await arrive(page);
  await ended(page);
  await look('rolled-back');
  const summary = await agrees(page, id);
  assert.equal(summary.status, 'success');
  assert.equal(await served(instance, app), 'v1');

  await page.goto(`/apps/${app}`);
  const row = page.getByRole('row').filter({ hasText: 'Serves' });
  assert.equal(await row.count(), 1, 'not exactly one release serves');
  await look('app-in-the-end');
}

/** The page that is shown tells of the deployment what REST tells. Returns REST's summary. */
async function agrees(page, id) {
  const summary = await finalDeployment(instance, id);
  const status = page.locator('[data-deployment-status]');
  assert.equal(await status.getAttribute('data-deployment-status'), summary.status);
  await page.getByRole('main').getByText(WORDS[summary.status], { exact: true }).first().waitFor();
  assert.equal(await fact(page, 'Release'), String(summary.release));
  assert.equal(await fact(page, 'Served before'), summary.from_release ? String(summary.from_release) : '–');
  assert.equal(await fact(page, 'Image'), summary.image);
  assert.equal(await fact(page, 'Pinned to'), summary.pinned_image);
  assert.equal(await fact(page, 'Replicas'), `${summary.replicas.ready} of ${summary.replicas.requested} healthy`);

  const wanted = Object.fromEntries(PHASES.map((phase) => [phase, summary.phases[phase].status]));
  assert.deepEqual(await phases(page), wanted);

  const { diagnosis } = summary;
  const card = page.getByRole('region').filter({ has: page.getByRole('heading', { name: 'What to try' }) });
  assert.equal(await card.count(), diagnosis ? 1 : 0);
  if (diagnosis) {
    await card.getByRole('heading', { level: 2, name: sentence(diagnosis.message), exact: true }).waitFor();
    await card.getByText(diagnosis.code, { exact: true }).waitFor();
    await card.getByText(`Failed in ${WORDS[diagnosis.phase]}`).waitFor();
    assert.deepEqual(await card.getByRole('listitem').allInnerTexts(), diagnosis.next.map(sentence));
    for (const line of diagnosis.evidence.untrusted_output) {
      await card.getByText(line).first().waitFor();
    }
  }

  // The newest entries of each phase are those of REST.
  const logs = await rest(instance, 'GET', `/deployments/${id}/logs`);
  for (const phase of PHASES) {
    const shown = await page.locator(`#log-${phase} [data-entry]`).evaluateAll((lines) =>
      lines.map((line) => line.dataset.entry));
    const stored = logs.phases[phase].map((entry) => entry.id);
    assert.deepEqual(shown, stored.slice(-shown.length || stored.length), `entries of ${phase}`);
  }
  return summary;
}

test('a deployment started elsewhere shows up on the open overview', async () => {
  const about = { name: 'live-overview', baseURL: instance.url };
  await withPage(browser, about, async (page, look) => {
    await signIn(page);
    await page.goto('/');
    await page.getByText('Live', { exact: true }).waitFor();
    await rest(instance, 'POST', '/apps', { app_name: 'elsewhere', container_port: 8080 });
    const { deployment_id: id } = await rest(instance, 'POST', '/deployments', {
      app_name: 'elsewhere',
      image: instance.images.v1,
    });
    const row = page.getByRole('row').filter({ hasText: 'elsewhere' });
    await row.filter({ hasText: 'Running' }).first().waitFor({ timeout: DEPLOYMENT_TIMEOUT_MS });
    await finalDeployment(instance, id);
    await look('overview');
  });
});

test('lines of an app arrive in its open log', async () => {
  const about = { name: 'live-log', baseURL: instance.url };
  await withPage(browser, about, async (page, look) => {
    await signIn(page);
    const app = 'talks';
    await rest(instance, 'POST', '/apps', { app_name: app, container_port: 8080 });
    await page.goto(`/apps/${app}/logs`);
    await page.getByText('Live', { exact: true }).waitFor();
    const { deployment_id: id } = await rest(instance, 'POST', '/deployments', {
      app_name: app,
      image: instance.images.v1,
    });
    await finalDeployment(instance, id);
    await until('the lines of the app in the store', 30_000, async () => {
      const { logs } = await rest(instance, 'GET', `/logs?app_name=${app}&limit=100`);
      return logs.some((entry) => entry.message === 'line 5 of 5');
    });
    await page.getByText('line 5 of 5').waitFor();
    await look('log');

    await page.getByLabel('Text').fill('line 3');
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.getByText('line 3 of 5').waitFor();
    assert.equal(await page.getByText('line 4 of 5').count(), 0);
    await until('the filter in the address', 1000, () => new URL(page.url()).searchParams.get('q') === 'line 3');
  });
});
