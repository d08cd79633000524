// People sign in with an account elsewhere: connected by themselves, or by accepting an invitation.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startIdentityProvider } from './identity_provider.mjs';
import { PASSWORD, launchBrowser, oneTimeCode, rest, signIn, startInstance, violations, withPage } from './support.mjs';

let browser;
let instance;
let provider;
let directory;

before(async () => {
  provider = await startIdentityProvider();
  directory = await mkdtemp(join(tmpdir(), 'flukedeploy-identity-'));
  const secret = join(directory, 'client-secret');
  await writeFile(secret, `${provider.clientSecret}\n`, { mode: 0o600 });
  const more = [
    '--oidc-issuer', provider.issuer,
    '--oidc-client-id', provider.clientId,
    '--oidc-client-secret-file', secret,
    '--oidc-name', 'Example ID',
  ];
  [browser, instance] = await Promise.all([launchBrowser(), startInstance({ adminPassword: PASSWORD, more })]);
});

after(async () => {
  await browser?.close();
  await instance?.stop();
  provider?.close();
  if (directory) await rm(directory, { recursive: true });
});

const about = (name, javaScript) => ({ name, javaScript, baseURL: instance.url });

/** Presses a button that leads to the provider, and says yes there. */
async function thereAndBack(page, button, subject) {
  provider.subject = subject;
  await page.getByRole('button', { name: button, exact: true }).click();
  await page.getByRole('heading', { name: 'Example ID', exact: true }).waitFor();
  assert.equal(new URL(page.url()).origin, provider.issuer);
  await page.getByRole('link', { name: 'Yes, it is me' }).click();
  await page.waitForURL((url) => url.origin === instance.url);
}

for (const javaScript of [true, false]) {
  const suffix = javaScript ? 'js' : 'nojs';

  test(`somebody comes in without a password, javaScript ${javaScript}`, async () => {
    const name = `ann-${suffix}`;
    const { link } = await rest(instance, 'POST', '/invitations', { name });
    await withPage(browser, about('elsewhere', javaScript), async (page, look) => {
      await page.goto(new URL(link).pathname);
      await look('invitation');
      if (javaScript) assert.deepEqual(await violations(page, 'invitation'), []);
      await thereAndBack(page, 'Without a password: sign in with Example ID', name);
      await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();

      await page.context().clearCookies();
      await page.goto('/account');
      await look('sign-in');
      if (javaScript) assert.deepEqual(await violations(page, 'sign-in'), []);
      await thereAndBack(page, 'Sign in with Example ID', name);
      await page.getByRole('heading', { level: 1, name: 'Your account' }).waitFor();
      await page.getByText(`${name}@example.com at Example ID lets you in here.`).waitFor();
      await look('account');
      if (javaScript) assert.deepEqual(await violations(page, 'account'), []);

      // A proof is made there anew.
      await page.goto('/account/confirm?next=/account/second-factor');
      await look('confirm');
      if (javaScript) assert.deepEqual(await violations(page, 'confirm'), []);
      assert.equal(await page.getByLabel('Password').count(), 0);
      await thereAndBack(page, 'Confirm with Example ID', name);
      await page.getByRole('img', { name: 'QR code for an authenticator' }).waitFor();

      // With a second factor, a code is asked for all the same.
      const secret = await page.locator('#factor-secret').innerText();
      await page.getByRole('textbox', { name: 'Code', exact: true }).fill(oneTimeCode(secret));
      await page.getByRole('button', { name: 'Turn it on', exact: true }).click();
      await page.locator('#recovery-codes').waitFor();
      await page.context().clearCookies();
      await page.goto('/sign-in');
      await thereAndBack(page, 'Sign in with Example ID', name);
      await page.getByRole('heading', { level: 1, name: 'Enter your code' }).waitFor();
      await page.getByRole('textbox', { name: 'Code', exact: true }).fill(oneTimeCode(secret, 1));
      await page.getByRole('button', { name: 'Go on', exact: true }).click();
      await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    });
  });

  test(`an account is connected, used and disconnected, javaScript ${javaScript}`, async () => {
    await withPage(browser, about('connect', javaScript), async (page, look) => {
      await page.goto('/sign-in');
      await thereAndBack(page, 'Sign in with Example ID', `admin-${suffix}`);
      await page.getByText('No account that may come in is connected with yours').waitFor();
      await look('stranger');
      await signIn(page);
      await page.goto('/account');
      await thereAndBack(page, 'Connect with Example ID', `admin-${suffix}`);
      await page.getByText(`admin-${suffix}@example.com at Example ID lets you in here.`).waitFor();
      await page.context().clearCookies();
      await page.goto('/sign-in');
      await thereAndBack(page, 'Sign in with Example ID', `admin-${suffix}`);
      await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
      await page.goto('/account');
      await page.getByRole('button', { name: 'Disconnect', exact: true }).click();
      await page.getByRole('button', { name: 'Connect with Example ID', exact: true }).waitFor();
    });
  });
}
