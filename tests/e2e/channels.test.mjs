// PROTOCOL 6.1 and 6.2, and 3.1: who may subscribe to what.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { callApi, channelToken, signInToken, userData } from './api.mjs';
import { Client, assertError, subscribe } from './client.mjs';
import { APPS, startServer } from './server.mjs';

describe('channels', () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  const publish = (channel, name, more) =>
    callApi(server, APPS.main, { path: '/apps/1/events', body: { name, channel, data: '{"n":1}', ...more } });

  /** Both frames of a refused subscription, in their order. */
  async function assertSubscriptionRefused(client, frame, channel, { type, status, code }) {
    client.send(frame);
    const [failure, error, ...more] = await client.answers();
    assert.equal(failure?.event, 'pusher:subscription_error', JSON.stringify(failure));
    assert.equal(failure.channel, channel);
    const data = JSON.parse(failure.data);
    assert.deepEqual({ type: data.type, status: data.status }, { type, status }, failure.data);
    assert.equal(typeof data.error, 'string');
    assertError(error, code);
    assert.deepEqual(more, []);
    return `${failure.data} ${error.data.message}`;
  }

  it('acknowledges a public channel, delivers its events and stops when told', async () => {
    const client = await Client.connect(server, APPS.main);
    assert.deepEqual(await client.subscribe('news', 'any', 'any'), {
      event: 'pusher_internal:subscription_succeeded',
      channel: 'news',
      data: '{}',
    });
    assert.equal((await publish('news', 'first')).status, 200);
    assert.deepEqual(await client.event('first'), { event: 'first', channel: 'news', data: '{"n":1}' });
    client.send({ event: 'pusher:unsubscribe', data: { channel: 'news' } });
    assert.deepEqual(await client.answers(), []);
    await client.subscribe('sport');
    await publish('news', 'unheard');
    await publish('sport', 'heard');
    await client.event('heard');
    assert.deepEqual(client.receivedEvents('unheard'), []);
    await client.close();
  });

  it('acknowledges a second subscription and delivers once', async () => {
    const client = await Client.connect(server, APPS.main);
    await client.subscribe('twice');
    await client.subscribe('twice');
    await publish('twice', 'one');
    await publish('twice', 'two');
    await client.event('two');
    assert.equal(client.receivedEvents('one').length, 1);
    await client.close();
  });

  it('keeps apps apart', async () => {
    const here = await Client.connect(server, APPS.main);
    const there = await Client.connect(server, APPS.other);
    for (const client of [here, there]) {
      await client.subscribe('news');
    }
    await publish('news', 'main-only');
    const path = '/apps/2/events';
    await callApi(server, APPS.other, { path, body: { name: 'other-only', channel: 'news', data: '' } });
    await here.event('main-only');
    await there.event('other-only');
    assert.deepEqual(here.receivedEvents('other-only'), []);
    assert.deepEqual(there.receivedEvents('main-only'), []);
    await here.close();
    await there.close();
  });

  it('joins a private channel with its token, in each accepted form', async () => {
    const client = await Client.connect(server, APPS.main);
    const forms = [
      (channel) => [channelToken(APPS.main, client.socketId, channel)],
      (channel) => [channelToken(APPS.main, client.socketId, channel, '{"a":1}'), '{"a":1}'],
      (channel) => [channelToken(APPS.main, client.socketId, channel, ''), ''],
      (channel) => [channelToken(APPS.main, client.socketId, channel), ''],
      (channel) => [channelToken(APPS.main, client.socketId, channel), null],
    ];
    for (const [n, form] of forms.entries()) {
      await client.subscribe(`private-${n}`, ...form(`private-${n}`));
      await publish(`private-${n}`, `event-${n}`);
      await client.event(`event-${n}`);
    }
    await client.close();
  });

  it('refuses a private channel without a good token, without telling the good one', async () => {
    const client = await Client.connect(server, APPS.main);
    const other = await Client.connect(server, APPS.main);
    const good = channelToken(APPS.main, client.socketId, 'private-x');
    const refused = { type: 'AuthError', status: 401, code: 4009 };
    const tokens = [
      undefined,
      null,
      '',
      'x',
      `${APPS.main.key}:`,
      good.slice(0, -1),
      good.replace('main-key', 'other-key'),
      channelToken(APPS.main, client.socketId, 'private-y'),
      channelToken(APPS.main, other.socketId, 'private-x'),
      channelToken({ ...APPS.other, key: APPS.main.key }, client.socketId, 'private-x'),
      channelToken(APPS.main, client.socketId, 'private-x', '{"a":1}'),
      signInToken(APPS.main, client.socketId, userData('ada')).auth,
    ];
    for (const auth of tokens) {
      const text = await assertSubscriptionRefused(client, subscribe('private-x', auth), 'private-x', refused);
      assert.ok(!text.includes(good.split(':')[1]), 'the refusal tells the signature');
    }
    await client.signIn('ada');
    // A sign-in is no channel token.
    await assertSubscriptionRefused(client, subscribe('private-x', ''), 'private-x', refused);
    await client.subscribe('private-x', good);
    await other.close();
    await client.close();
  });

  it('does not take a sign-in token for the token of a channel', async () => {
    // `S::user::{…}` is also `S`, a colon and the "channel" `:user::{…}`, so the name must be checked first.
    const client = await Client.connect(server, APPS.main);
    const { auth, user_data: text } = client.token('ada');
    const channel = `:user::${text}`;
    client.send(subscribe(channel, auth));
    const answers = await client.answers();
    assert.ok(answers.length > 0 && answers.every(({ event }) => /error/.test(event)), JSON.stringify(answers));
    await client.close();
  });

  it('refuses a name of other characters or lengths', async () => {
    const client = await Client.connect(server, APPS.main);
    for (const channel of ['a b', 'a:b', 'a/b', 'é', 'x'.repeat(201), 'a\n', '*']) {
      await assertSubscriptionRefused(client, subscribe(channel), channel, {
        type: 'InvalidChannel',
        status: 400,
        code: null,
      });
    }
    await client.close();
  });

  it('gives a user channel to that user alone', async () => {
    const client = await Client.connect(server, APPS.main);
    const refused = { type: 'AuthError', status: 403, code: 4009 };
    const ofAda = '#server-to-user-ada';
    await assertSubscriptionRefused(client, subscribe(ofAda, ''), ofAda, refused);
    await client.signIn('ada');
    for (const channel of [
      '#server-to-user-grace',
      '#server-to-user-',
      '#server-to-user-Ada',
      '#server-to-user-ada ',
      '#server-to-user- ada',
      '#server-to-user-#server-to-user-ada',
      '#server-to-user-%61da',
      '#server-to-user-adа', // a Cyrillic а
    ]) {
      await assertSubscriptionRefused(client, subscribe(channel, ''), channel, refused);
    }
    for (const auth of ['', undefined, 'main-key:x']) {
      await client.subscribe(ofAda, auth);
    }
    client.send({ event: 'pusher:unsubscribe', data: { channel: ofAda } });
    await publish(ofAda, 'still');
    await client.event('still');
    await client.close();
  });

  it('refuses every other name that begins with #', async () => {
    const client = await Client.signedIn(server, APPS.main, 'ada');
    for (const channel of ['#', '#ada', '#Server-To-User-ada', '##server-to-user-ada']) {
      client.send(subscribe(channel, ''));
      const answers = await client.answers();
      assert.deepEqual(answers.map(({ event }) => event), ['pusher:subscription_error', 'pusher:error'], channel);
    }
    await client.close();
  });

  it('refuses client events to a user channel, and delivers none', async () => {
    const ada = await Client.signedIn(server, APPS.main, 'ada');
    const grace = await Client.signedIn(server, APPS.main, 'grace');
    grace.send({ event: 'client-hello', channel: '#server-to-user-ada', data: {} });
    assert.equal((await grace.answer()).event, 'pusher:error');
    await publish('#server-to-user-ada', 'sentinel');
    await ada.event('sentinel');
    assert.deepEqual(ada.receivedEvents('client-hello'), []);
    await ada.close();
    await grace.close();
  });
});
