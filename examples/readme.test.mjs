// Runs what the README says, as it says it, against a development server of its own: only the ports are replaced, and
// grpcurl's calls are made with grpc-js. Needs a built `rollcall`, and what the end-to-end tests need.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { promisify } from 'node:util';
import { eventually, within } from '../tests/e2e/client.mjs';
import { Control } from '../tests/e2e/control.mjs';
import { BINARY, REPOSITORY, startDevelopmentServer, TARGET } from '../tests/e2e/server.mjs';

const run = promisify(execFile);
const PROGRAMS = dirname(BINARY);
const PYTHON = process.env.SDK_PYTHON ?? join(TARGET, 'tests-venv/bin/python');

let server, control, directory, env, sections;
const running = new Set();

before(async () => {
  server = await startDevelopmentServer();
  const token = await eventually(() => /^ *token +(\S+)/m.exec(server.output)?.[1], 'the token');
  control = new Control(server, `Bearer ${token}`);
  directory = await mkdtemp(join(tmpdir(), 'rollcall-readme-'));
  await symlink(join(REPOSITORY, 'tests/node_modules'), join(directory, 'node_modules'));
  await cp(join(REPOSITORY, 'examples'), join(directory, 'examples'), {
    recursive: true,
    filter: (path) => !/node_modules|venv/.test(path),
  });
  for (const file of ['client.mjs', 'backend.mjs', 'backend.py']) {
    const path = join(directory, 'examples', file);
    await writeFile(path, here(await readFile(path, 'utf8')));
  }
  env = {
    PATH: [PROGRAMS, process.env.PATH].join(delimiter),
    HOME: process.env.HOME,
    ROLLCALL_SERVER: `http://127.0.0.1:${server.ports.grpc}`,
    ROLLCALL_TOKEN: token,
  };
  sections = sectionsOf(here(await readFile(join(REPOSITORY, 'README.md'), 'utf8')));
});

afterEach(async () => {
  const exits = Array.from(running, (program) => program.exitCode ?? program.signalCode ?? once(program, 'exit'));
  running.forEach((program) => program.kill());
  running.clear();
  await within(Promise.all(exits), 'the programs to end');
  const online = async () => (await control.call('ListOnlineUsers', { app_id: '1' })).user_ids;
  await eventually(async () => (await online()).length === 0, 'everybody to be offline');
});

after(async () => {
  control?.close();
  if (directory) await rm(directory, { recursive: true });
  await server?.stop();
});

test('the four verbs work as they are pasted', async () => {
  const [setUpNode, setUpPython] = [block('The four verbs', 'js'), block('The four verbs', 'python')];
  const client = [block('Sign in', 'js'), block('Reach', 'js', 0), block('Watch', 'js'), block('Terminate', 'js', 1)];
  const ada = await start(process.execPath, await file('ada.mjs', client));
  await ada.says('signed in as ada');
  await ada.says('offline: bob');

  const bob = await start(process.execPath, 'examples/client.mjs', 'bob', 'ada');
  await bob.says('online:  ada');
  await ada.says('online:  bob');

  await run(process.execPath, [await file('reach.mjs', [setUpNode, block('Reach', 'js', 1)])], { cwd: directory });
  await ada.says('hello', 1);
  await run(PYTHON, [await file('reach.py', [setUpPython, block('Reach', 'python')])], { cwd: directory });
  await ada.says('hello', 2);
  await shell(block('Reach', 'sh', 0));
  await ada.says('hello', 3);
  assert.equal((await grpc(block('Reach', 'sh', 1))).connections, 1);
  await ada.says('hello', 4);

  const [users, user, watch] = block('Watch', 'sh', 0).trim().split('\n');
  assert.match(await shell(users), /ada.*online[^]*bob.*online/);
  assert.match(await shell(user), /\d+\.\d+/, 'a socket id');
  const follower = await start('sh', '-c', `exec ${watch}`);
  await follower.says(/ada.*online/);
  const stream = await grpc(block('Watch', 'sh', 1));
  const first = await within(
    new Promise((resolve, reject) => stream.once('data', resolve).once('error', reject)),
    'levels',
  );
  stream.on('error', () => {}).cancel();
  assert.deepEqual(
    new Set(first.users.map(({ user_id: id, online }) => `${id} ${online}`)),
    new Set(['ada true', 'bob true']),
  );

  let times = 1;
  const comesBack = async () => ada.says('signed in as ada', (times += 1));
  await run(process.execPath, [await file('end.mjs', [setUpNode, block('Terminate', 'js', 0)])], { cwd: directory });
  await comesBack();
  await run(PYTHON, [await file('end.py', [setUpPython, block('Terminate', 'python')])], { cwd: directory });
  await comesBack();
  await shell(block('Terminate', 'sh', 0));
  await comesBack();
  const { closed, complete } = await grpc(block('Terminate', 'sh', 1));
  assert.deepEqual({ closed, complete }, { closed: 1, complete: true });
  await comesBack();
});

