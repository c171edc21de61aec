// PROTOCOL 7: signatures with their traps, refusals, and answers that the SDKs can read.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { callApi, hmac, send } from './api.mjs';
import { Client } from './client.mjs';
import { APPS, startServer } from './server.mjs';

describe('HTTP API', () => {
  let server;
  before(async () => (server = await startServer()));
  after(async () => {
    const client = await Client.signedIn(server, APPS.main, 'still-served');
    await client.close();
    await server.stop();
  });

  const event = { name: 'hello', data: '{}', channels: ['news'] };
  const post = (body, more) => callApi(server, APPS.main, { path: '/apps/1/events', body, ...more });

  function assertFailure(answer, status, what) {
    assert.equal(answer.status, status, `${what}: ${answer.text}`);
    assert.match(answer.headers['content-type'], /^application\/json/, what);
    assert.deepEqual(Object.keys(answer.json).sort(), ['code', 'error'], answer.text);
    assert.equal(answer.json.code, status, answer.text);
    assert.ok(answer.json.error.length > 5, answer.text);
    for (const { secret } of Object.values(APPS)) assert.ok(!answer.text.includes(secret), 'the answer tells a secret');
    assert.ok(!/[0-9a-f]{64}/.test(answer.text), 'the answer tells a signature');
  }

  it('answers {} with status 200', async () => {
    const answer = await post(event);
    assert.deepEqual([answer.status, answer.text], [200, '{}']);
    assert.match(answer.headers['content-type'], /^application\/json/);
  });

  it('takes the app key in place of the id', async () => {
    assert.equal((await callApi(server, APPS.main, { path: '/apps/main-key/events', body: event })).status, 200);
  });

  const hour = 3600;
  const shift = (seconds) => ({
    beforeSigning: (parameters) => (parameters.auth_timestamp = String(Math.floor(Date.now() / 1000) + seconds)),
  });
  const changed = (name, value) => ({ change: (parameters) => (parameters[name] = value) });
  const without = (name) => ({ change: (parameters) => delete parameters[name] });
  const unsigned = {
    'a wrong signature': changed('auth_signature', '0'.repeat(64)),
    'a short signature': changed('auth_signature', 'abc'),
    'an empty signature': changed('auth_signature', ''),
    'no signature': without('auth_signature'),
    'no key': without('auth_key'),
    'no timestamp': without('auth_timestamp'),
    'no version': without('auth_version'),
    'no md5 for a body': without('body_md5'),
    'an md5 changed after signing': changed('body_md5', '0'.repeat(32)),
    'a wrong md5, signed': { beforeSigning: (parameters) => (parameters.body_md5 = '0'.repeat(32)) },
    'an md5 that is none, signed': { beforeSigning: (parameters) => (parameters.body_md5 = 'x') },
    'a parameter added after signing': changed('info', 'user_count'),
    'a timestamp changed after signing': changed('auth_timestamp', '1'),
    'an old timestamp': shift(-hour),
    'a timestamp of the future': shift(hour),
    'a timestamp just too old': shift(-605),
    'a timestamp that is no number': { beforeSigning: (parameters) => (parameters.auth_timestamp = 'now') },
    'a timestamp beyond any clock': { beforeSigning: (parameters) => (parameters.auth_timestamp = '9'.repeat(30)) },
    'a negative timestamp': { beforeSigning: (parameters) => (parameters.auth_timestamp = '-1') },
    'another version': { beforeSigning: (parameters) => (parameters.auth_version = '2.0') },
    'the key of another app': { beforeSigning: (parameters) => (parameters.auth_key = APPS.other.key) },
    'an unknown key': { beforeSigning: (parameters) => (parameters.auth_key = 'nobody') },
    'a signature of another method': { signedPath: '/apps/1/batch_events' },
  };
  for (const [what, options] of Object.entries(unsigned)) {
    it(`refuses ${what} with 401`, async () => assertFailure(await post(event, options), 401, what));
  }

  it('refuses the secret of another app with 401', async () => {
    const mixed = { ...APPS.other, key: APPS.main.key };
    assertFailure(await callApi(server, mixed, { path: '/apps/1/events', body: event }), 401);
    assertFailure(await callApi(server, APPS.other, { path: '/apps/1/events', body: event }), 401);
  });

  it('accepts a timestamp 590 seconds off', async () => {
    for (const seconds of [-590, 590]) assert.equal((await post(event, shift(seconds))).status, 200);
  });

  it('signs every parameter, in any order and case, decoded', async () => {
    const query = { info: 'user_count,subscription_count', 'X-Odd': 'a b+c&d=é%25' };
    assert.equal((await post(event, { query })).status, 200);
  });

  it('takes body_md5 on a GET, as the Python SDK sends it', async () => {
    const answer = await callApi(server, APPS.main, {
      method: 'GET',
      path: '/apps/1/users/ada/events',
      query: { body_md5: 'd41d8cd98f00b204e9800998ecf8427e' },
    });
    // There is no such GET; what matters is that the signature is not what it fails by.
    assert.ok([404, 405].includes(answer.status), answer.text);
  });

  it('refuses an unknown app and unknown paths with 404', async () => {
    assertFailure(await callApi(server, APPS.main, { path: '/apps/999/events', body: event }), 404);
    assertFailure(await callApi(server, APPS.main, { path: '/apps/1/nothing', body: event }), 404);
    assertFailure(await send(server, 'GET', '/nothing/here'), 404);
  });

  it('refuses a disabled app with 403', async () => {
    assertFailure(await callApi(server, APPS.disabled, { path: '/apps/9/events', body: event }), 403);
  });

  const invalid = {
    'nothing': '',
    'no JSON': 'hello',
    'half an object': '{"name":"a"',
    'an array': '[]',
    'null': 'null',
    'a string': '"x"',
    'JSON with more behind it': `${JSON.stringify(event)} x`,
    'bytes that are not UTF-8': Buffer.from([0x7b, 0xff, 0x7d]),
    'a lone surrogate': '{"name":"\\ud800","data":"","channel":"news"}',
    'deep nesting': `{"name":"a","channel":"news","data":${'['.repeat(3_000)}${']'.repeat(3_000)}}`,
    'endless nesting': '['.repeat(9_000),
    'no channel': { name: 'a', data: '' },
    'no channels in a list': { name: 'a', data: '', channels: [] },
    '101 channels': { name: 'a', data: '', channels: Array.from({ length: 101 }, (_, n) => `c${n}`) },
    'a channel name with a space': { name: 'a', data: '', channel: 'a b' },
    'an empty channel name': { name: 'a', data: '', channel: '' },
    'a channel name of 201': { name: 'a', data: '', channel: 'x'.repeat(201) },
    'a user channel without a user': { name: 'a', data: '', channel: '#server-to-user-' },
    'another # channel': { name: 'a', data: '', channel: '#everyone' },
    'two channels, one encrypted': { name: 'a', data: '', channels: ['private-encrypted-a', 'b'] },
    'a reserved event name': { name: 'pusher:ping', data: '', channel: 'news' },
    'an internal event name': { name: 'pusher_internal:x', data: '', channel: 'news' },
    'an empty event name': { name: '', data: '', channel: 'news' },
    'an event name of 201': { name: 'x'.repeat(201), data: '', channel: 'news' },
    'a socket id that is none': { name: 'a', data: '', channel: 'news', socket_id: 'x' },
    'a numeric socket id': { name: 'a', data: '', channel: 'news', socket_id: 1.5 },
  };
  for (const [what, body] of Object.entries(invalid)) {
    it(`refuses an event with ${what} with 400`, async () => assertFailure(await post(body), 400, what));
  }

  it('refuses each field absent, null or of another type, or takes it as meant, and never fails', async () => {
    const values = [undefined, null, 7, 1.5, true, '', [], {}, ['x'], [null], [7], { a: 1 }];
    const sound = { name: 'a', data: 'x', channels: ['news'], socket_id: '1.1', info: 'user_count' };
    for (const field of ['name', 'data', 'channels', 'channel', 'socket_id', 'info']) {
      for (const value of values) {
        const { status, text } = await post({ ...sound, [field]: value });
        assert.ok([200, 400].includes(status), `${field}: ${JSON.stringify(value)}: ${status} ${text}`);
        if (field === 'name' && value !== undefined) assert.equal(status, 400, `name: ${JSON.stringify(value)}`);
      }
    }
    for (const value of values) {
      const batch = await callApi(server, APPS.main, { path: '/apps/1/batch_events', body: { batch: value } });
      assert.ok([200, 400].includes(batch.status), `batch: ${JSON.stringify(value)}: ${batch.status}`);
      const inner = await callApi(server, APPS.main, { path: '/apps/1/batch_events', body: { batch: [value] } });
      assert.equal(inner.status, 400, `batch of ${JSON.stringify(value)}`);
      const path = '/apps/1/users/ada/events';
      for (const field of ['name', 'data', 'socket_id']) {
        const body = { name: 'a', data: 'x', [field]: value };
        const direct = await callApi(server, APPS.main, { path, body });
        assert.ok([200, 400].includes(direct.status), `${field}: ${JSON.stringify(value)}: ${direct.status}`);
      }
    }
  });

  it('refuses data above 10 240 bytes with 413', async () => {
    assertFailure(await post({ ...event, data: 'x'.repeat(10_241) }), 413);
    assertFailure(await post({ ...event, data: 'é'.repeat(5_121) }), 413);
  });

  it('refuses an enormous request with 413', async () => {
    // The server need not read it all: it may answer and close while we still send.
    const answer = await post('x'.repeat(8 * 1024 * 1024)).catch((error) => error);
    if (answer instanceof Error) assert.match(answer.code, /ECONNRESET|EPIPE/);
    else assertFailure(answer, 413);
  });

  it('takes ten events in a batch, refuses eleven, and all if one is wrong', async () => {
    const one = { name: 'a', data: '', channel: 'batched' };
    const batch = (events) => callApi(server, APPS.main, { path: '/apps/1/batch_events', body: { batch: events } });
    assert.deepEqual((await batch(Array(10).fill(one))).json, {});
    assertFailure(await batch(Array(11).fill(one)), 400);
    assertFailure(await batch([]), 400);
    const client = await Client.signedIn(server, APPS.main, 'batched');
    const mine = { name: 'mine', data: '', channel: '#server-to-user-batched' };
    assertFailure(await batch([mine, { ...one, channel: 'a b' }]), 400);
    await batch([{ ...mine, name: 'sentinel' }]);
    await client.event('sentinel');
    assert.deepEqual(client.receivedEvents('mine'), []);
    await client.close();
  });

  it('answers a path that decodes to no UTF-8 with 400 if it is signed, with 401 if not', async () => {
    const path = '/apps/1/users/%ff%fe/terminate_connections';
    assertFailure(await callApi(server, APPS.main, { path, body: '{}' }), 400);
    assertFailure(await callApi(server, APPS.main, { path, body: '{}', ...unsigned['a wrong signature'] }), 401);
    for (const odd of ['/apps/1/users/%/events', '/apps/1/users/%zz/events', '/apps/1/users/a%2/events']) {
      const answer = await callApi(server, APPS.main, { path: odd, body: { name: 'a', data: '' } });
      assert.equal(answer.status, 200, odd);
    }
  });

  it('refuses an id that cannot be one with 400', async () => {
    for (const id of ['', '%00', '%0a', 'x'.repeat(201)]) {
      for (const verb of ['events', 'terminate_connections']) {
        const path = `/apps/1/users/${id}/${verb}`;
        const answer = await callApi(server, APPS.main, { path, body: { name: 'a', data: '' } });
        assert.ok([400, 404].includes(answer.status), `${path}: ${answer.status} ${answer.text}`);
      }
    }
  });

  it('finds the app of the alias path by its key alone', async () => {
    const path = '/users/ada/terminate_connections';
    assert.equal((await callApi(server, APPS.main, { path, body: '{}' })).status, 200);
    assertFailure(await callApi(server, { ...APPS.main, secret: 'wrong' }, { path, body: '{}' }), 401);
    assertFailure(await callApi(server, { ...APPS.main, key: 'nobody' }, { path, body: '{}' }), 401);
    assertFailure(await send(server, 'POST', path, '{}'), 401);
  });

  it('accepts a signature in upper-case hex or refuses it with 401', async () => {
    const upper = { change: (parameters) => (parameters.auth_signature = parameters.auth_signature.toUpperCase()) };
    assert.ok([200, 401].includes((await post(event, upper)).status));
  });

  it('refuses a well-signed request of long ago, and says why', async () => {
    const md5 = '99914b932bd37a50b983c5e7c90ae93b';
    const query = `auth_key=main-key&auth_timestamp=1353088179&auth_version=1.0&body_md5=${md5}`;
    const path = '/apps/1/users/user-123/terminate_connections';
    const signature = hmac(APPS.main.secret, `POST\n${path}\n${query}`);
    const answer = await send(server, 'POST', `${path}?${query}&auth_signature=${signature}`, '{}');
    assertFailure(answer, 401);
    assert.match(answer.json.error, /600|time/i);
  });

  it('survives requests that are no HTTP, and half ones', async () => {
    const endless = `GET /${'x'.repeat(200_000)} HTTP/1.1\r\n\r\n`;
    const half = 'POST /apps/1/events HTTP/1.1\r\n';
    for (const bytes of ['\x00\x01\x02\x03', 'GET', half, 'GET / HTTP/9.9\r\n\r\n', endless]) {
      await new Promise((resolve) => {
        const socket = connect(server.ports.gateway, '127.0.0.1', () => socket.end(bytes, 'latin1'));
        socket.on('error', () => {});
        socket.on('close', resolve);
        socket.resume();
      });
    }
    assert.equal((await post(event)).status, 200);
  });

  it('refuses a WebSocket upgrade without its headers', async () => {
    const upgrade = { Connection: 'Upgrade', Upgrade: 'websocket' };
    const answer = await send(server, 'GET', '/app/main-key?protocol=7', '', upgrade);
    assert.ok(answer.status >= 400 && answer.status < 500, String(answer.status));
  });
});
