// Everyday by forms alone: a plan, a blue-green deployment with its receipt, more replicas, stop, start,
// back. And a canary that is paused and aborted.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { arrive, ended, fact } from './deployment_page.mjs';
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
  violations,
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
  test(`everyday by forms, javaScript ${javaScript}`, async () => {
    const app = javaScript ? 'shop' : 'shop-plain';
    await firstRelease(app);
    const about = { name: 'everyday', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      const found = [];
      const see = async (what) => {
        await look(what);
        if (javaScript) found.push(...(await violations(page, what)));
      };
      await signIn(page);
      await blueGreen(page, see, app);
      await scaleToTwo(page, see, app);
      await stopAndStart(page, see, app);
      await goBack(page, see, app);
      assert.deepEqual(found, []);
    });
  });
}

async function firstRelease(app) {
  await rest(instance, 'POST', '/apps', { app_name: app, container_port: 8080, health: { path: '/health' } });
  const { deployment_id: id } = await rest(instance, 'POST', '/deployments', {
    app_name: app,
    image: instance.images.v1,
  });
  assert.equal((await finalDeployment(instance, id)).status, 'success');
}

async function blueGreen(page, see, app) {
  await page.goto(`/apps/${app}/deploy`);
  await page.getByLabel('Image', { exact: true }).fill(instance.images.v2);
  await page.getByLabel('Strategy').selectOption('blue_green');
  await page.getByLabel(/^Variables to add/).fill('GREETING=hello');
  await page.getByLabel(/^Reason/).fill('blue to green');
  await page.getByRole('button', { name: 'Show the plan first' }).click();
  const plan = page.getByRole('region', { name: 'The plan' });
  await plan.getByText('Nothing was done yet: release 1 serves.').waitFor();
  await plan.getByRole('heading', { name: 'Blue-green in 1 step' }).waitFor();
  await plan.getByRole('cell', { name: 'Variable GREETING' }).waitFor();
  assert.equal(await page.getByLabel(/^Reason/).inputValue(), 'blue to green', 'what was typed is lost');
  assert.equal(await served(instance, app), 'v1', 'showing the plan did something');
  await see('plan');
  await plan.getByRole('button', { name: 'Deploy as planned' }).click();

  const id = await arrive(page);
  await ended(page);
  assert.equal((await finalDeployment(instance, id)).status, 'success');
  assert.equal(await served(instance, app), 'v2');
  const receipt = page.getByRole('region', { name: 'Receipt' });
  await receipt.getByText('1 → 2', { exact: true }).waitFor();
  await receipt.getByText('admin through the dashboard').waitFor();
  await receipt.getByText(/^\d+ served, 0 failed/).waitFor();
  await receipt.getByRole('cell', { name: 'Variable GREETING' }).waitFor();
  assert.equal(await page.getByText('Live', { exact: true }).count(), 0, 'what has ended says that it is live');
  await see('receipt');

  await page.goto(`/apps/${app}`);
  await page.getByText(/^Release 1 stands by until/).waitFor();
  await page.getByRole('button', { name: 'Roll back to release 1' }).waitFor();
  await see('stands-by');
}

async function scaleToTwo(page, see, app) {
  await page.getByLabel('Number of replicas').fill('none');
  await page.getByRole('button', { name: 'Scale', exact: true }).click();
  await page.getByText("Must be 1 to 500, not 'none'.").first().waitFor();
  assert.equal(await page.getByLabel('Number of replicas').inputValue(), 'none');
  await see('scale-fault');
  await page.getByLabel('Number of replicas').fill('2');
  await page.getByRole('button', { name: 'Scale', exact: true }).click();
  const id = await arrive(page);
  await page.getByRole('heading', { level: 1, name: `Scale ${app} to 2 replicas` }).waitFor();
  await ended(page);
  assert.equal((await finalDeployment(instance, id)).status, 'success');
  await page.getByText('2 replicas serve.').first().waitFor();
  await see('scaled');
  await page.goto(`/apps/${app}`);
  await until('two replicas on the page', 30_000, async () => {
    await page.goto(`/apps/${app}`);
    return (await fact(page, 'Replicas')) === '2 of 2 healthy';
  });
}

async function stopAndStart(page, see, app) {
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  const stop = await arrive(page);
  await page.getByRole('heading', { level: 1, name: `Stop ${app}` }).waitFor();
  await ended(page);
  assert.equal((await finalDeployment(instance, stop)).status, 'success');
  assert.match(await served(instance, app), /^503 /);
  await page.goto(`/apps/${app}`);
  assert.equal(await fact(page, 'State'), 'Stopped');
  assert.equal(await page.getByLabel('Number of replicas').count(), 0, 'what does not run can be scaled');
  await see('stopped');

  await page.getByRole('button', { name: 'Start', exact: true }).click();
  const start = await arrive(page);
  await ended(page);
  assert.equal((await finalDeployment(instance, start)).status, 'success');
  await until('the app to answer again', 30_000, async () => (await served(instance, app)) === 'v2');
}

async function goBack(page, see, app) {
  await page.goto(`/apps/${app}`);
  const row = page.getByRole('row').filter({ has: page.getByRole('link', { name: 'Roll back to release 1' }) });
  await row.getByRole('link', { name: 'Roll back to release 1' }).click();
  await page.getByRole('button', { name: 'Roll back', exact: true }).click();
  const id = await arrive(page);
  await ended(page);
  assert.equal((await finalDeployment(instance, id)).status, 'success');
  assert.equal(await served(instance, app), 'v1');
  await see('went-back');
}

test('a canary is paused, looked at and aborted', async () => {
  const app = 'careful';
  await firstRelease(app);
  const about = { name: 'canary', baseURL: instance.url };
  await withPage(browser, about, async (page, look) => {
    await signIn(page);
    const { deployment_id: id } = await rest(instance, 'POST', '/deployments', {
      app_name: app,
      image: instance.images.v2,
      strategy: 'canary',
    });
    await page.goto(`/deployments/${id}`);
    const rollout = page.getByRole('region', { name: 'Step 1 of 4' });
    await rollout.waitFor({ timeout: DEPLOYMENT_TIMEOUT_MS });
    await rollout.getByText('Release 2 (new): 5%').waitFor();
    await rollout.getByRole('button', { name: 'Pause' }).click();
    await rollout.getByText('Paused', { exact: true }).waitFor();
    await rollout.getByRole('button', { name: 'Resume' }).waitFor();
    await look('paused');
    assert.deepEqual(await violations(page, 'paused'), []);

    await rollout.getByRole('button', { name: 'Abort' }).click();
    await ended(page);
    const summary = await finalDeployment(instance, id);
    assert.equal(summary.diagnosis.code, 'cancelled');
    const receipt = page.getByRole('region', { name: 'Receipt' });
    await receipt.getByText('1, as before; 2 was tried').waitFor();
    await page.getByText('It was cancelled. Release 1 serves all traffic again.').first().waitFor();
    await look('aborted');
    assert.deepEqual(await violations(page, 'aborted'), []);
    assert.equal(await served(instance, app), 'v1');
    // Nobody has to be told of what somebody wanted.
    await page.goto('/');
    assert.equal(await page.getByRole('region', { name: 'Needs you' }).getByText(app).count(), 0);
  });
});
