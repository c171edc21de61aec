// The command line: the lines that a development server prints work as pasted, tokens sign in, and settings that are
// wrong are all named before a port opens.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { CANARY } from './api.mjs';
import { Client, eventually, within } from './client.mjs';
import { BINARY, startDevelopmentServer } from './server.mjs';

const DEVELOPMENT_APP = { id: '1', key: 'app-key', secret: 'app-secret' };

/** Runs a program to its end; resolves to `{code, stdout, stderr}`, whatever the code. */
async function run(program, args, options = {}) {
  const env = { PATH: process.env.PATH, ...options.env };
  const running = promisify(execFile)(program, args, { env, cwd: options.cwd });
  const end = running.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  );
  return within(end, `${program} ${args.join(' ')}`);
}

describe('the development server', () => {
  let server;
  before(async () => (server = await startDevelopmentServer()));
  after(() => server.stop());

  const signedIn = (user, fields) => Client.signedIn(server, DEVELOPMENT_APP, user, fields);
  /** The command behind a label of the printed lines. */
  const printed = (label) => {
    const line = server.output.split('\n').find((one) => one.startsWith(`  ${label} `));
    assert.ok(line, `${label} in\n${server.output}`);
    return line.slice(2 + label.length).trim();
  };
  const shell = (command) => run('sh', ['-c', command], { cwd: server.directory });

  it('prints where it is, and the app', () => {
    for (const text of [server.url, `ws://${server.host}/app/app-key`, 'app-secret', String(server.ports.grpc)]) {
      assert.ok(server.output.includes(text), `${text} in\n${server.output}`);
    }
  });

  it('prints lines for each verb, which work as pasted', async () => {
    const { stdout } = await shell(printed('sign in'));
    assert.match(JSON.parse(stdout).auth, /^app-key:[0-9a-f]{64}$/);

    const watching = spawn('sh', ['-c', `exec ${printed('watch')}`], { cwd: server.directory });
    let seen = '';
    watching.stdout.on('data', (text) => (seen += text));
    await eventually(() => /ada/.test(seen), 'the snapshot of the watch');
    const ada = await signedIn('ada');
    await eventually(() => /ada.*online/.test(seen), `ada online in ${seen}`);

    const sent = await shell(printed('send'));
    assert.equal(sent.code, 0, sent.stderr);
    assert.match(sent.stdout, /1 connection/);
    assert.deepEqual(await ada.event('hello'), {
      event: 'hello',
      channel: '#server-to-user-ada',
      data: '{"from":"the shell"}',
    });

    const terminated = await shell(printed('terminate'));
    assert.equal(terminated.code, 0, terminated.stderr);
    assert.match(terminated.stdout, /1 connection/);
    assert.equal((await ada.whenClosed()).code, 4200);
    watching.kill();
    await within(new Promise((resolve) => watching.on('close', resolve)), 'the end of the watch');
  });

  it('takes tokens that `rollcall sign` makes and `rollcall verify` finds good', async () => {
    const client = await Client.connect(server, DEVELOPMENT_APP);
    const data = JSON.stringify({ id: 'ada', name: CANARY });
    const signed = await run(BINARY, ['sign', 'user', client.socketId, '--user-data', data, '--explain']);
    assert.equal(signed.code, 0, signed.stderr);
    assert.ok(signed.stderr.includes(`${client.socketId}::user::${data}`), signed.stderr);
    const good = await run(BINARY, ['verify', 'user', client.socketId, signed.stdout]);
    assert.equal(good.code, 0, good.stdout);
    const replayed = await run(BINARY, ['verify', 'user', '1.2', signed.stdout]);
    assert.equal(replayed.code, 1, replayed.stdout);
    client.send({ event: 'pusher:signin', data: JSON.parse(signed.stdout) });
    assert.equal((await client.next()).event, 'pusher:signin_success');

    const channel = await run(BINARY, ['sign', 'channel', client.socketId, 'private-room']);
    await client.subscribe('private-room', JSON.parse(channel.stdout).auth);
    await client.close();
  });

  it('serves its endpoints to its own pages and to programs only', async () => {
    const post = (headers) =>
      fetch(`${server.url}/demo/terminate`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: '{"user_id":"nobody"}',
      }).then(({ status }) => status);
    assert.equal(await post({}), 200);
    assert.equal(await post({ Origin: server.url }), 200);
    assert.equal(await post({ Origin: 'https://evil.example' }), 403);
    assert.equal(await post({ Origin: 'null' }), 403);
    assert.equal(await post({ 'Content-Type': 'text/plain' }), 415);
  });
});

describe('settings', () => {
  let directory;
  before(async () => (directory = await mkdtemp(join(tmpdir(), 'rollcall-'))));
  after(() => rm(directory, { recursive: true }));

  /** Starts the server with settings that it must refuse, and returns what it says. */
  async function refusal(toml, env = {}) {
    const path = join(directory, 'rollcall.toml');
    await writeFile(path, toml);
    const { code, stdout, stderr } = await run(BINARY, ['--config', path], { env });
    assert.equal(code, 1, stdout);
    assert.equal(stdout, '');
    return stderr;
  }

  it('tell all mistakes together, each with its key', async () => {
    const text = await refusal(
      `
        [gateway]
        listen = "nowhere"
        worker = 2
        activity_timeout = "soon"
        [[apps]]
        id = "1"
        key = "k"
        secret = "a-secret-that-is-not-shown"
        user_termination_close_code = 4301
      `,
      { ROLLCALL_ADMIN__LISTEN: 'elsewhere', ROLLCALL_GATEWAY__NONSENSE: '1' },
    );
    for (const key of [
      'gateway.listen',
      'gateway.worker',
      'gateway.activity_timeout',
      'apps.0.user_termination_close_code',
      'admin.listen',
      'ROLLCALL_GATEWAY__NONSENSE',
    ]) {
      assert.ok(text.includes(key), `${key} in\n${text}`);
    }
    assert.ok(!text.includes('a-secret'), text);
  });

  it('do not open the development secret to others', async () => {
    const text = await refusal('[gateway]\nlisten = "0.0.0.0:0"\n');
    assert.match(text, /gateway\.listen must be a loopback address/);
  });

  it('are read from a file that must be there', async () => {
    const { code, stderr } = await run(BINARY, ['--config', join(directory, 'missing.toml')]);
    assert.equal(code, 1);
    assert.match(stderr, /missing\.toml/);
  });
});
