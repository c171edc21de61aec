// PROTOCOL 1.3 and 1.5: silence, and clients that do not read.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { callApi } from './api.mjs';
import { Client, assertError, eventually, within } from './client.mjs';
import { APPS, startServer } from './server.mjs';

describe('liveness', () => {
  let server;
  before(async () => {
    server = await startServer({ gateway: { activity_timeout: '1s', outbox_bytes: 512 * 1024 } });
  });
  after(() => server.stop());

  it('sends a control ping after a silence; who answers it stays, who does not is closed with 4201', async () => {
    const [live, dead] = await Promise.all([
      Client.connect(server, APPS.main),
      Client.connect(server, APPS.main, { autoPong: false }),
    ]);
    assert.equal(JSON.parse(live.established.data).activity_timeout, 1);
    let pings = 0;
    live.socket.on('ping', () => (pings += 1));
    await within(new Promise((resolve) => dead.socket.once('ping', resolve)), 'a control ping');
    // Any frame counts as a sign of life, so `dead` says nothing at all from here.
    const { code } = await within(dead.closed, 'the close of a silent client', 45_000);
    assert.equal(code, 4201);
    assertError(dead.received.at(-1), 4201);
    assert.ok(pings > 1);
    assert.deepEqual(await live.answers(), []);
    await live.close();
  });

  it('closes a client that reads too slowly, and costs the others nothing', async () => {
    const slow = await Client.connect(server, APPS.main);
    const fast = await Client.connect(server, APPS.main);
    for (const client of [slow, fast]) {
      await client.subscribe('firehose');
    }
    slow.socket.pause();
    // More than the outbox and the buffers of both kernels hold, in batches of a fifth of the outbox.
    const batch = Array(10).fill({ name: 'drop', channel: 'firehose', data: 'x'.repeat(10_000) });
    const rounds = 300;
    for (let round = 0; round < rounds; round += 1) {
      const { status } = await callApi(server, APPS.main, { path: '/apps/1/batch_events', body: { batch } });
      assert.equal(status, 200);
    }
    const drops = () => fast.receivedEvents('drop').length;
    await eventually(() => drops() === rounds * 10, 'every event at the fast client');
    slow.socket.resume();
    const { code } = await slow.whenClosed();
    // With its buffers full a close frame may not get through: the socket is reset then.
    assert.ok([4100, 1006].includes(code), String(code));
    assert.ok(slow.received.length < fast.received.length, 'the slow client has not got everything');
    await fast.pong();
    await fast.close();
  });
});
