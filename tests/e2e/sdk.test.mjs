// Unmodified SDKs: pusher-js in Node as the client; the Node and the Python server SDKs as the backend.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import PusherServer from 'pusher';
import PusherClient from 'pusher-js';
import { CANARY } from './api.mjs';
import { Client, eventually, sorted, within } from './client.mjs';
import { APPS, startServer } from './server.mjs';

const PYTHON = process.env.SDK_PYTHON ?? 'python3';

describe('SDKs', () => {
  let server;
  let backend;
  let node;
  let python;
  const clients = [];

  before(async () => {
    server = await startServer();
    node = serverSdk(APPS.main);
    backend = await startBackend();
    python = startPython();
  });
  after(async () => {
    for (const client of clients) client.disconnect();
    backend.close();
    await python.close();
    await server.stop();
  });

  const serverSdk = ({ id: appId, key, secret }) =>
    new PusherServer({ appId, key, secret, host: '127.0.0.1', port: String(server.ports.gateway), useTLS: false });

  /** An application's two endpoints, which sign with the official SDK for whom the query names. */
  async function startBackend() {
    const listener = createServer((request, response) => {
      let text = '';
      request.on('data', (part) => (text += part));
      request.on('end', () => {
        const form = new URLSearchParams(text);
        const query = new URL(request.url, 'http://x').searchParams;
        const sdk = serverSdk(Object.values(APPS).find(({ key }) => key === query.get('app')));
        const user = { id: query.get('user'), name: CANARY, watchlist: query.getAll('watch') };
        const answer = form.has('channel_name')
          ? sdk.authorizeChannel(form.get('socket_id'), form.get('channel_name'))
          : sdk.authenticateUser(form.get('socket_id'), user);
        response.end(JSON.stringify(answer));
      });
    });
    await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
    return listener;
  }

  function clientSdk(user, watchlist = [], app = APPS.main) {
    const watches = watchlist.map((watched) => ['watch', watched]);
    const query = new URLSearchParams([['app', app.key], ['user', user], ...watches]);
    const endpoint = `http://127.0.0.1:${backend.address().port}/?${query}`;
    const pusher = new PusherClient(app.key, {
      wsHost: '127.0.0.1',
      wsPort: server.ports.gateway,
      forceTLS: false,
      enabledTransports: ['ws'],
      cluster: '',
      userAuthentication: { endpoint },
      channelAuthorization: { endpoint },
    });
    clients.push(pusher);
    return pusher;
  }

  async function signedIn(user, watchlist, app) {
    const pusher = clientSdk(user, watchlist, app);
    pusher.signin();
    await within(pusher.user.signinDonePromise, 'the sign-in');
    assert.equal(pusher.user.user_data.id, user);
    return pusher;
  }

  const eventOf = (emitter, name) => within(new Promise((resolve) => emitter.bind(name, resolve)), `the event ${name}`);

  /** The Python SDK behind a pipe: a line of JSON for each call, a line for its answer. */
  function startPython() {
    const script = fileURLToPath(new URL('python_sdk.py', import.meta.url));
    const child = spawn(PYTHON, [script, String(server.ports.gateway), JSON.stringify(APPS.main)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let read = '';
    const waiting = [];
    child.stdout.on('data', (text) => {
      read += text;
      for (let end = read.indexOf('\n'); end >= 0; end = read.indexOf('\n')) {
        waiting.shift()(JSON.parse(read.slice(0, end)));
        read = read.slice(end + 1);
      }
    });
    const exited = new Promise((resolve) => child.on('exit', resolve));
    return {
      call: (method, ...args) => {
        const answer = new Promise((resolve) => waiting.push(resolve));
        child.stdin.write(`${JSON.stringify({ method, args })}\n`);
        return within(answer, `Python's ${method}`);
      },
      close: () => {
        child.stdin.end();
        return exited;
      },
    };
  }

  it('pusher-js signs in, and gets what the Node and Python SDKs send to its user', async () => {
    const ada = await signedIn('ada');
    const grace = await signedIn('grace');
    const strange = [];
    grace.user.bind_global((name) => strange.push(name));
    for (const [n, sdk] of [
      (event, data) => node.sendToUser('ada', event, data),
      (event, data) => python.call('send_to_user', 'ada', event, data),
    ].entries()) {
      const got = eventOf(ada.user, `hello-${n}`);
      await sdk(`hello-${n}`, { text: 'é🦀', n });
      assert.deepEqual(await got, { text: 'é🦀', n });
    }
    const sentinel = eventOf(grace.user, 'sentinel');
    await node.sendToUser('grace', 'sentinel', {});
    await sentinel;
    assert.deepEqual(strange.filter((name) => name.startsWith('hello')), []);
  });

  it('pusher-js gets an event sent the moment it has signed in', async () => {
    for (let round = 0; round < 60; round += 1) {
      const pusher = clientSdk(`moment-${round % 5}`);
      pusher.signin();
      const got = new Promise((resolve) => pusher.user.bind(`now-${round}`, resolve));
      await within(pusher.user.signinDonePromise, 'the sign-in');
      await node.sendToUser(`moment-${round % 5}`, `now-${round}`, {});
      await within(got, `round ${round}`);
      pusher.disconnect();
    }
  });

  it('pusher-js sees its watchlist come online and go offline', async () => {
    const seen = [];
    const ada = clientSdk('watcher', ['watched', 'absent']);
    for (const name of ['online', 'offline']) {
      ada.user.watchlist.bind(name, (event) => seen.push([event.name, ...sorted(event.user_ids)]));
    }
    ada.signin();
    await eventually(() => seen.length === 1, 'the snapshot');
    const first = await signedIn('watched');
    const second = await signedIn('watched');
    await eventually(() => seen.length === 2, 'online');
    first.disconnect();
    second.disconnect();
    await eventually(() => seen.length === 3, 'offline');
    assert.deepEqual(seen, [['offline', 'absent', 'watched'], ['online', 'watched'], ['offline', 'watched']]);
  });

  it('the Node and Python SDKs terminate; pusher-js returns on a new connection and signs in again', async () => {
    for (const terminate of [
      () => node.terminateUserConnections('ada'),
      () => python.call('terminate_user_connections', 'ada'),
    ]) {
      const ada = await signedIn('ada');
      const raw = await Client.signedIn(server, APPS.main, 'ada');
      const before = ada.connection.socket_id;
      const error = eventOf(ada.connection, 'error');
      await terminate();
      assert.equal((await error).data.code, 4200);
      assert.equal((await raw.whenClosed()).code, 4200);
      await eventually(
        () => ada.connection.state === 'connected' && ada.connection.socket_id !== before,
        'the new connection',
      );
      const got = eventOf(ada.user, 'welcome-back');
      await eventually(() => ada.user.user_data?.id === 'ada', 'the new sign-in');
      await node.sendToUser('ada', 'welcome-back', {});
      await got;
      ada.disconnect();
    }
  });

  it('a termination with 4009 stops pusher-js', async () => {
    // (In Node, pusher-js leaves a timer of 30 s behind here, so this file ends that much later.)
    const ada = await signedIn('ada', [], APPS.stopping);
    await serverSdk(APPS.stopping).terminateUserConnections('ada');
    await eventually(() => ada.connection.state === 'disconnected', 'disconnected');
  });

  it('the Node SDK terminates ids of all characters', async () => {
    for (const user of ['auth0|5f7c', 'josé', 'a b', 'a+b@x.com', 'a/b']) {
      const raw = await Client.signedIn(server, APPS.main, user);
      await node.terminateUserConnections(user);
      assert.equal((await raw.whenClosed()).code, 4200, user);
    }
  });

  it('pusher-js joins public and private channels, and both SDKs publish on them', async () => {
    const ada = clientSdk('ada');
    for (const name of ['news', 'private-room']) {
      const channel = ada.subscribe(name);
      await eventOf(channel, 'pusher:subscription_succeeded');
      for (const [n, publish] of [
        (event) => node.trigger(name, event, { n: 1 }),
        (event) => node.triggerBatch([{ channel: name, name: event, data: { n: 1 } }]),
        (event) => python.call('trigger', name, event, { n: 1 }),
        (event) => python.call('trigger_batch', [{ channel: name, name: event, data: { n: 1 } }]),
      ].entries()) {
        const got = eventOf(channel, `event-${n}`);
        await publish(`event-${n}`);
        assert.deepEqual(await got, { n: 1 });
      }
    }
  });

  it('pusher-js learns that a private channel was refused', async () => {
    // The endpoint signs for another app here, so that the token is wrong.
    const ada = clientSdk('ada');
    ada.config.channelAuthorizer = ({ socketId, channelName }, callback) =>
      callback(null, { auth: serverSdk(APPS.other).authorizeChannel(socketId, channelName).auth });
    const error = await eventOf(ada.subscribe('private-room'), 'pusher:subscription_error');
    assert.equal(error.status, 401);
    assert.equal(error.type, 'AuthError');
  });

  it('tokens made by the Python SDK sign in', async () => {
    const client = await Client.connect(server, APPS.main);
    const token = await python.call('authenticate_user', client.socketId, { id: 'ada', name: `Äda ${CANARY}` });
    client.send({ event: 'pusher:signin', data: token.result });
    assert.equal((await client.next()).event, 'pusher:signin_success');
    await client.close();
  });

  it('the SDKs tell an error of the API', async () => {
    const wrong = serverSdk({ ...APPS.main, secret: 'wrong' });
    await assert.rejects(wrong.sendToUser('ada', 'hello', {}), (error) => error.status === 401);
    const answer = await python.call('trigger', 'a b', 'hello', {});
    assert.match(answer.error, /channel/i);
  });
});
