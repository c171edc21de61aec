// PROTOCOL 1.1 and 1.2: who may connect, and what the first frame is.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client, assertRefused } from './client.mjs';
import { APPS, startServer } from './server.mjs';

describe('handshake', () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  it('begins with connection_established, whose data is a JSON string', async () => {
    const client = await Client.connect(server, APPS.main);
    assert.deepEqual(Object.keys(client.established).sort(), ['data', 'event']);
    const data = JSON.parse(client.established.data);
    assert.match(data.socket_id, /^\d+\.\d+$/);
    assert.equal(data.activity_timeout, 120);
    await client.close();
  });

  it('gives every connection an id of its own', async () => {
    const clients = await Promise.all(Array.from({ length: 50 }, () => Client.connect(server, APPS.main)));
    assert.equal(new Set(clients.map(({ socketId }) => socketId)).size, 50);
    await Promise.all(clients.map((client) => client.close()));
  });

  for (const version of [4, 5, 6, 7]) {
    it(`accepts protocol ${version}`, async () => {
      const query = `client=x&version=0.0.0-dev&protocol=${version}`;
      const client = await Client.connect(server, APPS.main, { query });
      await client.close();
    });
  }

  for (const [query, code] of [
    ['protocol=3', 4007],
    ['protocol=8', 4007],
    ['protocol=0', 4007],
    ['protocol=2147483647', 4007],
    ['protocol=seven', 4006],
    ['protocol=', 4006],
    ['protocol=-7', 4006],
    ['protocol=7.0', 4006],
    ['protocol=99999999999', 4006],
    ['client=js&version=8.6.0', 4008],
    ['', 4008],
    [null, 4008],
  ]) {
    it(`refuses the query ${query} with ${code}, after the upgrade`, async () => {
      await assertRefused(await Client.open(server, APPS.main, { query }), code);
    });
  }

  it('refuses an unknown key with 4001', async () => {
    await assertRefused(await Client.open(server, { key: 'nobodys-key' }), 4001);
  });

  it('refuses a disabled app with 4003', async () => {
    await assertRefused(await Client.open(server, APPS.disabled), 4003);
  });

  for (const path of ['/', '/app', '/app/', '/app/main-key/more', '/apps/main-key', '/socket', '/%', '/app/%ff']) {
    // What follows `/app/` may also be taken for a key that nobody has.
    it(`refuses the path ${path} with 4005${path.startsWith('/app/') ? ' or 4001' : ''}`, async () => {
      const client = await Client.open(server, APPS.main, { path });
      const { data } = await client.next();
      assert.ok(data.code === 4005 || (path.startsWith('/app/') && data.code === 4001), JSON.stringify(data));
      assert.deepEqual(await client.whenClosed(), { code: data.code, reason: data.message });
    });
  }

  it('echoes exactly the subprotocol pusher-channels-protocol-7', async () => {
    const client = await Client.connect(server, APPS.main, { protocols: ['pusher-channels-protocol-7'] });
    assert.equal(client.socket.protocol, 'pusher-channels-protocol-7');
    await client.close();
  });

  it('echoes one of several subprotocols', async () => {
    const protocols = ['chat', 'pusher-channels-protocol-7'];
    const client = await Client.connect(server, APPS.main, { protocols });
    assert.equal(client.socket.protocol, 'pusher-channels-protocol-7');
    await client.close();
  });

  it('sends no subprotocol to a client that offers none', async () => {
    const client = await Client.open(server, APPS.main);
    assert.equal(client.socket.protocol, '');
    await client.close();
  });

  it('refuses a browser of another origin with 4009, after the upgrade', async () => {
    const wrong = { headers: { Origin: 'https://evil.example' } };
    await assertRefused(await Client.open(server, APPS.browsers, wrong), 4009);
    const right = await Client.connect(server, APPS.browsers, { headers: { Origin: 'https://example.com' } });
    await right.close();
  });
});
