// Starts a real server process on free ports, stops it, and reads its log: no ERROR that the test did not expect, and
// nothing secret in it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CANARY } from './api.mjs';

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
export const TARGET = process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, 'target');
export const BINARY = process.env.SERVER_BINARY ?? join(TARGET, 'debug/rollcall');

/** A dev build on a busy machine starts in well under this. */
const START_MS = 30_000;

/** How often the ports that we found free may be taken before the server binds them. */
const ATTEMPTS = 5;

/** Apps that differ in one setting each. Secrets are long, so that finding one in a log is no accident. */
export const APPS = {
  main: { id: '1', key: 'main-key', secret: 'main-secret-0b9c1d7e5f' },
  other: { id: '2', key: 'other-key', secret: 'other-secret-7a6b5c4d3e' },
  guarded: {
    id: '3',
    key: 'guarded-key',
    secret: 'guarded-secret-2f4e6d8c0b',
    authorized_connections: true,
    authorization_timeout: '1s',
  },
  stopping: { id: '4', key: 'stopping-key', secret: 'stopping-secret-9e8d7c6b5a', user_termination_close_code: 4009 },
  anonymous: { id: '5', key: 'anonymous-key', secret: 'anonymous-secret-1a2b3c4d5e', user_authentication: false },
  unwatched: { id: '6', key: 'unwatched-key', secret: 'unwatched-secret-5d6e7f8a9b', watchlist_events: false },
  patient: { id: '7', key: 'patient-key', secret: 'patient-secret-3c4d5e6f7a', watchlist_offline_grace: '1s' },
  browsers: { id: '8', key: 'browsers-key', secret: 'browsers-secret-6f7a8b9c0d', allowed_origins: ['example.com'] },
  disabled: { id: '9', key: 'disabled-key', secret: 'disabled-secret-8b9c0d1e2f', enabled: false },
};

export const TOKENS = { all: 'token-for-all-apps-4c1f', other: 'token-for-app-two-9d2e' };

/** A server with the apps above. `settings` are sections of the settings file, merged over the tests' own. */
export const startServer = (settings = {}) => start((ports, directory) => writeSettings(ports, directory, settings));

/** What `rollcall` without settings runs: the development app and the demo page. */
export const startDevelopmentServer = () => start(() => []);

async function start(settingsFor) {
  for (let attempt = 1; ; attempt += 1) {
    const directory = await mkdtemp(join(tmpdir(), 'rollcall-'));
    const [gateway, grpc, admin] = await freePorts(3);
    const ports = { gateway, grpc, admin };
    const server = new Server(ports, directory, await settingsFor(ports, directory));
    try {
      await server.ready();
      return server;
    } catch (error) {
      await server.kill();
      if (attempt === ATTEMPTS || !/is in use/.test(server.log)) throw error;
    }
  }
}

class Server {
  #process;
  #exit;
  log = '';
  output = '';

