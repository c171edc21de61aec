// The two endpoints with which an application lets its users sign in and join private channels.
// Node 18 or newer, nothing to install: `node user-auth.mjs`. Make `userOf` and `mayJoin` your own; keep the checks.
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';

const { ROLLCALL_KEY: key = 'app-key', ROLLCALL_SECRET: secret = 'app-secret', PORT = '3000' } = process.env;

// Who is asking is known from the session, never from what the request says of itself.
const sessions = new Map([
  ['session-of-ada', { id: 'ada', name: 'Ada', watchlist: ['bob'] }],
  ['session-of-bob', { id: 'bob', name: 'Bob', watchlist: ['ada'] }],
]);
const userOf = (request) => sessions.get(request.headers.authorization?.replace(/^Bearer /, ''));
const mayJoin = (user, channel) => channel === `private-inbox-${user.id}` || channel === 'private-lobby';

// Both tokens are made with one secret and differ only in shape. Signing a "channel" named `:user::{"id":"admin"}` would
// be signing a sign-in as admin, and a socket id with a `:` in it can smuggle in the name of another channel.
const SOCKET_ID = /^[0-9]+\.[0-9]+$/;
const CHANNEL = /^[A-Za-z0-9_\-=@,.;]{1,200}$/;

const sign = (message) => `${key}:${createHmac('sha256', secret).update(message).digest('hex')}`;

function answer(path, user, form) {
  const socketId = form.get('socket_id') ?? '';
  if (!user) return [403, { error: 'log in first' }];
  if (!SOCKET_ID.test(socketId)) return [400, { error: 'socket_id must be two numbers joined by a dot' }];

  if (path === '/pusher/user-auth') {
    const userData = JSON.stringify(user); // Encoded once: what is signed is what is returned.
    return [200, { auth: sign(`${socketId}::user::${userData}`), user_data: userData }];
  }
  if (path === '/pusher/auth') {
    const channel = form.get('channel_name') ?? '';
    if (!CHANNEL.test(channel)) return [400, { error: 'channel_name is not a channel name' }];
    if (!mayJoin(user, channel)) return [403, { error: 'this channel is not for you' }];
    return [200, { auth: sign(`${socketId}:${channel}`) }];
  }
  return [404, { error: 'no such endpoint' }];
}

const server = createServer(async (request, response) => {
  const reply = (status, body) =>
    response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(body));
  if (request.method !== 'POST') return reply(405, { error: 'use POST' });
  // Also without a length, which `Number` makes NaN: a body is read only when it is known to be short.
  if (!(Number(request.headers['content-length']) <= 4096)) return reply(413, { error: 'send at most 4096 bytes' });
  try {
    reply(...answer(request.url, userOf(request), new URLSearchParams(await text(request))));
  } catch {
    response.destroy(); // The client went away while it was sending.
  }
});
server.listen(Number(PORT), '127.0.0.1', () =>
  console.log(`user authentication on http://127.0.0.1:${server.address().port}/pusher/user-auth`),
);
