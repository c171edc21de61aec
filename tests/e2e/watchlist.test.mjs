// PROTOCOL 4: snapshots, transitions, and nothing else.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { signInToken } from './api.mjs';
import { Client, assertError, eventually, sorted } from './client.mjs';
import { APPS, startServer } from './server.mjs';

describe('watchlist', () => {
  let server;
  let unique = 0;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  /** Ids that no other test has used. */
  const names = (...bases) => bases.map((base) => `${base}-${(unique += 1)}`);
  const watching = (user, watchlist, app = APPS.main) => Client.signedIn(server, app, user, { watchlist });

  it('snapshot is one frame after the success, offline before online, without a channel', async () => {
    const [ada, grace, alan] = names('ada', 'grace', 'alan');
    const online = await Client.signedIn(server, APPS.main, grace);
    const client = await watching(ada, [grace, alan]);
    const frame = await client.next();
    assert.deepEqual(Object.keys(frame).sort(), ['data', 'event']);
    assert.equal(frame.event, 'pusher_internal:watchlist_events');
    assert.deepEqual(JSON.parse(frame.data), {
      events: [
        { name: 'offline', user_ids: [alan] },
        { name: 'online', user_ids: [grace] },
      ],
    });
    await client.close();
    await online.close();
  });

  it('snapshot omits the empty list, and an empty watchlist has none', async () => {
    const [ada, grace] = names('ada', 'grace');
    const nobody = await watching(ada, [grace]);
    assert.deepEqual(JSON.parse((await nobody.next()).data).events, [{ name: 'offline', user_ids: [grace] }]);
    const self = await watching(grace, [ada]);
    assert.deepEqual(JSON.parse((await self.next()).data).events, [{ name: 'online', user_ids: [ada] }]);
    const empty = await watching(ada, []);
    assert.deepEqual(await empty.answers(), []);
    await Promise.all([nobody, self, empty].map((client) => client.close()));
  });

  it('tells the first connection and the end of the last, and is silent for others', async () => {
    const [ada, grace, sentinel] = names('ada', 'grace', 'sentinel');
    const watcher = await watching(ada, [grace, sentinel]);
    const first = await Client.signedIn(server, APPS.main, grace);
    await eventually(() => watcher.levelsOf(grace).length === 2, 'online');
    const second = await Client.signedIn(server, APPS.main, grace);
    const third = await watching(grace, [ada]);
    await first.close();
    await second.close();
    const end = await Client.signedIn(server, APPS.main, sentinel);
    await eventually(() => watcher.levelsOf(sentinel).length === 2, 'the sentinel');
    assert.deepEqual(watcher.levelsOf(grace), ['offline', 'online']);
    await third.close();
    await eventually(() => watcher.levelsOf(grace).length === 3, 'offline');
    await end.close();
    await eventually(() => watcher.levelsOf(sentinel).length === 3, 'the end of the sentinel');
    assert.deepEqual(watcher.levelsOf(grace), ['offline', 'online', 'offline']);
    await watcher.close();
  });

  it('alternates through many connects, and ends at the truth', async () => {
    const [ada, grace] = names('ada', 'grace');
    const watchers = await Promise.all([watching(ada, [grace]), watching(ada, [grace]), watching(`${ada}-b`, [grace])]);
    for (let round = 0; round < 40; round += 1) {
      const clients = await Promise.all(
        Array.from({ length: 1 + (round % 3) }, () => Client.signedIn(server, APPS.main, grace)),
      );
      await Promise.all(clients.map((client) => (round % 2 ? client.close() : client.socket.terminate())));
    }
    const last = await Client.signedIn(server, APPS.main, grace);
    for (const watcher of watchers) {
      await eventually(() => watcher.levelsOf(grace).at(-1) === 'online', 'the last level');
      const levels = watcher.levelsOf(grace);
      assert.ok(levels.length > 2, 'the watcher has seen changes');
      levels.forEach((level, n) => assert.equal(level, n % 2 ? 'online' : 'offline', levels.join()));
    }
    await last.close();
    for (const watcher of watchers) {
      await eventually(() => watcher.levelsOf(grace).at(-1) === 'offline', 'the end');
      await watcher.close();
    }
  });

  it('shows the own id online, always', async () => {
    const [ada, sentinel] = names('ada', 'sentinel');
    const watcher = await watching(ada, [ada, sentinel]);
    await watcher.event('pusher_internal:watchlist_events');
    const other = await Client.signedIn(server, APPS.main, ada);
    await other.close();
    const end = await Client.signedIn(server, APPS.main, sentinel);
    await eventually(() => watcher.levelsOf(sentinel).length === 2, 'the sentinel');
    assert.deepEqual(watcher.levelsOf(ada), ['online']);
    await watcher.close();
    await end.close();
  });

  it('above 100 is cut, which error 4302 tells before the success', async () => {
    const [ada, base] = names('ada', 'many');
    const users = Array.from({ length: 105 }, (_, n) => `${base}-${n}`);
    const outside = await Client.signedIn(server, APPS.main, users[100]);
    const inside = await Client.signedIn(server, APPS.main, users[99]);
    const client = await Client.connect(server, APPS.main);
    // Duplicates are removed before the cut.
    client.sendSignIn(ada, { watchlist: [users[0], users[0], users[1], ...users] });
    assertError(await client.next(), 4302);
    assert.equal((await client.next()).event, 'pusher:signin_success');
    const [offline, online] = JSON.parse((await client.next()).data).events;
    assert.deepEqual(online.user_ids, [users[99]]);
    assert.deepEqual(sorted(offline.user_ids), sorted(users.slice(0, 99)));
    await Promise.all([client, inside, outside].map((one) => one.close()));
  });

  it('of exactly 100 is taken whole', async () => {
    const [ada, base] = names('ada', 'hundred');
    const client = await Client.connect(server, APPS.main);
    client.sendSignIn(ada, { watchlist: Array.from({ length: 100 }, (_, n) => `${base}-${n}`) });
    assert.equal((await client.next()).event, 'pusher:signin_success');
    assert.equal(JSON.parse((await client.next()).data).events[0].user_ids.length, 100);
    await client.close();
  });

  it('entries that are no ids are skipped, and integers are their text', async () => {
    const [ada, grace] = names('ada', 'grace');
    const client = await Client.connect(server, APPS.main);
    const list = `[7, "${grace}", null, true, "", 1.5, {"id":"x"}, ["y"], 12345678901234567890]`;
    const text = `{"id":"${ada}","watchlist":${list}}`;
    client.send({ event: 'pusher:signin', data: signInToken(APPS.main, client.socketId, text) });
    assert.equal((await client.next()).event, 'pusher:signin_success');
    const [{ user_ids: users }] = JSON.parse((await client.next()).data).events;
    assert.deepEqual(sorted(users), sorted(['12345678901234567890', '7', grace]));
    await client.close();
  });

  it('that is no array is ignored', async () => {
    for (const watchlist of [null, 'grace', 7, true, { 0: 'grace' }]) {
      const client = await Client.signedIn(server, APPS.main, 'ada', { watchlist });
      assert.deepEqual(await client.answers(), [], JSON.stringify(watchlist));
      await client.close();
    }
  });

  it('is replaced by signing in again, which sends a new snapshot', async () => {
    const [ada, grace, alan] = names('ada', 'grace', 'alan');
    const client = await watching(ada, [grace]);
    await client.event('pusher_internal:watchlist_events');
    await client.signIn(ada, { watchlist: [alan] });
    assert.deepEqual(JSON.parse((await client.next()).data).events, [{ name: 'offline', user_ids: [alan] }]);
    const unwatched = await Client.signedIn(server, APPS.main, grace);
    const watched = await Client.signedIn(server, APPS.main, alan);
    await eventually(() => client.levelsOf(alan).length === 2, 'alan');
    assert.deepEqual(client.levelsOf(grace), ['offline']);
    await Promise.all([client, unwatched, watched].map((one) => one.close()));
  });

  it('is of one connection, not of the user', async () => {
    const [ada, grace, alan] = names('ada', 'grace', 'alan');
    const one = await watching(ada, [grace]);
    const two = await watching(ada, [alan]);
    const both = [await Client.signedIn(server, APPS.main, grace), await Client.signedIn(server, APPS.main, alan)];
    await eventually(() => one.levelsOf(grace).length === 2 && two.levelsOf(alan).length === 2, 'both');
    assert.deepEqual([one.levelsOf(alan), two.levelsOf(grace)], [[], []]);
    await Promise.all([one, two, ...both].map((client) => client.close()));
  });

  it('keeps apps apart', async () => {
    const [ada, grace, sentinel] = names('ada', 'grace', 'sentinel');
    const watcher = await watching(ada, [grace, sentinel]);
    const elsewhere = await Client.signedIn(server, APPS.other, grace);
    const end = await Client.signedIn(server, APPS.main, sentinel);
    await eventually(() => watcher.levelsOf(sentinel).length === 2, 'the sentinel');
    assert.deepEqual(watcher.levelsOf(grace), ['offline']);
    await Promise.all([watcher, elsewhere, end].map((client) => client.close()));
  });

  it('does nothing where the app has no watchlist events, 4302 neither', async () => {
    const many = Array.from({ length: 120 }, (_, n) => `user-${n}`);
    const client = await Client.connect(server, APPS.unwatched);
    client.sendSignIn('ada', { watchlist: many });
    assert.deepEqual((await client.answers()).map(({ event }) => event), ['pusher:signin_success']);
    await client.close();
  });

  it('does not see a reload within the grace, and sees a longer absence', async () => {
    const [ada, grace] = names('ada', 'grace');
    const watcher = await watching(ada, [grace], APPS.patient);
    await (await Client.signedIn(server, APPS.patient, grace)).close();
    const returned = await Client.signedIn(server, APPS.patient, grace);
    await eventually(() => watcher.levelsOf(grace).length === 2, 'online');
    await returned.close();
    const left = Date.now();
    const snapshot = await watching(`${ada}-b`, [grace], APPS.patient);
    assert.deepEqual(JSON.parse((await snapshot.next()).data).events[0].name, 'online');
    await eventually(() => watcher.levelsOf(grace).at(-1) === 'offline', 'offline');
    assert.ok(Date.now() - left >= 900, 'the grace was kept');
    assert.deepEqual(watcher.levelsOf(grace), ['offline', 'online', 'offline']);
    await watcher.close();
    await snapshot.close();
  });
});
