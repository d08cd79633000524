// People come in by a link, prove who they are in two steps, see where they are signed in, and go.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  OTHER_PASSWORD,
  PASSWORD,
  comeIn,
  launchBrowser,
  oneTimeCode,
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
});

after(async () => {
  await browser?.close();
  await instance?.stop();
});

/** Presses the button and returns what the form was answered with. */
async function submitted(page, button) {
  const [response] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: button, exact: true }).click(),
  ]);
  await page.waitForLoadState();
  return response;
}

async function signInAs(page, name, password) {
  await page.goto('/sign-in');
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(password);
  return submitted(page, 'Sign in');
}

const about = (name, javaScript) => ({ name, javaScript, baseURL: instance.url });
/** What is shown of a secret for copying. */
const shown = (page, id) => page.locator(`#${id}`).innerText();

for (const javaScript of [true, false]) {
  const suffix = javaScript ? 'js' : 'nojs';

  test(`an invitation is made, accepted once, and another one revoked, javaScript ${javaScript}`, async () => {
    const guest = `guest-${suffix}`;
    await withPage(browser, about('invite', javaScript), async (page, look) => {
      await signIn(page);
      await page.goto('/people');
      await page.getByLabel('Name (optional)', { exact: true }).fill('not a name');
      assert.equal((await submitted(page, 'Make the link')).status(), 422);
      await page.getByText('letters, digits').first().waitFor();
      await look('refused');
      await page.getByLabel('Name (optional)', { exact: true }).fill(guest);
      await page.getByLabel('Name to show (optional)').fill('The Guest');
      assert.equal((await submitted(page, 'Make the link')).status(), 201);
      const link = new URL(await shown(page, 'new-link')).pathname;
      await look('link');
      if (javaScript) assert.deepEqual(await violations(page, 'a new link'), []);
      await page.goto('/people');
      assert.ok(!(await page.content()).includes(link), 'the link is shown a second time');

      await withPage(browser, about('accept', javaScript), async (page, look) => {
        const referers = [];
        page.on('request', (request) => referers.push(request.headers().referer ?? ''));
        await page.goto(link);
        await page.getByText('admin invited you').waitFor();
        await page.getByLabel('Password', { exact: true }).fill('password1234');
        await page.getByLabel('Password again').fill('password1234');
        await look('accept');
        assert.equal((await submitted(page, 'Create the account')).status(), 422);
        await page.getByText('among the first that are tried').first().waitFor();
        await page.getByLabel('Password', { exact: true }).fill(OTHER_PASSWORD);
        await page.getByLabel('Password again').fill(OTHER_PASSWORD);
        await submitted(page, 'Create the account');
        await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
        assert.ok(referers.every((referer) => !referer.includes(link)), 'the link went out as a referer');
        assert.equal(await page.getByRole('link', { name: 'People', exact: true }).count(), 0);
        const again = await page.goto(link);
        assert.equal(again.status(), 403);
        await page.getByRole('heading', { name: 'This link does not work' }).waitFor();
      });

      await page.goto('/people');
      await page.getByRole('row', { name: guest }).first().waitFor();
      await submitted(page, 'Make the link');
      await page.goto('/people');
      await submitted(page, 'Revoke the invitation for Anybody with the link');
      await page.getByText('Revoked').first().waitFor();
      await look('people');
    });
  });

  test(`a second factor is set up, asked for and turned off, javaScript ${javaScript}`, async () => {
    const name = `factor-${suffix}`;
    await comeIn(browser, instance, { name });
    await withPage(browser, about('second-factor', javaScript), async (page, look) => {
      await signInAs(page, name, OTHER_PASSWORD);
      await page.goto('/account');
      await page.getByRole('link', { name: 'Set it up' }).click();
      await page.getByRole('img', { name: 'QR code for an authenticator' }).waitFor();
      const secret = await shown(page, 'factor-secret');
      await look('qr');
      await page.getByRole('textbox', { name: 'Code', exact: true }).fill('12');
      assert.equal((await submitted(page, 'Turn it on')).status(), 422);
      assert.equal(await page.getByRole('textbox', { name: 'Code', exact: true }).inputValue(), '', 'a wrong code came back');
      assert.equal(await shown(page, 'factor-secret'), secret, 'the scanned secret was thrown away');
      const first = oneTimeCode(secret);
      await page.getByRole('textbox', { name: 'Code', exact: true }).fill(first);
      assert.equal((await submitted(page, 'Turn it on')).status(), 201);
      const codes = (await shown(page, 'recovery-codes')).trim().split('\n');
      assert.equal(codes.length, 10);
      await look('recovery-codes');
      if (javaScript) assert.deepEqual(await violations(page, 'recovery codes'), []);

      await page.goto('/account/second-factor');
      assert.equal(await page.locator('#recovery-codes').count(), 0, 'the codes are shown a second time');
      await page.context().clearCookies();
      await page.goto('/account');
      await signInAs(page, name, OTHER_PASSWORD);
      await page.getByRole('heading', { level: 1, name: 'Enter your code' }).waitFor();
      await look('second-step');
      if (javaScript) assert.deepEqual(await violations(page, 'second step'), []);
      // Half a sign-in opens nothing, and the code that was used is worth nothing.
      await page.goto('/account');
      assert.equal(new URL(page.url()).pathname, '/sign-in');
      await page.goto('/sign-in/code?next=/account');
      await page.getByRole('textbox', { name: 'Code', exact: true }).fill(first);
      assert.equal((await submitted(page, 'Go on')).status(), 401);
      await page.getByRole('textbox', { name: 'Code', exact: true }).fill(oneTimeCode(secret, 1));
      await submitted(page, 'Go on');
      assert.equal(new URL(page.url()).pathname, '/account');
      await page.getByRole('link', { name: 'Change it' }).click();
      await submitted(page, 'Turn off');
      await page.getByRole('link', { name: 'Set it up' }).waitFor();
    });
  });

  test(`one's name, password and sessions are one's own, javaScript ${javaScript}`, async () => {
    const name = `own-${suffix}`;
    await comeIn(browser, instance, { name });
    await withPage(browser, about('account', javaScript), async (page, look) => {
      await signInAs(page, name, OTHER_PASSWORD);
      await withPage(browser, about('elsewhere', javaScript), async (elsewhere) => {
        await signInAs(elsewhere, name, OTHER_PASSWORD);
        await page.goto('/account');
        // The one that accepted the invitation is there as well.
        assert.equal(await page.getByRole('row').count(), 4);
        await page.getByText('This one').waitFor();
        await page.getByLabel('Name to show').fill('Someone Else');
        await submitted(page, 'Save the name');
        assert.equal(await page.getByLabel('Name to show').inputValue(), 'Someone Else');
        await page.getByLabel('Present password').fill('not the password');
        await page.getByLabel('New password', { exact: true }).fill('lantern under rain');
        await page.getByLabel('New password again').fill('lantern under rain');
        assert.equal((await submitted(page, 'Change the password')).status(), 422);
        await look('refused');
        await page.getByLabel('Present password').fill(OTHER_PASSWORD);
        await page.getByLabel('New password', { exact: true }).fill('lantern under rain');
        await page.getByLabel('New password again').fill('lantern under rain');
        await submitted(page, 'Change the password');
        await page.getByRole('heading', { level: 1, name: 'Your account' }).waitFor();
        assert.equal(await page.getByRole('row').count(), 2, 'other sessions went on');
        await elsewhere.goto('/account');
        assert.equal(new URL(elsewhere.url()).pathname, '/sign-in');

        await signInAs(elsewhere, name, 'lantern under rain');
        await page.goto('/account');
        await look('account');
        await submitted(page, 'End all others');
        await elsewhere.goto('/account');
        assert.equal(new URL(elsewhere.url()).pathname, '/sign-in');
      });
    });
  });

  test(`a proof leads to where it was needed, and nowhere else, javaScript ${javaScript}`, async () => {
    await withPage(browser, about('confirm', javaScript), async (page, look) => {
      await signIn(page);
      await page.goto('/account/confirm?next=//evil.example/');
      await page.getByLabel('Password').fill('not the password');
      assert.equal((await submitted(page, 'Confirm')).status(), 422);
      await look('refused');
      await page.getByLabel('Password').fill(PASSWORD);
      await submitted(page, 'Confirm');
      assert.equal(page.url(), `${instance.url}/account`);
      await page.goto('/account/confirm?next=/people');
      await page.getByLabel('Password').fill(PASSWORD);
      await submitted(page, 'Confirm');
      assert.equal(page.url(), `${instance.url}/people`);
    });
  });

  test(`somebody is turned off, on again, and deleted, javaScript ${javaScript}`, async () => {
    const name = `gone-${suffix}`;
    await comeIn(browser, instance, { name });
    await withPage(browser, about('manage', javaScript), async (page, look) => {
      await signIn(page);
      await page.goto('/people');
      await submitted(page, `Turn off ${name}`);
      await page.getByRole('button', { name: `Turn on ${name}` }).waitFor();
      await withPage(browser, about('turned-off', javaScript), async (page) => {
        const refused = await signInAs(page, name, OTHER_PASSWORD);
        assert.equal(refused.status(), 401);
        assert.match(await page.getByRole('alert').innerText(), /name or the password is wrong/i);
      });
      await submitted(page, `Turn on ${name}`);
      await page.getByRole('link', { name: `Delete ${name}` }).click();
      await page.getByLabel("Type the person's name").fill('somebody');
      assert.equal((await submitted(page, `Delete ${name}`)).status(), 422);
      await look('not-confirmed');
      await page.getByLabel("Type the person's name").fill(name);
      await submitted(page, `Delete ${name}`);
      await page.getByRole('heading', { level: 1, name: 'People' }).waitFor();
      const { users } = await rest(instance, 'GET', '/users');
      assert.ok(!users.some((user) => user.name === name));
    });
  });
}
