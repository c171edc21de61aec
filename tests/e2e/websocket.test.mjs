// RFC 6455: bytes that no client library sends. Whatever it is, that connection ends, and nobody else's.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { Client, eventually, within } from './client.mjs';
import { APPS, startServer } from './server.mjs';

const PING = '{"event":"pusher:ping","data":{}}';

/** A frame as it goes over the wire; `first` holds FIN, the reserved bits and the opcode. */
function frame(first, payload, { masked = true, length = payload.length } = {}) {
  const mask = masked ? 0x80 : 0;
  const head = length < 126 ? [first, mask | length] : [first, mask | 126, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), Buffer.alloc(masked ? 4 : 0), Buffer.from(payload)]); // a mask of zeros
}

describe('WebSocket', () => {
  let server;
  let bystander;
  before(async () => {
    server = await startServer();
    bystander = await Client.signedIn(server, APPS.main, 'bystander');
  });
  after(async () => {
    assert.deepEqual(await bystander.answers(), []);
    await bystander.close();
    await server.stop();
  });

  /** A connection whose bytes the test writes itself. */
  async function openRaw() {
    const client = await Client.connect(server, APPS.main);
    return { client, write: (...buffers) => client.socket._socket.write(Buffer.concat(buffers)) };
  }

  const wrong = {
    'an unmasked frame': [frame(0x81, PING, { masked: false })],
    'a reserved bit': [frame(0xc1, PING)],
    'a reserved opcode': [frame(0x83, PING)],
    'a reserved control opcode': [frame(0x8b, '')],
    'a continuation of nothing': [frame(0x80, PING)],
    'a new message within another': [frame(0x01, '{"event":'), frame(0x81, PING)],
    'a control frame in fragments': [frame(0x09, 'half')],
    'a control frame above 125 bytes': [frame(0x89, 'x'.repeat(126))],
    'a close frame of one byte': [frame(0x88, 'x')],
    'a close code that may not be sent': [frame(0x88, [0x03, 0xed])], // 1005
    'a close reason that is not UTF-8': [frame(0x88, [0x03, 0xe8, 0xff])],
  };
  for (const [what, buffers] of Object.entries(wrong)) {
    it(`closes on ${what}`, async () => {
      const { client, write } = await openRaw();
      write(...buffers);
      const { code } = await client.whenClosed();
      assert.ok([1000, 1002, 1005, 1006, 1007].includes(code), String(code));
    });
  }

  it('takes a message in single bytes, with control frames between its fragments', async () => {
    const { client, write } = await openRaw();
    const bytes = Buffer.concat([
      frame(0x01, PING.slice(0, 7)),
      frame(0x89, 'between'),
      frame(0x00, ''),
      frame(0x80, PING.slice(7)),
    ]);
    const pong = new Promise((resolve) => client.socket.once('pong', (data) => resolve(String(data))));
    for (const byte of bytes) {
      write(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
    assert.equal((await client.next()).event, 'pusher:pong');
    assert.equal(await within(pong, 'the pong'), 'between');
    await client.close();
  });

  it('takes a character in two fragments', async () => {
    const { client, write } = await openRaw();
    const text = Buffer.from('{"event":"pusher:ping","data":"é"}');
    const inside = text.indexOf(0xc3) + 1;
    write(frame(0x01, text.subarray(0, inside)), frame(0x80, text.subarray(inside)));
    assert.equal((await client.next()).event, 'pusher:pong');
    await client.close();
  });

  it('closes at a length beyond the limit, before its bytes have come', async () => {
    for (const length of [Buffer.alloc(8, 0x7f), Buffer.alloc(8, 0xff), Buffer.from([0, 0, 0, 0, 0, 1, 0, 1])]) {
      const { client, write } = await openRaw();
      write(Buffer.from([0x81, 0xff]), length, Buffer.alloc(4), Buffer.from('{'));
      const { code } = await client.whenClosed();
      assert.ok([1002, 1006, 1009].includes(code), String(code));
    }
  });

  it('answers a close frame with one of the same code', async () => {
    for (const code of [1000, 1001, 3000, 4999]) {
      const client = await Client.connect(server, APPS.main);
      client.socket.close(code, 'bye');
      assert.equal((await client.whenClosed()).code, code);
    }
  });

  it('survives connections that end in the middle of anything', async () => {
    const { client } = await openRaw();
    const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
    const upgrade = [
      'GET /app/main-key?protocol=7 HTTP/1.1',
      `Host: ${server.host}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      key,
      '\r\n',
    ].join('\r\n');
    const whole = Buffer.concat([Buffer.from(upgrade), frame(0x81, PING), frame(0x88, [0x03, 0xe8])]);
    const ends = [];
    for (let length = 0; length < whole.length; length += 3) {
      ends.push(
        new Promise((resolve) => {
          const socket = connect(server.ports.gateway, '127.0.0.1', () => {
            socket.write(whole.subarray(0, length), () => (length % 2 ? socket.resetAndDestroy() : socket.end()));
          });
          socket.on('error', () => {});
          socket.on('close', resolve);
          socket.resume();
        }),
      );
    }
    await within(Promise.all(ends), 'the end of all');
    assert.deepEqual(await client.answers(), []);
    await client.close();
  });

  it('forgets a connection whose client has vanished', async () => {
    const watcher = await Client.signedIn(server, APPS.main, 'watcher', { watchlist: ['vanishing'] });
    const vanishing = await Client.signedIn(server, APPS.main, 'vanishing');
    await eventually(() => watcher.levelsOf('vanishing').length === 2, 'online');
    vanishing.socket._socket.resetAndDestroy();
    await eventually(() => watcher.levelsOf('vanishing').length === 3, 'offline');
    await watcher.close();
  });
});
