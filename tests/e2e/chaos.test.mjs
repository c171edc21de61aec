// Random histories of sign-ins, closes, events and terminations, checked against what must hold for each connection:
// events of its own user only and once, alternating levels of the users it watches, and the truth in the end.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { callApi } from './api.mjs';
import { Client, eventually } from './client.mjs';
import { Control } from './control.mjs';
import { APPS, startServer } from './server.mjs';

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const USERS = Array.from({ length: 8 }, (_, n) => `user-${n}`);
const STEPS = 600;
const MOST_CONNECTIONS = 40;
/** Steps that are under way at once. */
const AT_ONCE = 6;

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe(`a random history (SEED=${SEED})`, () => {
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

  const random = generator(SEED);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const some = (list) => list.filter(() => random() < 0.4);

  /** All connections there have been, each with its watchlists in the order of its sign-ins. */
  const all = [];
  /** Those that a step may use: open, and of no other step now. */
  const idle = new Set();
  let events = 0;

  const takeIdle = () => {
    const client = pick([...idle]);
    idle.delete(client);
    return client;
  };

  /** Signs in; a termination or the fence may close the connection instead. */
  async function signIn(client, user, watchlist) {
    client.watchlists.push(watchlist);
    client.sendSignIn(user, { watchlist });
    const success = client.event('pusher:signin_success');
    if (await success.catch(() => null)) idle.add(client);
  }

  const steps = {
    async open() {
      const client = await Client.connect(server, APPS.main);
      all.push(Object.assign(client, { user: pick(USERS), watchlists: [] }));
      await signIn(client, client.user, some(USERS));
    },
    async signInAgain() {
      const client = takeIdle();
      await signIn(client, client.user, some(USERS));
    },
    async close() {
      const client = takeIdle();
      client.socket.close(1000);
      await client.whenClosed();
    },
    async cut() {
      const client = takeIdle();
      client.socket.terminate();
      await client.whenClosed();
    },
    async send() {
      await sendTo(pick(USERS), `event-${(events += 1)}`);
    },
    async terminate() {
      const answer = await control.call('TerminateUserConnections', { app_id: '1', user_id: pick(USERS) });
      assert.equal(answer.complete, true);
    },
  };

  async function sendTo(user, name) {
    const body = { name, channel: `#server-to-user-${user}`, data: user };
    assert.equal((await callApi(server, APPS.main, { path: '/apps/1/events', body })).status, 200);
  }

  function nextStep() {
    const dice = random();
    if (idle.size < 5 || (dice < 0.35 && idle.size < MOST_CONNECTIONS)) return 'open';
    if (dice < 0.5) return 'signInAgain';
    if (dice < 0.65) return 'close';
    if (dice < 0.75) return 'cut';
    return dice < 0.95 ? 'send' : 'terminate';
  }

  /** Walks through what a connection received and returns the last level it was told of each user it watches. */
  function checkHistory(client) {
    const seen = new Set();
    let signIns = 0;
    let told = new Map();
    for (const frame of client.received) {
      const where = `${client.user} ${client.socketId}: ${JSON.stringify(client.received)}`;
      if (frame.event === 'pusher:signin_success') {
        signIns += 1;
        told = new Map();
      } else if (frame.event === 'pusher_internal:watchlist_events') {
        const watchlist = client.watchlists[signIns - 1];
        for (const { name, user_ids: users } of JSON.parse(frame.data).events) {
          for (const user of users) {
            assert.ok(watchlist.includes(user), `${user} is not watched; ${where}`);
            assert.notEqual(told.get(user), name, `${user} ${name} twice; ${where}`);
            told.set(user, name);
          }
        }
      } else if (frame.channel !== undefined) {
        assert.equal(frame.data, client.user, `an event for somebody else; ${where}`);
        assert.ok(!seen.has(frame.event), `${frame.event} twice; ${where}`);
        seen.add(frame.event);
      }
    }
    return told;
  }

  it('keeps every promise', { timeout: 120_000 }, async () => {
    const underWay = new Set();
    for (let step = 0; step < STEPS; step += 1) {
      const running = steps[nextStep()]().finally(() => underWay.delete(running));
      underWay.add(running);
      if (underWay.size === AT_ONCE) await Promise.race(underWay);
      // Clients that a termination has closed meanwhile are of no more use.
      for (const client of idle) if (client.isClosed) idle.delete(client);
    }
    await Promise.all(underWay);

    // Now everything is quiet: each open connection gets a last event, and knows the truth.
    for (const user of USERS) await sendTo(user, 'the-last');
    const open = all.filter((client) => !client.isClosed);
    assert.ok(open.length > 0);
    for (const client of open) await client.event('the-last');
    const online = new Set(open.map(({ user }) => user));
    for (const client of open) {
      await eventually(() => {
        const told = checkHistory(client);
        const watchlist = client.watchlists.at(-1);
        return watchlist.every((user) => told.get(user) === (online.has(user) ? 'online' : 'offline'));
      }, `the truth at ${client.user} ${client.socketId}, online ${[...online]}: ${JSON.stringify(client.received)}`);
    }
    for (const client of all) checkHistory(client);
    const { users } = await control.call('GetUsers', { app_id: '1', user_ids: USERS });
    for (const { user_id: user, online: isOnline } of users) assert.equal(isOnline, online.has(user), user);
    await Promise.all(open.map((client) => client.close()));
  });
});
