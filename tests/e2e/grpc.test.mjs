// The gRPC API: its verbs, its refusals, and the standard services.

import grpc from '@grpc/grpc-js';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client, PATIENCE_MS, eventually } from './client.mjs';
import { Control, status } from './control.mjs';
import { APPS, TOKENS, startServer } from './server.mjs';

describe('gRPC', () => {
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

  const RPCS = ['TerminateUserConnections', 'SendToUser', 'GetUser', 'GetUsers', 'ListOnlineUsers'];
  const requests = {
    TerminateUserConnections: { app_id: '1', user_id: 'ada' },
    SendToUser: { app_id: '1', user_id: 'ada', event: 'hello', data: '' },
    GetUser: { app_id: '1', user_id: 'ada' },
    GetUsers: { app_id: '1', user_ids: ['ada'] },
    ListOnlineUsers: { app_id: '1' },
  };

  it('asks every call for a token', async () => {
    for (const authorization of [null, '', 'Bearer', 'Bearer ', 'Bearer wrong', `Basic ${TOKENS.all}`, TOKENS.all]) {
      const stranger = new Control(server, authorization);
      for (const rpc of RPCS) {
        const { code } = await stranger.failure(rpc, requests[rpc]);
        assert.equal(code, status.UNAUTHENTICATED, `${rpc} with ${authorization}`);
      }
      const stream = stranger.watch({ app_id: '1', user_ids: ['ada'] });
      const error = await new Promise((resolve) => stream.on('error', resolve).on('data', () => {}));
      assert.equal(error.code, status.UNAUTHENTICATED);
      stranger.close();
    }
  });

  it('keeps a token to its apps', async () => {
    const limited = new Control(server, `Bearer ${TOKENS.other}`);
    for (const rpc of RPCS) {
      assert.equal((await limited.failure(rpc, requests[rpc])).code, status.PERMISSION_DENIED, rpc);
      await limited.call(rpc, { ...requests[rpc], app_id: APPS.other.id });
    }
    limited.close();
  });

  it('answers an unknown app with NOT_FOUND', async () => {
    for (const rpc of RPCS) {
      assert.equal((await control.failure(rpc, { ...requests[rpc], app_id: '999' })).code, status.NOT_FOUND, rpc);
    }
  });

  it('answers a field outside its limits with INVALID_ARGUMENT and its name', async () => {
    const ids = (count) => Array.from({ length: count }, (_, n) => `${n}.1`);
    const users = (count) => Array.from({ length: count }, (_, n) => `u${n}`);
    const invalid = [
      ['TerminateUserConnections', { user_id: '' }, /user_id/],
      ['TerminateUserConnections', { user_id: 'x'.repeat(201) }, /user_id/],
      ['TerminateUserConnections', { user_id: 'a\nb' }, /user_id/],
      ['TerminateUserConnections', { except_socket_ids: ['x'] }, /except_socket_ids/],
      ['TerminateUserConnections', { only_socket_ids: ['01.2'] }, /only_socket_ids/],
      ['TerminateUserConnections', { except_socket_ids: ['1.1'], only_socket_ids: ['1.2'] }, /socket_ids/],
      ['TerminateUserConnections', { except_socket_ids: ids(101) }, /except_socket_ids/],
      ['TerminateUserConnections', { only_socket_ids: ids(101) }, /only_socket_ids/],
      ['TerminateUserConnections', { reason: 'x'.repeat(124) }, /reason/],
      ['TerminateUserConnections', { close_class: 77 }, /close_class/],
      ['SendToUser', { user_id: '' }, /user_id/],
      ['SendToUser', { event: '' }, /event/],
      ['SendToUser', { event: 'x'.repeat(201) }, /event/],
      ['SendToUser', { event: 'pusher:ping' }, /event/],
      ['SendToUser', { event: 'pusher_internal:x' }, /event/],
      ['SendToUser', { data: 'x'.repeat(10_241) }, /data/],
      ['SendToUser', { except_socket_id: 'x' }, /except_socket_id/],
      ['GetUser', { user_id: '' }, /user_id/],
      ['GetUsers', { user_ids: users(1001) }, /user_ids/],
      ['GetUsers', { user_ids: ['ada', ''] }, /user_ids/],
      ['ListOnlineUsers', { limit: 1001 }, /limit/],
      ['ListOnlineUsers', { cursor: 'x'.repeat(201) }, /cursor/],
    ];
    for (const [rpc, change, field] of invalid) {
      const { code, details } = await control.failure(rpc, { ...requests[rpc], ...change });
      assert.equal(code, status.INVALID_ARGUMENT, `${rpc} ${JSON.stringify(change).slice(0, 80)}: ${details}`);
      assert.match(details, field);
    }
    for (const users_of of [[], users(10_001), ['']]) {
      const stream = control.watch({ app_id: '1', user_ids: users_of });
      const error = await new Promise((resolve) => stream.on('error', resolve).on('data', () => {}));
      assert.equal(error.code, status.INVALID_ARGUMENT);
    }
  });

  it('sends to a user and tells nodes and connections reached', async () => {
    const clients = await Promise.all([1, 2, 3].map(() => Client.signedIn(server, APPS.main, 'ada')));
    const other = await Client.signedIn(server, APPS.main, 'grace');
    const answer = await control.call('SendToUser', { app_id: '1', user_id: 'ada', event: 'hello', data: '{"a":1}' });
    assert.deepEqual([answer.connections, answer.complete, answer.nodes.length], [3, true, 1]);
    assert.equal(answer.nodes[0].connections, 3);
    const frame = { event: 'hello', channel: '#server-to-user-ada', data: '{"a":1}' };
    for (const client of clients) assert.deepEqual(await client.event('hello'), frame);
    const rest = await control.call('SendToUser', {
      app_id: '1',
      user_id: 'ada',
      event: 'rest',
      data: '',
      except_socket_id: clients[0].socketId,
    });
    assert.equal(rest.connections, 2);
    const nobody = await control.call('SendToUser', { app_id: '1', user_id: 'nobody', event: 'x', data: '' });
    assert.deepEqual([nobody.connections, nobody.nodes, nobody.complete], [0, [], true]);
    assert.deepEqual(await other.answers(), []);
    await Promise.all([...clients, other].map((client) => client.close()));
  });

  it('counts a connection the moment it has seen its success, and not once it has closed', async () => {
    for (let round = 0; round < 100; round += 1) {
      const event = { app_id: '1', user_id: `moment-${round % 5}`, event: 'now', data: '' };
      const client = await Client.signedIn(server, APPS.main, event.user_id);
      assert.equal((await control.call('SendToUser', event)).connections, 1, `round ${round}`);
      await client.event('now');
      await client.close();
      const reached = () => control.call('SendToUser', event).then(({ connections }) => connections);
      await eventually(async () => (await reached()) === 0, 'nobody reached');
    }
  });

  it('tells about a user and each connection', async () => {
    const began = Date.now();
    const query = 'protocol=7&client=my-client&version=1.2.3';
    const client = await Client.signedIn(server, APPS.main, 'told', {}, { query });
    const second = await Client.signedIn(server, APPS.main, 'told');
    const user = await eventually(async () => {
      const answer = await control.call('GetUser', { app_id: '1', user_id: 'told' });
      return answer.online && answer;
    }, 'online');
    assert.deepEqual(user.connections.map((one) => one.socket_id).sort(), [client.socketId, second.socketId].sort());
    const connection = user.connections.find((one) => one.socket_id === client.socketId);
    assert.match(connection.client, /my-client.*1\.2\.3/);
    assert.match(connection.address, /^127\.0\.0\.1:\d+$/);
    assert.equal(connection.node_id, user.node_ids[0]);
    const at = Number(connection.signed_in_at_ms);
    assert.ok(at >= began - 1000 && at <= Date.now() + 1000, `${at}`);
    await client.close();
    await second.close();
    const gone = await eventually(async () => {
      const answer = await control.call('GetUser', { app_id: '1', user_id: 'told' });
      return !answer.online && answer;
    }, 'offline');
    assert.deepEqual([gone.connections, gone.node_ids], [[], []]);
  });

  it('tells the levels of users in the order asked for', async () => {
    const client = await Client.signedIn(server, APPS.main, 'on');
    await eventually(async () => {
      const { users } = await control.call('GetUsers', { app_id: '1', user_ids: ['off', 'on', 'off'] });
      assert.deepEqual(users.map((one) => one.user_id), ['off', 'on', 'off']);
      return users[1].online && !users[0].online;
    }, 'the levels');
    assert.deepEqual((await control.call('GetUsers', { app_id: '1', user_ids: [] })).users, []);
    await client.close();
  });

  it('lists users online by pages, in byte order, of one app', async () => {
    const ids = Array.from({ length: 25 }, (_, n) => `listed-${String(n).padStart(2, '0')}`);
    const clients = await Promise.all(ids.map((id) => Client.signedIn(server, APPS.other, id)));
    const stranger = await Client.signedIn(server, APPS.main, 'listed-stranger');
    const all = async () => {
      const pages = [];
      let cursor = '';
      do {
        const page = await control.call('ListOnlineUsers', { app_id: APPS.other.id, cursor, limit: 10 });
        assert.ok(page.user_ids.length <= 10);
        pages.push(page.user_ids);
        cursor = page.next_cursor;
      } while (cursor !== '');
      return pages.flat();
    };
    await eventually(async () => (await all()).length === 25, 'all users listed');
    assert.deepEqual(await all(), ids);
    await Promise.all([...clients, stranger].map((client) => client.close()));
    await eventually(async () => (await all()).length === 0, 'nobody listed');
  });

  it('streams what users are, then each change', async () => {
    const present = await Client.signedIn(server, APPS.main, 'present');
    const stream = control.watch({ app_id: '1', user_ids: ['present', 'absent'] });
    const answers = [];
    let failure = null;
    stream.on('data', ({ users }) => answers.push(users)).on('error', (error) => (failure = error));
    await eventually(() => answers.length > 0 || failure, 'the snapshot');
    const levels = () => new Map(answers.flat().map(({ user_id: user, online }) => [user, online]));
    await eventually(() => levels().size === 2, 'both levels');
    assert.deepEqual([levels().get('present'), levels().get('absent')], [true, false]);
    const absent = await Client.signedIn(server, APPS.main, 'absent');
    await eventually(() => levels().get('absent') === true, 'absent online');
    await present.close();
    await eventually(() => levels().get('present') === false, 'present offline');
    const seen = answers.flat().filter(({ user_id: user }) => user === 'absent').map(({ online }) => online);
    assert.deepEqual(seen, [false, true]);
    stream.cancel();
    await absent.close();
  });

  it('answers the standard health check, and reflection names the service', async () => {
    const metadata = new grpc.Metadata();
    metadata.set('authorization', `Bearer ${TOKENS.all}`);
    const raw = new grpc.Client(`127.0.0.1:${server.ports.grpc}`, grpc.credentials.createInsecure());
    const bytes = (value) => value;
    const options = { deadline: Date.now() + PATIENCE_MS };
    const health = await new Promise((resolve, reject) => {
      const answer = (error, value) => (error ? reject(error) : resolve(value));
      raw.makeUnaryRequest('/grpc.health.v1.Health/Check', bytes, bytes, Buffer.alloc(0), metadata, options, answer);
    });
    assert.deepEqual([...health], [0x08, 0x01], 'SERVING'); // field 1, value 1
    const call = raw.makeBidiStreamRequest(
      '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
      bytes,
      bytes,
      metadata,
      options,
    );
    const services = new Promise((resolve, reject) => call.on('data', resolve).on('error', reject));
    call.write(Buffer.from([0x3a, 0x00])); // list_services
    assert.match((await services).toString('latin1'), /rollcall\.control\.v1\.Control/);
    call.end();
    raw.close();
  });

  it('answers bytes that are no message with an error, and goes on', async () => {
    const metadata = new grpc.Metadata();
    metadata.set('authorization', `Bearer ${TOKENS.all}`);
    const raw = new grpc.Client(`127.0.0.1:${server.ports.grpc}`, grpc.credentials.createInsecure());
    const bytes = (value) => value;
    const options = { deadline: Date.now() + PATIENCE_MS };
    for (const body of [Buffer.from([0xff]), Buffer.from([0x0a, 0x05, 0x31]), Buffer.from([0x0a, 0x01, 0xff])]) {
      const error = await new Promise((resolve) => {
        const path = '/rollcall.control.v1.Control/GetUser';
        raw.makeUnaryRequest(path, bytes, bytes, body, metadata, options, resolve);
      });
      assert.ok(error, 'an answer to bytes that are no message');
    }
    raw.close();
    await control.call('GetUser', requests.GetUser);
  });
});
