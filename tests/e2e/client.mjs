// A client that shows every frame: for what no client library would send, and for what they hide.

import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { signInToken, userData } from './api.mjs';

/** How long a test waits for what must happen, on a machine that builds at the same time. */
export const PATIENCE_MS = 15_000;

/** What pusher-js says of itself. */
const QUERY = 'protocol=7&client=js&version=8.6.0&flash=false';

/** Fails with `what` if `promise` takes longer than anything here may take. */
export async function within(promise, what, limit = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${limit} ms for ${what}`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits until `condition` gives something true, and returns it. */
export async function eventually(condition, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${PATIENCE_MS} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export class Client {
  /** Every frame that came, in order, parsed. */
  received = [];
  #unread = 0;
  #wake = () => {};

  constructor(server, app, socket) {
    this.app = app;
    this.socket = socket;
    this.server = server;
    socket.on('message', (data, isBinary) => {
      assert.equal(isBinary, false, 'the server sent a binary frame');
      this.received.push(JSON.parse(data.toString('utf8')));
      this.#wake();
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString('utf8') });
        this.isClosed = true;
        this.#wake();
      });
    });
    socket.on('error', () => {}); // What goes wrong shows in the close code.
  }

  /** Upgrades and reads nothing yet. `path` and `query` replace the usual ones. */
  static async open(server, app, { path, query = QUERY, protocols = [], ...options } = {}) {
    const url = `ws://${server.host}${path ?? `/app/${app.key}`}${query === null ? '' : `?${query}`}`;
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
    const client = new Client(server, app, socket);
    await within(
      new Promise((resolve, reject) => {
        socket.on('open', resolve);
        socket.on('error', reject);
      }),
      `the upgrade of ${url}`,
    );
    return client;
  }

  /** Connects and reads the handshake frame. */
  static async connect(server, app, options) {
    const client = await Client.open(server, app, options);
    client.established = await client.next();
    assert.equal(client.established.event, 'pusher:connection_established', JSON.stringify(client.established));
    client.socketId = JSON.parse(client.established.data).socket_id;
    return client;
  }

  /** Connects and signs in; `fields` go into the user data. */
  static async signedIn(server, app, user, fields, options) {
    const client = await Client.connect(server, app, options);
    await client.signIn(user, fields);
    return client;
  }

  /** Sends a sign-in and returns the success frame, which must be the next but for a cut watchlist's error. */
  async signIn(user, fields) {
    this.sendSignIn(user, fields);
    let answer = await this.next();
    if (answer.event === 'pusher:error' && answer.data.code === 4302) answer = await this.next();
    assert.equal(answer.event, 'pusher:signin_success', JSON.stringify(answer));
    this.user = user;
    return answer;
  }

  sendSignIn(user, fields) {
    this.send({ event: 'pusher:signin', data: this.token(user, fields) });
  }

  token(user, fields) {
    return signInToken(this.app, this.socketId, userData(user, fields));
  }

  send(frame) {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  /** Subscribes and returns the acknowledgement. */
  async subscribe(channel, auth, channelData) {
    this.send(subscribe(channel, auth, channelData));
    const answer = await this.until((frame) => frame.channel === channel, `the answer for ${channel}`);
    assert.equal(answer.event, 'pusher_internal:subscription_succeeded', JSON.stringify(answer));
    return answer;
  }

  /** Bytes in a text frame, valid UTF-8 or not. */
  sendText(bytes) {
    this.socket.send(bytes, { binary: false });
  }

  /** The next frame that was not read yet. */
  next() {
    return this.until(() => true, 'a frame');
  }

  /** Reads on to the first frame for which `wanted` holds, and returns it. */
  async until(wanted, what = 'a certain frame') {
    const found = new Promise((resolve, reject) => {
      this.#wake = () => {
        while (this.#unread < this.received.length) {
          const frame = this.received[this.#unread];
          this.#unread += 1;
          if (wanted(frame)) {
            this.#wake = () => {}; // What comes now is for the next reader.
            return resolve(frame);
          }
        }
        const received = JSON.stringify(this.received);
        if (this.isClosed) reject(new Error(`closed while waiting for ${what}; received ${received}`));
      };
      this.#wake();
    });
    try {
      return await within(found, `${what}; received ${JSON.stringify(this.received.slice(-5))}`);
    } finally {
      this.#wake = () => {};
    }
  }

  event(name) {
    return this.until((frame) => frame.event === name, `the event ${name}`);
  }

  /** Sends a ping and reads on to its pong. */
  async pong() {
    this.send({ event: 'pusher:ping', data: {} });
    await this.event('pusher:pong');
  }

  /** Sends a ping and returns what came before its pong: the answers to all that was sent before. */
  async answers() {
    const from = this.#unread;
    await this.pong();
    return this.received.slice(from, this.#unread - 1);
  }

  /** The one answer to what was sent last. */
  async answer() {
    const answers = await this.answers();
    assert.equal(answers.length, 1, `one answer expected: ${JSON.stringify(answers)}`);
    return answers[0];
  }

  /** All frames so far of one event. */
  receivedEvents(name) {
    return this.received.filter(({ event }) => event === name);
  }

  /** Frames of the watchlist so far, as `[['offline', 'a', 'b'], ['online', 'c'], …]`. */
  get watched() {
    return this.received
      .filter(({ event }) => event === 'pusher_internal:watchlist_events')
      .flatMap(({ data }) => JSON.parse(data).events.map(({ name, user_ids: users }) => [name, ...users]));
  }

  /** The order in which one user was told online and offline. */
  levelsOf(user) {
    return this.watched.filter(([, ...users]) => users.includes(user)).map(([name]) => name);
  }

  async whenClosed() {
    return within(this.closed, 'the close');
  }

  /** Closes and waits for the server to take part. */
  async close() {
    this.socket.close(1000);
    await this.whenClosed();
  }
}

export const sorted = (list) => [...list].sort();

/** Subscribing, as a client library does it. */
export const subscribe = (channel, auth, channelData) => ({
  event: 'pusher:subscribe',
  data: { channel, auth, channel_data: channelData }, // An undefined field is left out of the JSON.
});

/** Checks an error frame: an object with a number or null and a text. */
export function assertError(frame, code, what = '') {
  assert.equal(frame?.event, 'pusher:error', `${what}: ${JSON.stringify(frame)}`);
  assert.equal(frame.data.code ?? null, code, `${what}: ${JSON.stringify(frame)}`);
  assert.equal(typeof frame.data.message, 'string', `${what}: ${JSON.stringify(frame)}`);
  assert.ok(frame.data.message.length > 0, what);
}

/** A refusal: the error frame, then a close with the same code and text. */
export async function assertRefused(client, code) {
  const frame = await client.next();
  assertError(frame, code);
  const closed = await client.whenClosed();
  assert.deepEqual(closed, { code, reason: cut(frame.data.message) });
}

/** As much of a text as fits a close frame. */
function cut(text) {
  let end = text;
  while (Buffer.byteLength(end) > 123) end = end.slice(0, -1);
  return end;
}
