// Keeps the examples true: both endpoints sign what they should and nothing else, and the README quotes them as they are.
// Needs node and python3: `node --test examples/`.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { connect } from 'node:net';
import { after, describe, test } from 'node:test';

const here = (name) => new URL(name, import.meta.url);
const KEY = '278d425bdf160c739803';
const SECRET = '7ad3773142a6692b25b8';
const hmac = (message) => `${KEY}:${createHmac('sha256', SECRET).update(message).digest('hex')}`;

const endpoints = { 'user-auth.mjs': process.execPath, 'user_auth.py': 'python3' };
for (const [file, interpreter] of Object.entries(endpoints)) {
  describe(file, async () => {
    const env = { ...process.env, PORT: '0', ROLLCALL_KEY: KEY, ROLLCALL_SECRET: SECRET };
    const child = spawn(interpreter, [here(file).pathname], { env, stdio: ['ignore', 'pipe', 'ignore'] });
    after(() => child.kill());
    const origin = createInterface(child.stdout)
      [Symbol.asyncIterator]()
      .next()
      .then(({ value }) => /http:\/\/[^/]*/.exec(value)[0]);

    const post = async (path, form, session = 'session-of-ada') => {
      const headers = session ? { authorization: `Bearer ${session}` } : {};
      const response = await fetch((await origin) + path, { method: 'POST', headers, body: new URLSearchParams(form) });
      return { status: response.status, body: await response.json() };
    };

    test('signs a user in as whom the session says', async () => {
      const { status, body } = await post('/pusher/user-auth', {
        socket_id: '1234.5678',
        id: 'admin',
        user_id: 'admin',
      });
      assert.equal(status, 200);
      assert.equal(JSON.parse(body.user_data).id, 'ada');
      assert.deepEqual(JSON.parse(body.user_data).watchlist, ['bob']);
      assert.equal(body.auth, hmac(`1234.5678::user::${body.user_data}`));
    });

    test('signs a channel that the user may join', async () => {
      for (const channel_name of ['private-lobby', 'private-inbox-ada']) {
        const { status, body } = await post('/pusher/auth', { socket_id: '1234.5678', channel_name });
        assert.deepEqual({ status, body }, { status: 200, body: { auth: hmac(`1234.5678:${channel_name}`) } });
      }
    });

    test('refuses a channel of somebody else', async () => {
      assert.equal((await post('/pusher/auth', { socket_id: '1.2', channel_name: 'private-inbox-bob' })).status, 403);
    });

    test('refuses who has no session', async () => {
      for (const session of [null, '', 'session-of-eve', 'constructor', '__proto__']) {
        assert.equal((await post('/pusher/user-auth', { socket_id: '1.2' }, session)).status, 403, session);
      }
    });

    test('never signs a socket id that is none', async () => {
      const smuggled = [
        '1.2:private-inbox-bob',
        '1.2:private-inbox-bob:{"a":"',
        '1.2::user::{"id":"bob"}',
        '1.2\n',
        '١.٢',
      ];
      for (const socket_id of ['', '1', '1.', '.2', '1.2.3', ' 1.2', '+1.2', ...smuggled]) {
        for (const path of ['/pusher/user-auth', '/pusher/auth']) {
          const { status, body } = await post(path, { socket_id, channel_name: 'private-lobby' });
          assert.equal(status, 400, JSON.stringify(socket_id));
          assert.equal(body.auth, undefined);
        }
      }
      assert.equal((await post('/pusher/user-auth', {})).status, 400);
    });

    test('never signs a channel name that would be a sign-in', async () => {
      const names = [
        ':user::{"id":"admin"}',
        '#server-to-user-ada',
        'private-lobby\n',
        'private-lobby:',
        'private-é',
        '',
      ];
      for (const channel_name of [...names, `private-${'x'.repeat(193)}`]) {
        const { status, body } = await post('/pusher/auth', { socket_id: '1234.5678', channel_name });
        assert.equal(status, 400, JSON.stringify(channel_name));
        assert.equal(body.auth, undefined);
      }
      assert.equal((await post('/pusher/auth', { socket_id: '1.2' })).status, 400);
    });

    test('refuses a long body, one of unknown length, and other paths', async () => {
      assert.equal((await post('/pusher/user-auth', { socket_id: '1.2', more: 'x'.repeat(4096) })).status, 413);
      for (const length of ['', '-1', 'x', '9'.repeat(5000)]) {
        const answer = await raw(await origin, length && `content-length: ${length}\r\n`);
        assert.match(answer, /^HTTP\/1\.[01] 4\d\d /, `content-length ${length.slice(0, 9)}`);
      }
      assert.equal((await post('/', { socket_id: '1.2' })).status, 404);
      assert.equal((await post('/pusher/user-auth', { socket_id: '1.2' })).status, 200, 'it is still there');
    });
  });
}

test('the README quotes both endpoints as they are', () => {
  const readme = readFileSync(here('../README.md'), 'utf8');
  for (const file of Object.keys(endpoints)) {
    assert.ok(readme.includes(readFileSync(here(file), 'utf8')), `examples/${file} and its copy in README.md differ`);
  }
});

/** Sends a request line and one header as they are, since `fetch` would put them right; resolves to the answer. */
function raw(origin, header) {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    let answer = '';
    connect(Number(port), hostname)
      .setTimeout(5_000, function () {
        this.destroy(new Error('no answer within 5 s'));
      })
      .on('data', (bytes) => (answer += bytes))
      .on('close', () => resolve(answer))
      .on('error', reject)
      .end(`POST /pusher/user-auth HTTP/1.1\r\nHost: x\r\nauthorization: Bearer session-of-ada\r\n${header}\r\n`);
  });
}
