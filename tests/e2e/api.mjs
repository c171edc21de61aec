// What an application's backend does: it signs tokens for its clients and requests to the HTTP API. Written out here,
// beside the official SDKs which the tests also use, so that each part can be made wrong on purpose.

import { createHash, createHmac } from 'node:crypto';
import { request } from 'node:http';

/** In the `user_data` of every test's sign-in: it must never turn up in the server's log. */
export const CANARY = 'canary-5d41402abc4b';

export const hmac = (secret, text) => createHmac('sha256', secret).update(text).digest('hex');
const md5 = (body) => createHash('md5').update(body).digest('hex');

export const userData = (id, fields = {}) => JSON.stringify({ id, name: CANARY, ...fields });

/** The token of a sign-in: `data` of `pusher:signin`. `user_data` may be a Buffer, for bytes that are not UTF-8. */
export function signInToken(app, socketId, text) {
  return { auth: `${app.key}:${hmac(app.secret, `${socketId}::user::${text}`)}`, user_data: text };
}

export function channelToken(app, socketId, channel, channelData) {
  const signed = channelData === undefined ? `${socketId}:${channel}` : `${socketId}:${channel}:${channelData}`;
  return `${app.key}:${hmac(app.secret, signed)}`;
}

/**
 * Calls the HTTP API with a valid signature, but for what `options` says: `method`, `path` (as sent), `signedPath`,
 * `body` (an object, a string or a Buffer), `query` (more parameters), `beforeSigning(parameters)`,
 * `change(parameters)` after signing, `headers`, `port`. Resolves to `{status, headers, text, json}`.
 */
export function callApi(server, app, options) {
  const method = options.method ?? 'POST';
  const path = options.path;
  let body = options.body ?? '';
  if (typeof body === 'object' && !Buffer.isBuffer(body)) body = JSON.stringify(body);
  const parameters = {
    auth_key: app.key,
    auth_timestamp: String(Math.floor(Date.now() / 1000)),
    auth_version: '1.0',
    ...(body.length > 0 ? { body_md5: md5(body) } : {}),
    ...options.query,
  };
  options.beforeSigning?.(parameters);
  const query = Object.entries(parameters)
    .map(([key, value]) => [key.toLowerCase(), value])
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`)
    .join('&');
  parameters.auth_signature = hmac(app.secret, `${method}\n${options.signedPath ?? path}\n${query}`);
  options.change?.(parameters);
  const encoded = Object.entries(parameters).map(([key, value]) => `${key}=${encodeURIComponent(value)}`);
  return send(server, method, `${path}?${encoded.join('&')}`, body, options.headers, options.port);
}

/** One HTTP request, to the gateway's port unless told otherwise, with the path exactly as given. */
export function send(server, method, target, body = '', headers = {}, port = server.ports.gateway) {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        agent: false, // A connection of its own, whose errors are this request's.
        method,
        path: target,
        headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...headers },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part) => (text += part));
        response.on('end', () => {
          const { statusCode: status, headers: answered } = response;
          resolve({ status, headers: answered, text, json: parsed(text) });
        });
        response.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
