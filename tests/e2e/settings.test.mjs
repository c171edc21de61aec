// Settings that change where the server listens and what it takes.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { callApi } from './api.mjs';
import { Client, assertRefused } from './client.mjs';
import { APPS, freePorts, startServer } from './server.mjs';

describe('settings', () => {
  let server;
  let apiPort;
  before(async () => {
    [apiPort] = await freePorts(1);
    server = await startServer({
      gateway: { path_prefix: '/live', assume_protocol_7: true, max_connections: 5, max_frame_bytes: 2048 },
      control: { http_listen: `127.0.0.1:${apiPort}` },
    });
  });
  after(() => server.stop());

  const path = (app) => ({ path: `/live/app/${app.key}` });
  const event = (name) => ({ name, channel: '#server-to-user-ada', data: '1' });

  it('path_prefix stands before every path, and http_listen moves the API', async () => {
    const client = await Client.signedIn(server, APPS.main, 'ada', {}, path(APPS.main));
    const api = { path: '/live/apps/1/events', port: apiPort };
    const { status, text } = await callApi(server, APPS.main, { ...api, body: event('prefixed') });
    assert.deepEqual([status, text], [200, '{}']);
    await client.event('prefixed');
    // A proxy may take the prefix away; clients sign what they see.
    const stripped = { path: '/apps/1/events', signedPath: '/live/apps/1/events', port: apiPort };
    assert.equal((await callApi(server, APPS.main, { ...stripped, body: event('stripped') })).status, 200);
    await client.event('stripped');
    const onTheGateway = await callApi(server, APPS.main, { path: '/live/apps/1/events', body: event('nowhere') });
    assert.equal(onTheGateway.status, 404);
    await client.close();
  });

  it('assume_protocol_7 takes a client that names no version', async () => {
    const client = await Client.connect(server, APPS.main, { ...path(APPS.main), query: 'client=old' });
    await client.close();
    await assertRefused(await Client.open(server, APPS.main, { ...path(APPS.main), query: 'protocol=3' }), 4007);
  });

  it('max_frame_bytes bounds a frame', async () => {
    const client = await Client.connect(server, APPS.main, path(APPS.main));
    client.sendText('x'.repeat(2049));
    assert.equal((await client.whenClosed()).code, 1009);
  });

  it('max_connections turns away the next with 4100, until one has left', async () => {
    const open = () => Client.connect(server, APPS.main, path(APPS.main));
    const clients = await Promise.all(Array.from({ length: 5 }, open));
    await assertRefused(await Client.open(server, APPS.main, path(APPS.main)), 4100);
    await clients.pop().close();
    clients.push(await open());
    await Promise.all(clients.map((client) => client.close()));
  });

  it('metrics are served without the name of any user, channel or socket', async () => {
    const fields = { watchlist: ['other-user'] };
    const client = await Client.signedIn(server, APPS.main, 'measured-user', fields, path(APPS.main));
    await client.subscribe('measured-channel');
    const answer = await fetch(`http://127.0.0.1:${server.ports.admin}/metrics`);
    const text = await answer.text();
    assert.equal(answer.status, 200);
    assert.match(text, /# EOF\n$/);
    for (const name of ['measured-user', 'other-user', 'measured-channel', client.socketId]) {
      assert.ok(!text.includes(name), name);
    }
    await client.close();
  });
});
