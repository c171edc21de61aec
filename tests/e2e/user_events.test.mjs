// PROTOCOL 3.2: an event for a user arrives once on each of the user's connections, and nowhere else.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { callApi } from './api.mjs';
import { Client, subscribe } from './client.mjs';
import { APPS, startServer } from './server.mjs';

describe('user events', () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  const channelOf = (user) => `#server-to-user-${user}`;
  const post = (path, body, app = APPS.main) => callApi(server, app, { path, body });
  const toUser = async (user, name, more) => {
    const answer = await post('/apps/1/events', { name, data: `"${name}"`, channels: [channelOf(user)], ...more });
    assert.deepEqual([answer.status, answer.text], [200, '{}']);
  };

  it('arrive once on each connection, subscribed or not, and nowhere else', async () => {
    const ada = await Promise.all([1, 2, 3].map(() => Client.signedIn(server, APPS.main, 'ada')));
    const others = [
      // Another user, the other app's user of that name, nobody, and a user whose id ends in a space.
      await Client.signedIn(server, APPS.main, 'grace'),
      await Client.signedIn(server, APPS.other, 'ada'),
      await Client.connect(server, APPS.main),
      await Client.signedIn(server, APPS.main, 'ada '),
    ];
    await ada[0].subscribe(channelOf('ada'), '');
    for (const client of others) {
      client.send(subscribe(channelOf('ada'), ''));
      await client.answers();
    }
    for (let n = 0; n < 20; n += 1) await toUser('ada', `event-${n}`);
    for (const client of ada) {
      await client.event('event-19');
      const events = client.received.filter(({ event }) => event.startsWith('event-'));
      assert.deepEqual(events.map(({ event }) => event), Array.from({ length: 20 }, (_, n) => `event-${n}`));
      assert.deepEqual(events[0], { event: 'event-0', channel: channelOf('ada'), data: '"event-0"' });
    }
    await toUser('grace', 'sentinel');
    await others[0].event('sentinel');
    for (const client of others) {
      await client.pong();
      assert.deepEqual(client.received.filter(({ event }) => event.startsWith('event-')), []);
    }
    await Promise.all([...ada, ...others].map((client) => client.close()));
  });

  it('honour the excluded socket id', async () => {
    const [first, second] = await Promise.all([1, 2].map(() => Client.signedIn(server, APPS.main, 'ada')));
    await toUser('ada', 'excluded', { socket_id: first.socketId });
    await toUser('ada', 'for-all');
    await toUser('ada', 'unknown-socket', { socket_id: '1.1' });
    for (const client of [first, second]) await client.event('unknown-socket');
    assert.deepEqual(first.received.slice(2).map(({ event }) => event), ['for-all', 'unknown-socket']);
    assert.deepEqual(second.received.slice(2).map(({ event }) => event), ['excluded', 'for-all', 'unknown-socket']);
    await first.close();
    await second.close();
  });

  it('published the moment signin_success is seen always arrive', async () => {
    for (let round = 0; round < 300; round += 1) {
      const user = `moment-${round % 7}`;
      const client = await Client.signedIn(server, APPS.main, user);
      await toUser(user, `now-${round}`);
      await client.event(`now-${round}`);
      // Half the rounds leave the user's channel attached, half attach it anew.
      if (round % 2 === 0) await client.close();
      else client.socket.terminate();
    }
  });

  it('come by the users endpoint, by batches, and by the app key in the path', async () => {
    const ada = await Client.signedIn(server, APPS.main, 'ada');
    const grace = await Client.signedIn(server, APPS.main, 'grace');
    for (const path of ['/apps/1/users/ada/events', '/apps/main-key/users/ada/events']) {
      assert.deepEqual((await post(path, { name: 'direct', data: '{"a":1}' })).json, {});
      assert.deepEqual(await ada.event('direct'), { event: 'direct', channel: channelOf('ada'), data: '{"a":1}' });
    }
    const batch = [
      { name: 'one', channel: channelOf('ada'), data: '1' },
      { name: 'two', channel: channelOf('grace'), data: '2' },
      { name: 'three', channel: channelOf('ada'), data: '3', socket_id: ada.socketId },
    ];
    assert.deepEqual((await post('/apps/1/batch_events', { batch })).json, {});
    assert.equal((await ada.event('one')).data, '1');
    assert.equal((await grace.event('two')).data, '2');
    await toUser('ada', 'last');
    await ada.event('last');
    assert.deepEqual(ada.received.filter(({ event }) => event === 'two' || event === 'three'), []);
    await ada.close();
    await grace.close();
  });

  it('go to several users at once, and to a name given twice once', async () => {
    const ada = await Client.signedIn(server, APPS.main, 'ada');
    const grace = await Client.signedIn(server, APPS.main, 'grace');
    const channels = [channelOf('ada'), channelOf('grace'), channelOf('ada')];
    assert.equal((await post('/apps/1/events', { name: 'both', data: '', channels })).status, 200);
    assert.equal((await grace.event('both')).data, '');
    await toUser('ada', 'last');
    await ada.event('last');
    assert.equal(ada.receivedEvents('both').length, 1);
    await ada.close();
    await grace.close();
  });

  it('reach ids of all characters, by both endpoints', async () => {
    for (const user of ['auth0|5f7c', 'josé', 'a b', 'a+b@x.com', '日本', 'a/b', '50%', 'x/events', '?q=1&r']) {
      const client = await Client.signedIn(server, APPS.main, user);
      await toUser(user, 'by-channel');
      assert.equal((await client.event('by-channel')).channel, channelOf(user));
      const path = `/apps/1/users/${encodeURIComponent(user)}/events`;
      const answer = await post(path, { name: 'by-path', data: '1' });
      assert.deepEqual([answer.status, answer.text], [200, '{}'], user);
      await client.event('by-path');
      await client.close();
    }
  });

  it('tell apart ids that look the same', async () => {
    const spellings = ['jos\u00e9', 'jose\u0301', 'JOS\u00c9', 'jos\u00e9\u200b'];
    const clients = await Promise.all(spellings.map((user) => Client.signedIn(server, APPS.main, user)));
    for (const [n, user] of spellings.entries()) await toUser(user, `for-${n}`);
    for (const [n, client] of clients.entries()) {
      await client.event(`for-${n}`);
      await client.pong();
      const events = client.received.filter(({ event }) => event.startsWith('for-'));
      assert.deepEqual(events.map(({ event }) => event), [`for-${n}`]);
    }
    await Promise.all(clients.map((client) => client.close()));
  });

  it('keep data as it was published', async () => {
    const client = await Client.signedIn(server, APPS.main, 'ada');
    const json = ['{"a": 1.0}', '"\\u00e9"', '12345678901234567890'];
    const texts = ['', ' ', 'text', ...json, 'é🦀\n\u0000"\\', '</script>'];
    for (const data of texts) {
      await toUser('ada', 'raw', { data });
      assert.equal((await client.event('raw')).data, data);
    }
    // Any JSON value is taken, too, and kept as its text.
    const body = `{"name":"value","channel":"${channelOf('ada')}","data":{"b": [1.0, 12345678901234567890]}}`;
    assert.equal((await post('/apps/1/events', body)).status, 200);
    assert.equal((await client.event('value')).data, '{"b": [1.0, 12345678901234567890]}');
    await client.close();
  });

  it('take up to 10 240 bytes of data', async () => {
    const client = await Client.signedIn(server, APPS.main, 'ada');
    await toUser('ada', 'large', { data: 'x'.repeat(10_240) });
    assert.equal((await client.event('large')).data.length, 10_240);
    await client.close();
  });

  it('are accepted for a user who is not there', async () => {
    await toUser('nobody', 'unheard');
  });
});
