// PROTOCOL 1.5: whatever a client sends, it gets an error or nothing; the connection, the server and all others go on.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { channelToken } from './api.mjs';
import { Client, assertError, subscribe } from './client.mjs';
import { APPS, startServer } from './server.mjs';

/** One of each JSON type, as text, and "absent". */
const NUMBERS = ['0', '-1.5e300', '12345678901234567890'];
const VALUES = [undefined, 'null', ...NUMBERS, 'true', '""', '"x"', '[]', '["a"]', '{}', '{"a":{}}'];

/** What a frame of a client may be answered with here. */
const ANSWERS = [
  'pusher:error',
  'pusher:pong',
  'pusher:subscription_error',
  'pusher_internal:subscription_succeeded',
];

describe('frames', () => {
  let server;
  let bystander;
  before(async () => {
    server = await startServer();
    bystander = await Client.signedIn(server, APPS.main, 'bystander');
  });
  after(async () => {
    // Nothing that the tests sent has cost this connection anything.
    assert.deepEqual(await bystander.answers(), []);
    await bystander.signIn('bystander');
    await bystander.close();
    await server.stop();
  });

  const malformed = {
    'nothing': '',
    'a blank': ' ',
    'no JSON': 'hello',
    'half an object': '{"event":"pusher:ping"',
    'an array': '[]',
    'an array of frames': '[{"event":"pusher:ping"}]',
    'a string': '"pusher:ping"',
    'a number': '7',
    'null': 'null',
    'two objects': '{"event":"pusher:ping"}{"event":"pusher:ping"}',
    'a lone surrogate': '{"event":"pusher:ping","data":"\\ud800"}',
    'a lone surrogate in the name': '{"event":"\\udfff"}',
    'deep arrays': '['.repeat(30_000),
    'deep objects': '{"event":'.repeat(7_000),
    'a control character': '{"event":"a\u0001"}',
    'a comment': '{/**/"event":"pusher:ping"}',
  };
  for (const [what, text] of Object.entries(malformed)) {
    it(`answers ${what} with an error without a code, and goes on`, async () => {
      const client = await Client.connect(server, APPS.main);
      client.sendText(text);
      assertError(await client.answer(), null, what);
      await client.close();
    });
  }

  it('answers data of any depth with an error, and goes on', async () => {
    const client = await Client.connect(server, APPS.main);
    for (const event of ['pusher:signin', 'pusher:subscribe', 'pusher:unknown']) {
      client.sendText(`{"event":"${event}","data":${'['.repeat(20_000)}${']'.repeat(20_000)}}`);
      assert.equal((await client.answer()).event, 'pusher:error', event);
    }
    await client.close();
  });

  it('answers an event that is absent or no string with an error, and goes on', async () => {
    const client = await Client.connect(server, APPS.main);
    for (const value of VALUES.filter((text) => !text?.startsWith('"'))) {
      client.send(value === undefined ? '{"data":{}}' : `{"event":${value},"data":{}}`);
      assertError(await client.answer(), null, `event: ${value}`);
    }
    await client.close();
  });

  it('answers an unknown event of the protocol with an error, and goes on', async () => {
    const client = await Client.connect(server, APPS.main);
    for (const event of ['pusher:', 'pusher:unknown', 'pusher:signin_success', 'pusher:connection_established']) {
      client.send({ event, data: {} });
      assertError(await client.answer(), null, event);
    }
    await client.close();
  });

  it('ignores or refuses other unknown events, and goes on', async () => {
    const client = await Client.connect(server, APPS.main);
    for (const event of ['', 'x', 'pusher', 'pusher_internal:member_added', 'client-', 'client-x', 'é'.repeat(300)]) {
      client.send({ event, data: {} });
      for (const answer of await client.answers()) assert.equal(answer.event, 'pusher:error', event);
    }
    await client.close();
  });

  it('answers a binary frame with an error, and goes on', async () => {
    const client = await Client.connect(server, APPS.main);
    client.socket.send(Buffer.from('{"event":"pusher:ping","data":{}}'), { binary: true });
    assertError(await client.answer(), null);
    await client.close();
  });

  it('closes with 1007 on a text frame that is not UTF-8', async () => {
    const client = await Client.connect(server, APPS.main);
    client.sendText(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]));
    assert.equal((await client.whenClosed()).code, 1007);
  });

  it('closes with 1009 on a frame above 64 KiB, whatever its escapes would shrink to', async () => {
    for (const text of ['x'.repeat(64 * 1024 + 1), `{"event":"a","data":"${'\\u0061'.repeat(11_000)}"}`]) {
      const client = await Client.connect(server, APPS.main);
      client.sendText(text);
      assert.equal((await client.whenClosed()).code, 1009);
    }
  });

  it('closes with 1009 on a message above 64 KiB in small fragments', async () => {
    const client = await Client.connect(server, APPS.main);
    for (let part = 0; part < 70; part += 1) client.socket.send('x'.repeat(1024), { fin: false });
    assert.equal((await client.whenClosed()).code, 1009);
  });

  it('accepts a frame of 64 KiB, and one in fragments', async () => {
    const client = await Client.connect(server, APPS.main);
    const frame = '{"event":"pusher:ping","data":""}';
    client.sendText(frame.replace('""', `"${'x'.repeat(64 * 1024 - frame.length)}"`));
    assert.equal((await client.next()).event, 'pusher:pong');
    client.socket.send('{"event":"pusher:', { fin: false });
    client.socket.send('ping","data":{}}', { fin: true });
    assert.equal((await client.next()).event, 'pusher:pong');
    await client.close();
  });

  it('survives every field of every frame absent, null or of another type', async () => {
    const fields = {
      'pusher:subscribe': ['channel', 'auth', 'channel_data'],
      'pusher:unsubscribe': ['channel'],
      'pusher:signin': ['auth', 'user_data'],
      'pusher:ping': [],
      'pusher:pong': [],
      'client-typing': ['channel'],
    };
    for (const [event, names] of Object.entries(fields)) {
      let client = await Client.connect(server, APPS.main);
      const tries = async (text) => {
        client.sendText(text);
        const ping = client.answers();
        const answers = await ping.catch(() => null);
        if (answers === null) {
          // The tenth failed sign-in closes; nothing else here may.
          assert.deepEqual([event, (await client.whenClosed()).code], ['pusher:signin', 4009], text);
          client = await Client.connect(server, APPS.main);
          return;
        }
        for (const answer of answers) {
          assert.ok(ANSWERS.includes(answer.event), `${text} was answered with ${JSON.stringify(answer)}`);
          if (answer.event === 'pusher:subscription_error') assert.equal(typeof answer.data, 'string', text);
        }
      };
      for (const value of VALUES) {
        await tries(value === undefined ? `{"event":"${event}"}` : `{"event":"${event}","data":${value}}`);
        await tries(`{"event":"${event}","data":${JSON.stringify(value ?? '')}}`); // The same in a string.
        for (const name of names) {
          const sound = { channel: '"private-x"', auth: `"${channelToken(APPS.main, client.socketId, 'private-x')}"` };
          const all = { ...sound, [name]: value };
          const present = Object.entries(all).filter(([, inner]) => inner !== undefined);
          const text = present.map(([key, inner]) => `"${key}":${inner}`).join(',');
          await tries(`{"event":"${event}","data":{${text}}}`);
          await tries(`{"event":"${event}",${text},"data":{}}`);
        }
      }
      await client.close();
    }
  });

  it('answers pings of all shapes', async () => {
    const client = await Client.connect(server, APPS.main);
    // Java's has no data at all.
    for (const data of ['', ',"data":{}', ',"data":"{}"', ',"data":null']) {
      client.sendText(`{"event": "pusher:ping"${data}}`);
      assert.deepEqual(await client.next(), { event: 'pusher:pong', data: '{}' }, data);
    }
    client.send({ event: 'pusher:pong', data: {} });
    assert.deepEqual(await client.answers(), []);
    await client.close();
  });

  it('answers a control ping with a control pong of the same bytes', async () => {
    const client = await Client.connect(server, APPS.main);
    const pong = new Promise((resolve) => client.socket.once('pong', (data) => resolve(data.toString())));
    client.socket.ping('are you there');
    assert.equal(await pong, 'are you there');
    await client.close();
  });

  it('slows a flood down and answers all of it', async () => {
    const client = await Client.connect(server, APPS.main);
    for (let n = 0; n < 300; n += 1) client.send({ event: 'pusher:ping', data: {} });
    let pongs = 0;
    while (pongs < 300) {
      assert.equal((await client.next()).event, 'pusher:pong');
      pongs += 1;
    }
    await client.close();
  });

  it('answers frames in their order', async () => {
    const client = await Client.connect(server, APPS.main);
    client.sendSignIn('ada');
    client.send(subscribe('#server-to-user-ada', ''));
    client.send(subscribe('news'));
    for (const expected of ['pusher:signin_success', '#server-to-user-ada', 'news']) {
      const { event, channel } = await client.next();
      assert.equal(channel ?? event, expected);
    }
    await client.close();
  });
});
