// The standard client snippet, as pasted, with an unmodified pusher-js in a browser.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { startDevelopmentServer } from '../e2e/server.mjs';
import { launch, openPage } from './chromium.mjs';

const PUSHER_JS = createRequire(import.meta.url).resolve('pusher-js/dist/web/pusher.js');

describe('pusher-js in a browser', () => {
  let server;
  let browser;
  before(async () => {
    server = await startDevelopmentServer();
    browser = await launch();
  });
  after(async () => {
    await browser.close();
    await server.stop();
  });

  /** A page of the server's own origin with pusher-js and the snippet, signed in. */
  async function open(parameters) {
    // The page stands for the application's own, which has no policy of ours.
    const context = await browser.newContext({ bypassCSP: true });
    const page = await openPage(context);
    await page.route('**/favicon.ico', (route) => route.fulfill({ status: 204 }));
    await page.goto(`${server.url}/demo/info`);
    await page.addScriptTag({ path: PUSHER_JS });
    await page.evaluate(
      async ({ host, port, parameters: params }) => {
        window.seen = [];
        const pusher = new Pusher('app-key', {
          wsHost: host,
          wsPort: port,
          forceTLS: false,
          enabledTransports: ['ws'],
          cluster: '',
          userAuthentication: { endpoint: '/pusher/user-auth', params },
        });
        window.pusher = pusher;
        pusher.user.bind('hello', (data) => window.seen.push(['hello', data]));
        for (const name of ['online', 'offline']) {
          pusher.user.watchlist.bind(name, (event) => window.seen.push([name, ...event.user_ids]));
        }
        pusher.signin();
        await pusher.user.signinDonePromise;
      },
      { host: '127.0.0.1', port: server.ports.gateway, parameters },
    );
    return page;
  }

  const has = (page, entry) =>
    page.waitForFunction((wanted) => window.seen.some((one) => JSON.stringify(one) === wanted), JSON.stringify(entry));
  const post = (path, body) =>
    fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    }).then((response) => response.json());

  it('signs in, watches, is reached and is terminated', async () => {
    const ada = await open({ user_id: 'ada', watchlist: 'grace' });
    await has(ada, ['offline', 'grace']);
    const grace = await open({ user_id: 'grace' });
    await has(ada, ['online', 'grace']);

    const sent = await post('/demo/send', { user_id: 'grace', event: 'hello', data: '{"text":"é"}' });
    assert.equal(sent.connections, 1);
    await has(grace, ['hello', { text: 'é' }]);

    const before = await grace.evaluate(() => window.pusher.connection.socket_id);
    assert.deepEqual(await post('/demo/terminate', { user_id: 'grace' }), { closed: 1, complete: true });
    await grace.waitForFunction(
      (id) => window.pusher.connection.state === 'connected' && window.pusher.connection.socket_id !== id,
      before,
    );
    await grace.waitForFunction(() => window.pusher.user.user_data?.id === 'grace');
    await has(ada, ['offline', 'grace']);
    assert.equal(await ada.evaluate(() => window.seen.some(([name]) => name === 'hello')), false);
    ada.assertQuiet();

    await grace.context().close();
    await ada.context().close();
  });
});
