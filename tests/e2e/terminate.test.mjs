// PROTOCOL 5: `closed` means closed, and counts exactly the connections that were.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { callApi } from './api.mjs';
import { Client, assertError, eventually } from './client.mjs';
import { Control } from './control.mjs';
import { APPS, startServer } from './server.mjs';

describe('termination', () => {
  let server;
  let control;
  before(async () => {
    server = await startServer();
    control = new Control(server);
  });
  after(async () => {
    control.close();
    await server.stop();
  });

  const signedIn = (user, fields, app = APPS.main) => Client.signedIn(server, app, user, fields);
  const several = (count, user) => Promise.all(Array.from({ length: count }, () => signedIn(user)));
  const terminate = (user, options = {}) =>
    control.call('TerminateUserConnections', { app_id: '1', user_id: user, ...options });
  const pathFor = (user, app = APPS.main) => `/apps/${app.id}/users/${encodeURIComponent(user)}/terminate_connections`;
  const byHttp = (user, app = APPS.main) => callApi(server, app, { path: pathFor(user, app), body: '{}' });

  async function assertAlive(clients) {
    for (const client of clients) assert.deepEqual(await client.answers(), []);
  }

  /** What a terminated client sees: an error frame, then a close of the same code and text. */
  async function assertTerminated(client, code = 4200) {
    const closed = await client.whenClosed();
    assertError(client.received.at(-1), code);
    assert.deepEqual(closed, { code, reason: client.received.at(-1).data.message });
    return closed.reason;
  }

  it('closes every connection of the user and no other, by gRPC', async () => {
    const ada = await several(5, 'ada');
    const others = [
      await signedIn('grace'),
      await signedIn('ada', {}, APPS.other),
      await Client.connect(server, APPS.main),
    ];
    const answer = await terminate('ada', { reason: 'signed out everywhere' });
    assert.equal(answer.closed, 5);
    assert.equal(answer.complete, true);
    assert.deepEqual(answer.unconfirmed_nodes, []);
    assert.equal(answer.nodes.reduce((sum, node) => sum + node.connections, 0), 5);
    for (const client of ada) assert.equal(await assertTerminated(client), 'signed out everywhere');
    await assertAlive(others);
    await Promise.all(others.map((client) => client.close()));
  });

  it('answers {} by HTTP, for an unknown user, too, and with an empty body', async () => {
    const client = await signedIn('ada');
    const answer = await byHttp('ada');
    assert.deepEqual([answer.status, answer.text], [200, '{}']);
    await assertTerminated(client);
    assert.equal((await byHttp('nobody')).status, 200);
    assert.equal((await callApi(server, APPS.main, { path: pathFor('nobody') })).status, 200);
    const alias = '/users/nobody/terminate_connections';
    assert.equal((await callApi(server, APPS.main, { path: alias, body: '{}' })).text, '{}');
  });

  it('spares a presence of that name: only a sign-in counts', async () => {
    const client = await signedIn('grace');
    await client.subscribe('news');
    assert.equal((await terminate('news')).closed, 0);
    await assertAlive([client]);
    await client.close();
  });

  it('ends in an offline event for those who watch', async () => {
    const ada = await several(2, 'watched');
    const watcher = await signedIn('watcher', { watchlist: ['watched'] });
    await watcher.event('pusher_internal:watchlist_events');
    await terminate('watched');
    await eventually(() => watcher.levelsOf('watched').length === 2, 'offline');
    assert.deepEqual(watcher.levelsOf('watched'), ['online', 'offline']);
    await Promise.all(ada.map((client) => client.whenClosed()));
    await watcher.close();
  });

  it('lets nothing reach a terminated connection after the answer', async () => {
    for (let round = 0; round < 50; round += 1) {
      const client = await signedIn('target');
      await byHttp('target');
      await callApi(server, APPS.main, {
        path: '/apps/1/events',
        body: { name: 'too-late', channel: '#server-to-user-target', data: '' },
      });
      await client.whenClosed();
      assert.deepEqual(client.receivedEvents('too-late'), []);
    }
  });

  it('reaches a connection the moment it has seen its success', async () => {
    for (let round = 0; round < 100; round += 1) {
      const client = await signedIn(`moment-${round % 5}`);
      assert.equal((await terminate(`moment-${round % 5}`)).closed, 1, `round ${round}`);
      await client.whenClosed();
    }
  });

  it('closes with the code of the app or of the call', async () => {
    const stopped = await signedIn('ada', {}, APPS.stopping);
    assert.equal((await byHttp('ada', APPS.stopping)).status, 200);
    await assertTerminated(stopped, 4009);
    const overruled = await signedIn('ada', {}, APPS.stopping);
    await control.call('TerminateUserConnections', {
      app_id: APPS.stopping.id,
      user_id: 'ada',
      close_class: 'CLOSE_CLASS_RECONNECT',
    });
    await assertTerminated(overruled, 4200);
    const stop = await signedIn('ada');
    await terminate('ada', { close_class: 'CLOSE_CLASS_STOP' });
    await assertTerminated(stop, 4009);
  });

  it('spares excepted connections, and closes only those asked for', async () => {
    const [here, ...elsewhere] = await several(4, 'ada');
    assert.equal((await terminate('ada', { except_socket_ids: [here.socketId] })).closed, 3);
    for (const client of elsewhere) await assertTerminated(client);
    await assertAlive([here]);

    const [one, two] = await several(2, 'ada');
    const grace = await signedIn('grace');
    const only = await terminate('ada', { only_socket_ids: [one.socketId, grace.socketId, '1.1'] });
    assert.equal(only.closed, 1);
    await assertTerminated(one);
    await assertAlive([here, two, grace]);
    await Promise.all([here, two, grace].map((client) => client.close()));
  });

  it('counts in a dry run and closes nothing', async () => {
    const clients = await several(3, 'ada');
    const waiting = await Client.connect(server, APPS.main);
    assert.equal((await terminate('ada', { dry_run: true })).closed, 3);
    const spared = await terminate('ada', { dry_run: true, except_socket_ids: [clients[0].socketId] });
    assert.equal(spared.closed, 2);
    await assertAlive(clients);
    await waiting.signIn('ada'); // A dry run leaves no fence either.
    assert.equal((await terminate('ada')).closed, 4);
    assert.equal((await terminate('ada', { dry_run: true })).closed, 0);
  });

  it('fences a connection that was open before: refused when it signs in, with a reason of its own', async () => {
    const waiting = await Client.connect(server, APPS.main);
    const stopped = await Client.connect(server, APPS.stopping);
    const terminated = await signedIn('ada');
    assert.equal((await terminate('ada')).closed, 1);
    await byHttp('ada', APPS.stopping);
    const reason = await assertTerminated(terminated);
    waiting.sendSignIn('ada');
    const refusal = await assertTerminated(waiting, 4200);
    assert.notEqual(refusal, reason);
    // Whatever the termination's close class: an honest client may come back.
    stopped.sendSignIn('ada');
    await assertTerminated(stopped, 4200);
    const later = await signedIn('ada');
    await assertAlive([later]);
    await later.close();
  });

  it('fences that user only, and not the excepted connection', async () => {
    const [one, two, three] = await Promise.all([1, 2, 3].map(() => Client.connect(server, APPS.main)));
    await terminate('ada', { except_socket_ids: [one.socketId] });
    await one.signIn('ada');
    await two.signIn('grace');
    three.sendSignIn('ada');
    await assertTerminated(three);
    await one.close();
    await two.close();
  });

  it('counts exactly what it closed, with hundreds of sign-ins racing it, and spares none from before', async () => {
    let survivors = [];
    for (let round = 0; round < 6; round += 1) {
      const reason = `round ${round}`;
      const before = [...survivors, ...(await several(25, 'racer'))];
      const waiting = await Promise.all(Array.from({ length: 25 }, () => Client.connect(server, APPS.main)));
      // Sign-ins on open connections and on connections that open now, all at once with the termination.
      const racing = [];
      const outcome = async (client) => {
        const answer = await client.until(() => true).catch(() => null);
        return { client, answer: answer?.event };
      };
      for (const client of waiting.slice(0, 12)) {
        client.sendSignIn('racer');
        racing.push(outcome(client));
      }
      const terminated = terminate('racer', { reason });
      for (const client of waiting.slice(12)) {
        client.sendSignIn('racer');
        racing.push(outcome(client));
      }
      for (let n = 0; n < 25; n += 1) {
        racing.push(
          Client.connect(server, APPS.main).then((client) => {
            client.sendSignIn('racer');
            return outcome(client);
          }),
        );
      }
      const answer = await terminated;
      assert.equal(answer.complete, true);
      const raced = (await Promise.all(racing)).map(({ client }) => client);
      // All were opened before the answer, so whoever is not closed has signed in and says so.
      survivors = [];
      let closed = 0;
      for (const client of [...before, ...raced]) {
        const pong = await client.answers().catch(() => null);
        if (pong === null) {
          const { code, reason: why } = await client.whenClosed();
          assert.equal(code, 4200);
          if (why === reason) closed += 1;
          else assert.ok(!before.includes(client), `signed in before, closed with ${why}`);
        } else {
          assert.ok(!before.includes(client), 'a connection signed in before has survived');
          survivors.push(client);
        }
      }
      assert.equal(answer.closed, closed, reason);
    }
    assert.equal((await terminate('racer')).closed, survivors.length);
  });

  it('counts each connection once when two calls race', async () => {
    for (let round = 0; round < 20; round += 1) {
      const clients = await several(4, 'ada');
      const answers = await Promise.all([terminate('ada'), terminate('ada'), byHttp('ada')]);
      assert.ok(answers[0].closed + answers[1].closed <= 4);
      await Promise.all(clients.map((client) => client.whenClosed()));
    }
  });

  it('takes ids of all characters', async () => {
    for (const user of ['auth0|5f7c', 'josé', 'a b', 'a+b@x.com', 'a/b', '50%', 'x/terminate_connections', '日本']) {
      const client = await signedIn(user);
      const answer = await byHttp(user);
      assert.deepEqual([answer.status, answer.text], [200, '{}'], user);
      await assertTerminated(client);
    }
  });

  it('takes a signature over the path before it was encoded, as the Node SDK makes it', async () => {
    for (const user of ['auth0|5f7c', 'josé', 'a b']) {
      const client = await signedIn(user);
      const path = pathFor(user);
      const signedPath = `/apps/1/users/${user}/terminate_connections`;
      const answer = await callApi(server, APPS.main, { path, signedPath, body: '{}' });
      assert.deepEqual([answer.status, answer.text], [200, '{}'], user);
      await assertTerminated(client);
    }
  });
});
