// PROTOCOL 2: every check of a sign-in, in its order, and what a connection is afterwards.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { channelToken, hmac, signInToken, userData } from './api.mjs';
import { Client, assertError, assertRefused, subscribe } from './client.mjs';
import { APPS, startServer } from './server.mjs';

describe('sign-in', () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  /** Sends `data` as a sign-in on a new connection: expects one error 4009, and that a good sign-in still works. */
  async function refuses(what, dataFor, app = APPS.main) {
    const client = await Client.connect(server, app);
    client.send({ event: 'pusher:signin', data: dataFor(client) });
    assertError(await client.answer(), 4009, what);
    assert.equal((await client.signIn('ada')).event, 'pusher:signin_success');
    await client.close();
  }

  it('echoes user_data byte for byte in an object, and nothing else', async () => {
    const client = await Client.connect(server, APPS.main);
    // Spaces as Python writes them, an escape, a slash as PHP escapes it, a number that a float would change.
    const text = '{"id": "ada", "name": "\\u00c4da \\/ 🦀", "n": 12345678901234567890, "user_info": {"a": 1.0}}';
    client.send({ event: 'pusher:signin', data: signInToken(APPS.main, client.socketId, text) });
    assert.deepEqual(await client.next(), { event: 'pusher:signin_success', data: { user_data: text } });
    await client.close();
  });

  it('takes data as a JSON string, too', async () => {
    const client = await Client.connect(server, APPS.main);
    client.send({ event: 'pusher:signin', data: JSON.stringify(client.token('ada')) });
    assert.equal((await client.next()).event, 'pusher:signin_success');
    await client.close();
  });

  for (const version of ['2.3.0', '2.4.0', '2.4.1']) {
    it(`answers java-client ${version} with data as a string`, async () => {
      const query = `client=java-client&protocol=5&version=${version}`;
      const client = await Client.connect(server, APPS.main, { query });
      const { data } = await client.signIn('ada');
      assert.equal(typeof data, 'string');
      assert.equal(typeof JSON.parse(data).user_data, 'string');
      await client.close();
    });
  }

  it('answers java-client 2.4.4 with data as an object', async () => {
    const client = await Client.connect(server, APPS.main, { query: 'client=java-client&protocol=5&version=2.4.4' });
    assert.equal(typeof (await client.signIn('ada')).data, 'object');
    await client.close();
  });

  it('accepts upper-case hex, since bytes are compared', async () => {
    const client = await Client.connect(server, APPS.main);
    const token = client.token('ada');
    const [key, hex] = token.auth.split(':');
    client.send({ event: 'pusher:signin', data: { ...token, auth: `${key}:${hex.toUpperCase()}` } });
    assert.equal((await client.next()).event, 'pusher:signin_success');
    await client.close();
  });

  const long = ['é'.repeat(200), '🦀'.repeat(200)];
  for (const id of ['auth0|5f7c', 'a+b@x.com', 'josé', '日本', '  spaced ', '#x', 'a:b/c', ...long]) {
    it(`accepts the id ${id.slice(0, 12)}`, async () => {
      const client = await Client.signedIn(server, APPS.main, id);
      assert.deepEqual(await client.subscribe(`#server-to-user-${id}`, ''), {
        event: 'pusher_internal:subscription_succeeded',
        channel: `#server-to-user-${id}`,
        data: '{}',
      });
      await client.close();
    });
  }

  const flip = (hex) => (hex[0] === 'a' ? 'b' : 'a') + hex.slice(1);
  const tampered = {
    'a forged signature': ({ auth, ...rest }) => ({ ...rest, auth: `${APPS.main.key}:${flip(auth.split(':')[1])}` }),
    'a truncated signature': ({ auth, ...rest }) => ({ ...rest, auth: auth.slice(0, -1) }),
    'a signature with more behind it': ({ auth, ...rest }) => ({ ...rest, auth: `${auth}0` }),
    'a signature with a newline behind it': ({ auth, ...rest }) => ({ ...rest, auth: `${auth}\n` }),
    'a signature that is not hex': ({ auth, ...rest }) => ({ ...rest, auth: `${auth.slice(0, -1)}g` }),
    'a signature of digits that are not ASCII': ({ auth, ...rest }) => ({ ...rest, auth: `${auth.slice(0, -1)}٣` }),
    'a signature alone': ({ auth, ...rest }) => ({ ...rest, auth: auth.split(':')[1] }),
    'the key alone': (token) => ({ ...token, auth: APPS.main.key }),
    'the key and a colon': (token) => ({ ...token, auth: `${APPS.main.key}:` }),
    'an empty auth': (token) => ({ ...token, auth: '' }),
    'a signature with a space before it': ({ auth, ...rest }) => ({ ...rest, auth: auth.replace(':', ': ') }),
    'the key in upper case': ({ auth, ...rest }) => ({ ...rest, auth: auth.replace('main-key', 'MAIN-KEY') }),
    'the key of another app': ({ auth, ...rest }) => ({ ...rest, auth: auth.replace('main-key', 'other-key') }),
    'an auth with ::user:: in it': ({ auth, ...rest }) => ({ ...rest, auth: auth.replace(':', '::user::') }),
    'other user data than was signed': (token) => ({ ...token, user_data: userData('grace') }),
    'user data with one space more': (token) => ({ ...token, user_data: `${token.user_data} ` }),
  };
  for (const [what, tamper] of Object.entries(tampered)) {
    it(`refuses ${what}`, () => refuses(what, (client) => tamper(client.token('ada'))));
  }

  it('refuses a token of another connection', async () => {
    const other = await Client.connect(server, APPS.main);
    await refuses('replayed', () => other.token('ada'));
    await other.close();
  });

  it('refuses a token of a connection that has closed', async () => {
    const other = await Client.signedIn(server, APPS.main, 'ada');
    const token = other.token('ada');
    await other.close();
    await refuses('replayed', () => token);
  });

  it('refuses a token of another app, and one signed with its secret', async () => {
    await refuses('another app', ({ socketId }) => signInToken(APPS.other, socketId, userData('ada')));
    const mixed = { ...APPS.other, key: APPS.main.key };
    await refuses('another secret', ({ socketId }) => signInToken(mixed, socketId, userData('ada')));
  });

  it('refuses the token of a channel', async () => {
    await refuses('channel token', ({ socketId }) => {
      const text = userData('ada');
      return { auth: `${APPS.main.key}:${hmac(APPS.main.secret, `${socketId}:${text}`)}`, user_data: text };
    });
  });

  const signed = {
    'a numeric id': '{"id":7}',
    'no id': '{"name":"ada"}',
    'an empty id': '{"id":""}',
    'a null id': '{"id":null}',
    'a boolean id': '{"id":true}',
    'an object for an id': '{"id":{"id":"ada"}}',
    'an array for an id': '{"id":["ada"]}',
    'an id of 201 characters': JSON.stringify({ id: 'x'.repeat(201) }),
    'a newline in the id': '{"id":"a\\nb"}',
    'a NUL in the id': '{"id":"a\\u0000"}',
    'a duplicate id': '{"id":"ada","id":"grace"}',
    'a duplicate id, once escaped': '{"id":"ada","i\\u0064":"grace"}',
    'a duplicate watchlist': '{"id":"ada","watchlist":["a"],"watchlist":["b"]}',
    'a lone surrogate in the id': '{"id":"\\ud800"}',
    'a lone surrogate elsewhere': '{"id":"ada","name":"\\udc00"}',
    'nesting beyond 32': `{"id":"ada","x":${'['.repeat(33)}${']'.repeat(33)}}`,
    'nesting beyond any stack': `{"id":"ada","x":${'['.repeat(25_000)}${']'.repeat(25_000)}}`,
    'nesting that never ends': `{"id":"ada","x":${'{"a":'.repeat(5_000)}`,
    'more than 60 KiB': JSON.stringify({ id: 'ada', pad: 'x'.repeat(61 * 1024) }),
    'an array': '["ada"]',
    'a string': '"ada"',
    'a number': '7',
    'null': 'null',
    'nothing': '',
    'no JSON': 'ada',
    'JSON with more behind it': '{"id":"ada"} {"id":"grace"}',
    'a trailing comma': '{"id":"ada",}',
    'single quotes': "{'id':'ada'}",
    'a NaN': '{"id":"ada","x":NaN}',
    'a byte order mark': '\ufeff{"id":"ada"}',
  };
  for (const [what, text] of Object.entries(signed)) {
    it(`refuses well-signed user data with ${what}`, () =>
      refuses(what, ({ socketId }) => signInToken(APPS.main, socketId, text)));
  }

  it('accepts a nesting of 32', async () => {
    const client = await Client.connect(server, APPS.main);
    const text = `{"id":"ada","x":${'['.repeat(31)}${']'.repeat(31)}}`;
    client.send({ event: 'pusher:signin', data: signInToken(APPS.main, client.socketId, text) });
    assert.equal((await client.next()).event, 'pusher:signin_success');
    await client.close();
  });

  it('answers each wrong type of each field with 4009, and goes on', async () => {
    const values = [undefined, null, 7, true, '', [], {}, ['x'], { a: 1 }];
    for (const field of ['auth', 'user_data']) {
      for (const value of values) {
        await refuses(`${field}: ${JSON.stringify(value)}`, (client) => ({ ...client.token('ada'), [field]: value }));
      }
    }
  });

  it('answers each wrong type of data with an error, and goes on', async () => {
    for (const data of [undefined, null, 7, true, '', 'x', '7', 'null', '[]', [], {}, ['x']]) {
      const client = await Client.connect(server, APPS.main);
      client.send({ event: 'pusher:signin', data });
      assert.equal((await client.answer()).event, 'pusher:error', JSON.stringify(data));
      await client.signIn('ada');
      await client.close();
    }
  });

  it('closes with 4009 after 10 failures on one connection', async () => {
    const client = await Client.connect(server, APPS.main);
    for (let failure = 1; failure < 10; failure += 1) {
      client.sendSignIn('');
      assertError(await client.answer(), 4009, `failure ${failure}`);
    }
    client.sendSignIn('');
    const { code } = await client.whenClosed();
    assert.equal(code, 4009);
    assert.equal(client.received.at(-1).event, 'pusher:error');
  });

  it('succeeds again for the same id and refuses another, which keeps the first', async () => {
    const client = await Client.signedIn(server, APPS.main, 'ada');
    await client.signIn('ada');
    client.sendSignIn('grace');
    assertError(await client.answer(), 4009);
    client.send(subscribe('#server-to-user-grace', ''));
    assert.equal((await client.answers())[0].event, 'pusher:subscription_error');
    await client.subscribe('#server-to-user-ada', '');
    await client.close();
  });

  it('is refused where the app does not allow it', async () => {
    const client = await Client.connect(server, APPS.anonymous);
    client.sendSignIn('ada');
    assertError(await client.answer(), 4009);
    await client.close();
  });

  it('or a private channel is demanded in time by authorized connections', async () => {
    const silent = await Client.connect(server, APPS.guarded);
    const refused = await Client.connect(server, APPS.guarded);
    const signedIn = await Client.signedIn(server, APPS.guarded, 'ada');
    const onPrivate = await Client.connect(server, APPS.guarded);
    await onPrivate.subscribe('private-x', channelToken(APPS.guarded, onPrivate.socketId, 'private-x'));
    const onPublic = await Client.connect(server, APPS.guarded);
    onPublic.send(subscribe('news'));
    refused.sendSignIn('');
    assertError(await refused.answer(), 4009);
    await assertRefused(silent, 4009);
    assert.equal((await refused.whenClosed()).code, 4009);
    assert.equal((await onPublic.whenClosed()).code, 4009);
    for (const client of [signedIn, onPrivate]) {
      assert.deepEqual(await client.answers(), []);
      await client.close();
    }
  });
});