test('a token can be made and checked at the terminal', async () => {
  const [sign, verify] = block('Sign in', 'sh', 2).trim().split('\n');
  assert.equal(JSON.parse(await shell(sign)).user_data, '{"id":"ada"}');
  await shell(verify); // Its exit code says that it is good.
});

test('the backends under examples/ work', async () => {
  const eve = await start(process.execPath, 'examples/client.mjs', 'eve');
  await eve.says('signed in as eve');
  for (const [interpreter, file] of [
    [process.execPath, 'examples/backend.mjs'],
    [PYTHON, 'examples/backend.py'],
  ]) {
    const backend = (...args) => run(interpreter, [file, ...args], { cwd: directory });
    await backend('send', 'eve', 'note', `{"from":"${file}"}`);
    await eve.says(`event note { from: '${file}' }`);
    await backend('send', 'eve');
    await backend('terminate', 'eve');
  }
  await eve.says("event greeting { text: 'hello' }", 2);
  await eve.says('signed in as eve', 3);
});

for (const program of ['node examples/user-auth.mjs', `${PYTHON} examples/user_auth.py`]) {
  test(`a client signs in through \`${program}\``, async () => {
    const endpoint = await start(...program.split(' '));
    const [origin] = await endpoint.says(/http:\/\/[^/]+/);
    const line = block('The endpoint of your application', 'sh', 1).replace('http://127.0.0.1:3000', origin);
    const client = await start('sh', '-c', line.replace('node', 'exec node'));
    await client.says('signed in as ada');
    await client.says('offline: bob');
  });
}

/** The README and the examples name the default ports; this server has others. */
function here(text) {
  const { gateway, grpc } = server.ports;
  return text
    .replaceAll('127.0.0.1:6001', `127.0.0.1:${gateway}`)
    .replaceAll(/\b(wsPort: |port: |port=)6001\b/g, `$1${gateway}`)
    .replaceAll('127.0.0.1:50051', `127.0.0.1:${grpc}`);
}

/** The code blocks below each heading, as `{ heading: [{ language, code }] }`. */
function sectionsOf(markdown) {
  const sections = {};
  for (const section of markdown.split(/^##+ /m).slice(1)) {
    const blocks = section.matchAll(/^```(\w+)\n([^]*?)^```$/gm);
    sections[section.slice(0, section.indexOf('\n'))] = Array.from(blocks, ([, language, code]) => ({
      language,
      code,
    }));
  }
  return sections;
}

function block(heading, language, index = 0) {
  const found = sections[heading]?.filter((candidate) => candidate.language === language)[index];
  assert.ok(found, `README: no ${language} block ${index} under "${heading}"`);
  return found.code;
}

async function file(name, blocks) {
  await writeFile(join(directory, name), blocks.join('\n'));
  return name;
}

async function shell(command) {
  const { stdout } = await within(run('sh', ['-ec', command], { cwd: directory, env }), command);
  return stdout;
}

/** Makes the call of a grpcurl line: resolves to the answer, or to the stream. */
async function grpc(command) {
  const [, message] = /-d '([^']*)'/.exec(command);
  const [, rpc] = /rollcall\.control\.v1\.Control\/(\w+)/.exec(command);
  return rpc === 'WatchUsers' ? control.watch(JSON.parse(message)) : control.call(rpc, JSON.parse(message));
}

/** Starts a program that runs until the tests end, and keeps what it prints. */
async function start(command, ...args) {
  const program = spawn(command, args, {
    cwd: directory,
    env: { ...env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(program);
  let output = '';
  program.stdout.on('data', (text) => (output += text));
  program.stderr.on('data', (text) => (output += text));
  const says = (what, times = 1) => {
    const pattern =
      typeof what === 'string' ? new RegExp(`^${RegExp.escape?.(what) ?? escape(what)}$`, 'gm') : new RegExp(what, 'g');
    const found = () => {
      const matches = output.match(pattern) ?? [];
      return matches.length >= times && matches;
    };
    return eventually(found, `${what} (${times}) of ${[command, ...args].join(' ')}`).catch((error) => {
      throw new Error(`${error.message}\n${output}`);
    });
  };
  return { says };
}

function escape(text) {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
