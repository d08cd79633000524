// An agent's release waits in the inbox until a person has answered, with and without scripts.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  DEPLOYMENT_TIMEOUT_MS,
  PASSWORD,
  finalDeployment,
  launchBrowser,
  rest,
  signIn,
  startInstance,
  violations,
  withPage,
} from './support.mjs';

const RULES = '/apps/shop-web/environments/production/approvals';
let browser;
let instance;
let agent;

before(async () => {
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD })]);
  await rest(instance, 'POST', '/apps', { app_name: 'shop-web', container_port: 8080 });
  const first = await rest(instance, 'POST', '/deployments', { app_name: 'shop-web', image: instance.images.v1 });
  await finalDeployment(instance, first.deployment_id);
  await rest(instance, 'PUT', RULES, { person: 'allow', agent: 'approve' });
  const made = await rest(instance, 'POST', '/tokens', { name: 'shop agent', tier: 'advanced', persona: 'OPERATOR' });
  agent = { ...instance, token: made.token };
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

/** The agent's deployment, at the moment it waits. */
async function asked() {
  const begun = await rest(agent, 'POST', '/deployments?wait=50', {
    app_name: 'shop-web',
    image: instance.images.v2,
    reason: 'Fixes the checkout',
  });
  assert.equal(begun.approval.state, 'waiting');
  return begun;
}

/** What the inbox says, all of one moment. */
const inbox = (page) =>
  page.evaluate(() => ({
    waiting: [...document.querySelectorAll('#waiting [data-approval]')].map((card) => ({
      id: card.id,
      text: card.innerText,
      answers: [...card.querySelectorAll('button')].map((button) => button.value),
    })),
    decided: document.querySelector('#decided').innerText,
    count: document.querySelector('#to-decide').innerText.trim(),
    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  }));

for (const javaScript of [true, false]) {
  test(`a person rejects one with a reason and approves the next, javaScript ${javaScript}`, async () => {
    const about = { name: 'approvals', javaScript, baseURL: instance.url };
    await withPage(browser, about, async (page, look) => {
      await signIn(page);
      await page.goto('/approvals');
      assert.deepEqual((await inbox(page)).waiting, []);
      const first = await asked();
      if (!javaScript) await page.goto('/approvals');
      await page.getByRole('button', { name: 'Reject' }).waitFor();
      const seen = await inbox(page);
      assert.equal(seen.waiting.length, 1);
      assert.equal(seen.waiting[0].id, first.approval.approval_id);
      assert.deepEqual(seen.waiting[0].answers, ['approve', 'reject']);
      for (const part of ['Waiting for approval', 'shop agent (agent, OPERATOR)', 'Fixes the checkout']) {
        assert.ok(seen.waiting[0].text.includes(part), `${part} is not in ${seen.waiting[0].text}`);
      }
      assert.match(seen.count, /^1/);
      if (javaScript) {
        assert.deepEqual(await violations(page, 'approvals'), []);
        await page.emulateMedia({ colorScheme: 'dark' });
        assert.deepEqual(await violations(page, 'approvals, dark'), []);
        await page.emulateMedia({ colorScheme: 'light' });
      }
      await page.setViewportSize({ width: 390, height: 844 });
      assert.equal((await inbox(page)).wide, false);
      await look('phone');
      await page.setViewportSize({ width: 1280, height: 800 });
      await look('waiting');
      await page.getByLabel('Reason').fill('not on a Friday');
      await page.getByRole('button', { name: 'Reject' }).click();
      await page.waitForURL(`**/deployments/${first.deployment_id}`);
      const rejected = await finalDeployment(instance, first.deployment_id);
      assert.equal(rejected.diagnosis.code, 'approval_rejected');

      const second = await asked();
      await page.goto(`/deployments/${second.deployment_id}`);
      await page.locator('[data-deployment-status]', { hasText: 'Waits for an approval' }).waitFor();
      await look('deployment');
      if (javaScript) assert.deepEqual(await violations(page, 'a deployment that waits'), []);
      await page.getByRole('button', { name: 'Approve' }).click();
      await page
        .locator('[data-deployment-status][data-final="true"]')
        .waitFor({ timeout: DEPLOYMENT_TIMEOUT_MS });
      assert.equal((await finalDeployment(instance, second.deployment_id)).status, 'success');
      await page.goto('/approvals');
      const after = await inbox(page);
      assert.deepEqual(after.waiting, []);
      assert.equal(after.count, '');
      assert.ok(after.decided.includes('not on a Friday') && after.decided.includes('Approved'), after.decided);
      await look('decided');
    });
  });
}

test('what is typed stays while the inbox is drawn anew', async () => {
  await withPage(browser, { name: 'approvals-typed', javaScript: true, baseURL: instance.url }, async (page) => {
    await signIn(page);
    const one = await asked();
    await page.goto('/approvals');
    await page.getByLabel('Reason').fill('half a sentence');
    await page.evaluate(() => (document.querySelector('#waiting').dataset.marked = document.querySelector('#waiting form').action));
    await page.evaluate(() => document.querySelector('#waiting form').setAttribute('data-old', ''));
    // Something happens in the app: the page hears of it and draws itself anew.
    await rest(instance, 'PATCH', '/apps/shop-web', { env_vars: { LOG_LEVEL: 'debug' } });
    await page.waitForFunction(() => document.querySelector('#waiting form:not([data-old])'));
    assert.equal(await page.getByLabel('Reason').inputValue(), 'half a sentence');
    await rest(instance, 'POST', `/deployments/${one.deployment_id}/cancel`, {});
    await page.waitForFunction(() => !document.querySelector('#waiting form'));
    await finalDeployment(instance, one.deployment_id);
  });
});

test('an administrator sets the rules on the page of the app', async () => {
  await withPage(browser, { name: 'approval-rules', javaScript: false, baseURL: instance.url }, async (page, look) => {
    await signIn(page);
    await page.goto('/apps/shop-web');
    await page.getByLabel('Tokens', { exact: true }).selectOption('deny');
    await page.locator('#save-approvals').click();
    await page.waitForURL('**/apps/shop-web#approvals');
    await look('rules');
    assert.deepEqual(await rest(instance, 'GET', RULES), { person: 'allow', agent: 'deny' });
    await page.getByLabel('Tokens', { exact: true }).selectOption('approve');
    await page.locator('#save-approvals').click();
    await page.waitForURL('**/apps/shop-web#approvals');
    assert.deepEqual(await rest(instance, 'GET', RULES), { person: 'allow', agent: 'approve' });
  });
});