  constructor(ports, directory, args) {
    this.ports = ports;
    this.directory = directory;
    this.#process = spawn(BINARY, args, {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        // Everything of ours, since what must not be logged must not be logged at debug either.
        ROLLCALL_LOG__FILTER: 'debug,h2=info,hyper=info,tonic=info,tower=info',
        ROLLCALL_GATEWAY__LISTEN: `127.0.0.1:${ports.gateway}`,
        ROLLCALL_CONTROL__GRPC_LISTEN: `127.0.0.1:${ports.grpc}`,
        ROLLCALL_ADMIN__LISTEN: `127.0.0.1:${ports.admin}`,
      },
    });
    this.#process.stdout.on('data', (text) => (this.output += text));
    this.#process.stderr.on('data', (text) => (this.log += text));
    this.#exit = new Promise((resolve) => {
      this.#process.on('error', (error) => resolve({ code: null, signal: null, error }));
      this.#process.on('close', (code, signal) => resolve({ code, signal }));
    });
  }

  get pid() {
    return this.#process.pid;
  }

  get host() {
    return `127.0.0.1:${this.ports.gateway}`;
  }

  get url() {
    return `http://${this.host}`;
  }

  get exit() {
    return this.#exit;
  }

  /** Whether the admin port says that all parts are ready. */
  async isReady() {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.ports.admin}/readyz`);
      await answer.arrayBuffer();
      return answer.status === 200;
    } catch {
      return false;
    }
  }

  async ready() {
    let exited = null;
    this.#exit.then((exit) => (exited = exit));
    const deadline = Date.now() + START_MS;
    while (!(await this.isReady())) {
      const gone = exited && `exited (${JSON.stringify(exited)})`;
      if (gone || Date.now() > deadline) {
        throw new Error(`${BINARY} ${gone ?? 'is not ready'}\n${this.output}\n${this.log}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  signal(name) {
    this.#process.kill(name);
  }

  /** Stops the server as a supervisor would, and checks that it did so well and has logged nothing it must not. */
  async stop({ expectedErrors = [] } = {}) {
    this.signal('SIGTERM');
    const late = setTimeout(() => this.signal('SIGKILL'), 30_000);
    const exit = await this.#exit;
    clearTimeout(late);
    await rm(this.directory, { recursive: true });
    assert.deepEqual(exit, { code: 0, signal: null }, `the server did not stop well:\n${tail(this.log)}`);
    this.checkLog(expectedErrors);
  }

  checkLog(expectedErrors = []) {
    const lines = this.log.split('\n').map((line) => line.replaceAll(/\x1b\[[0-9;]*m/g, ''));
    const unexpected = lines.filter(
      (line) => /\bERROR\b|panicked at/.test(line) && !expectedErrors.some((error) => error.test(line)),
    );
    assert.deepEqual(unexpected, [], 'the server logged errors');

    const appSecrets = Object.values(APPS).map(({ secret }) => secret);
    const secrets = [...appSecrets, ...Object.values(TOKENS), 'app-secret', CANARY];
    const leaks = lines.filter((line) => secrets.some((secret) => line.includes(secret)) || /[0-9a-f]{64}/i.test(line));
    assert.deepEqual(leaks, [], 'the server logged a secret, a signature or user_data');
  }

  async kill() {
    this.signal('SIGKILL');
    await this.#exit;
    await rm(this.directory, { recursive: true, force: true });
  }
}

async function writeSettings(ports, directory, settings) {
  const sections = {
    gateway: { listen: `127.0.0.1:${ports.gateway}`, ...settings.gateway },
    presence: { ...settings.presence },
    control: {
      grpc_listen: `127.0.0.1:${ports.grpc}`,
      tokens: [TOKENS.all, { token: TOKENS.other, apps: [APPS.other.id] }],
      ...settings.control,
    },
    admin: { listen: `127.0.0.1:${ports.admin}` },
  };
  const tables = Object.entries(sections).map(([name, section]) => table(`[${name}]`, section));
  const apps = Object.values(APPS).map((app) => table('[[apps]]', app));
  const path = join(directory, 'rollcall.toml');
  await writeFile(path, [...tables, ...apps].join('\n'));
  return ['--config', path];
}

const pairs = (values) => Object.entries(values).map(([key, value]) => `${key} = ${toml(value)}`);
const table = (head, values) => [head, ...pairs(values), ''].join('\n');

/** JSON is TOML for strings, numbers and booleans, and for arrays of them. */
function toml(value) {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`;
  if (typeof value !== 'object') return JSON.stringify(value);
  return `{ ${pairs(value).join(', ')} }`;
}

/** Ports that nobody listens on now; held together until all are found, so that they differ. */
export async function freePorts(count) {
  const listeners = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise((resolve, reject) => {
          const listener = createServer().on('error', reject);
          listener.listen(0, '127.0.0.1', () => resolve(listener));
        }),
    ),
  );
  const ports = listeners.map((listener) => listener.address().port);
  await Promise.all(listeners.map((listener) => new Promise((resolve) => listener.close(resolve))));
  return ports;
}

const tail = (text) => text.split('\n').slice(-40).join('\n');
