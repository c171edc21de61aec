// The demo page, as a newcomer uses it: two tabs, and all four verbs.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { startDevelopmentServer } from '../e2e/server.mjs';
import { launch, openPage } from './chromium.mjs';

describe('demo page', () => {
  let server;
  let browser;
  let context;
  before(async () => {
    server = await startDevelopmentServer();
    browser = await launch();
  });
  after(async () => {
    await browser.close();
    await server.stop();
  });
  beforeEach(async () => (context = await browser.newContext()));
  afterEach(() => context.close());

  async function open(user, watchlist, viaContext = context) {
    const page = await openPage(viaContext);
    const query = user ? `?${new URLSearchParams({ user, watch: watchlist.join(',') })}` : '';
    await page.goto(`${server.url}/${query}`);
    if (user) await signedIn(page, user);
    return page;
  }

  const signedIn = (page, user) => page.locator('#state').getByText(`signed in as ${user}`, { exact: true }).waitFor();
  const row = (page, user) => page.locator(`#roster [data-user="${user}"]`);
  const levelOf = (page, user, level) => page.locator(`#roster [data-user="${user}"][data-level="${level}"]`).waitFor();

  it('signs in by its form, and shows who comes online and goes offline', async () => {
    const ada = await open();
    await ada.getByLabel('Your user id').fill('ada');
    await ada.getByLabel('Whom do you watch?').fill('grace, alan');
    await ada.getByRole('button', { name: 'Sign in' }).click();
    await signedIn(ada, 'ada');
    await levelOf(ada, 'grace', 'offline');
    await levelOf(ada, 'alan', 'offline');

    const link = ada.getByRole('link', { name: 'Be grace in a second tab' });
    const [grace] = await Promise.all([context.waitForEvent('page'), link.click()]);
    await signedIn(grace, 'grace');
    await levelOf(ada, 'grace', 'online');
    await levelOf(grace, 'ada', 'online');

    await grace.getByRole('button', { name: 'Sign out' }).click();
    await levelOf(ada, 'grace', 'offline');
    await grace.getByRole('button', { name: 'Sign in' }).click();
    await levelOf(ada, 'grace', 'online');
    await grace.close();
    await levelOf(ada, 'grace', 'offline');
    ada.assertQuiet();
  });

  it('sends an event to a user, which only that user gets', async () => {
    const [ada, grace, alan] = [await open('ada', ['grace']), await open('grace', ['ada']), await open('alan', [])];
    await ada.getByLabel('To', { exact: true }).fill('grace');
    await ada.getByLabel('Event', { exact: true }).fill('hello');
    await ada.getByLabel('Data').fill('{"text":"Are you there?"}');
    await ada.getByRole('button', { name: 'Send' }).click();
    await ada.getByText('grace has it on 1 connection.').waitFor();
    const item = grace.locator('#inbox li').first();
    await item.waitFor();
    assert.match(await item.innerText(), /hello[\s\S]*\{"text":"Are you there\?"\}/);

    await ada.getByLabel('To', { exact: true }).fill('nobody');
    await ada.getByRole('button', { name: 'Send' }).click();
    await ada.getByText('nobody is not signed in anywhere').waitFor();
    assert.equal(await alan.locator('#inbox li').count(), 0);
    assert.equal(await ada.locator('#inbox li').count(), 0);
    for (const page of [ada, grace, alan]) page.assertQuiet();
  });

  it('terminates a user, whose page comes back at once', async () => {
    const [ada, grace] = [await open('ada', ['grace']), await open('grace', [])];
    await levelOf(ada, 'grace', 'online');
    await row(ada, 'grace').getByRole('button', { name: 'Terminate grace' }).click();
    await ada.getByText('1 connection of grace closed, and none is left.').waitFor();
    await grace.locator('#log [data-direction="closed"]').first().waitFor();
    assert.match(await grace.locator('#log [data-direction="closed"]').first().innerText(), /4200/);
    await signedIn(grace, 'grace');
    await levelOf(ada, 'grace', 'online');
    ada.assertQuiet();
  });

  it('changes the watchlist on the same connection, and the user on a new one', async () => {
    const ada = await open('ada', ['grace']);
    const opened = () => ada.locator('#log .event', { hasText: 'pusher:connection_established' }).count();
    await ada.getByLabel('Whom do you watch?').fill('alan');
    await ada.getByRole('button', { name: 'Sign in' }).click();
    await levelOf(ada, 'alan', 'offline');
    assert.equal(await row(ada, 'grace').count(), 0);
    assert.equal(await opened(), 1);
    await ada.getByLabel('Your user id').fill('linus');
    await ada.getByRole('button', { name: 'Sign in' }).click();
    await signedIn(ada, 'linus');
    assert.equal(await opened(), 2);
    ada.assertQuiet();
  });

  it('shows frames newest first, and keeps no more than it says', async () => {
    const ada = await open('ada', ['grace']);
    const events = await ada.locator('#log .event').allInnerTexts();
    const first = events.indexOf('pusher:connection_established');
    const second = events.indexOf('pusher:signin_success');
    assert.ok(second >= 0 && second < first, events.join());
    await ada.getByLabel('To', { exact: true }).fill('ada');
    const limit = Number(await ada.locator('#log-limit').innerText());
    for (let n = 0; n < limit; n += 1) {
      const sent = ada.waitForResponse('**/demo/send');
      await ada.evaluate(() => document.getElementById('send-form').requestSubmit());
      await sent;
    }
    await ada.waitForFunction(() => document.querySelector('#inbox').children.length === 50);
    assert.equal(await ada.locator('#log > li').count(), limit);
    await ada.locator('#log summary').first().click();
    assert.match(await ada.locator('#log pre').first().innerText(), /hello|demo\/send/);
    await ada.getByRole('button', { name: 'Clear' }).click();
    assert.equal(await ada.locator('#log > li').count(), 0);
    ada.assertQuiet();
  });

  it('tells a refusal in words', async () => {
    const ada = await open();
    await ada.getByLabel('Your user id').evaluate((input) => (input.value = 'a\u0001b'));
    await ada.getByRole('button', { name: 'Sign in' }).click();
    await ada.locator('#sign-in-result[data-kind="bad"]:not(:empty)').waitFor();
    await ada.getByLabel('Event', { exact: true }).fill('pusher:ping');
    await ada.getByRole('button', { name: 'Send' }).click();
    await ada.locator('#send-result[data-kind="bad"]:not(:empty)').waitFor();
  });

  it('holds no secret, and loads nothing from elsewhere', async () => {
    const page = await openPage(context);
    const bodies = [];
    page.on('response', async (response) => bodies.push([response.url(), await response.text().catch(() => '')]));
    await page.goto(`${server.url}/?user=ada&watch=grace`);
    await signedIn(page, 'ada');
    assert.ok(bodies.length >= 4, 'page, script, style and info');
    for (const [url, body] of bodies) {
      assert.ok(url.startsWith(server.url), url);
      assert.ok(!body.includes('app-secret'), url);
    }
    const policy = (await page.request.get(server.url)).headers()['content-security-policy'];
    assert.ok(policy && !/unsafe/.test(policy), policy);
    page.assertQuiet();
  });

  for (const [width, height] of [[320, 640], [390, 844], [1280, 900]]) {
    for (const colorScheme of ['light', 'dark']) {
      it(`fits ${width} pixels in ${colorScheme} colours, and all of it can be reached and named`, async () => {
        const own = await browser.newContext({ viewport: { width, height }, colorScheme });
        const page = await open('ada', ['grace', `someone.with.a.long.name${'x'.repeat(60)}@example.com`], own);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
        const unnamed = await page.evaluate(() =>
          [...document.querySelectorAll('input, textarea, button')]
            .filter((element) => !element.labels?.length && !element.textContent.trim() && !element.ariaLabel)
            .map((element) => element.outerHTML),
        );
        assert.deepEqual(unnamed, []);
        const small = await page.evaluate(() =>
          [...document.querySelectorAll('button, a.button, input')]
            .filter((element) => element.offsetParent !== null && element.getBoundingClientRect().height < 44)
            .map((element) => element.outerHTML),
        );
        assert.deepEqual(small, [], 'targets that a finger misses');
        await page.keyboard.press('Tab');
        const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        assert.notEqual(outline, 'none', 'focus is visible');
        const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const [red] = ground.match(/\d+/g).map(Number);
        assert.equal(red < 128, colorScheme === 'dark', ground);
        await own.close();
      });
    }
  }
});
