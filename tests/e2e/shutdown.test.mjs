// Stopping: everyone is told to come back elsewhere, and the process exits with 0.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Client, assertError, eventually, within } from './client.mjs';
import { APPS, startServer } from './server.mjs';

describe('shutdown', () => {
  it('closes all connections with 4200 on SIGTERM, and exits with 0', async () => {
    const server = await startServer();
    const open = (n) =>
      n % 2
        ? Client.connect(server, APPS.main)
        : Client.signedIn(server, APPS.main, `user-${n}`, { watchlist: ['user-2'] });
    const clients = await Promise.all(Array.from({ length: 60 }, (_, n) => open(n)));
    const stopped = server.stop();
    for (const client of clients) {
      const { code, reason } = await client.whenClosed();
      const last = client.received.at(-1);
      assertError(last, 4200);
      assert.deepEqual([code, reason], [4200, last.data.message]);
    }
    await stopped;
  });

  it('takes no time without connections, by SIGINT too', async () => {
    for (const signal of ['SIGTERM', 'SIGINT']) {
      const server = await startServer();
      const client = await Client.signedIn(server, APPS.main, 'ada');
      await client.close();
      const began = Date.now();
      server.signal(signal);
      assert.deepEqual(await within(server.exit, 'the exit'), { code: 0, signal: null });
      assert.ok(Date.now() - began < 3_000, `${Date.now() - began} ms`);
      await server.stop();
    }
  });

  it('is not ready while it drains, lets clients out in slices, and a second SIGINT ends it at once', async () => {
    const server = await startServer({ gateway: { drain_time: '60s' } });
    const clients = await Promise.all(Array.from({ length: 300 }, () => Client.connect(server, APPS.main)));
    const open = () => clients.filter((client) => !client.isClosed).length;
    server.signal('SIGINT');
    await eventually(() => open() < 300, 'the first closes');
    assert.ok(open() > 50, `${open()} connections are open`);
    assert.equal(await server.isReady(), false);
    const began = Date.now();
    server.signal('SIGINT');
    // What a shell expects of a process that Ctrl-C ended.
    assert.deepEqual(await within(server.exit, 'the exit'), { code: 130, signal: null });
    assert.ok(Date.now() - began < 3_000, `${Date.now() - began} ms`);
    server.checkLog();
    await server.kill();
  });
});
