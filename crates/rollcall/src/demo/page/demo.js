// Rollcall's demo page. It uses no client library, so that the protocol can be read here from top to bottom:
//
//   1. what to do after a close             pauseAfterClose
//   2. one signed-in client of the server   Client
//   3. frames in words, for the log         describe
//   4. the page
//
// The page knows the app's key, which is public, and never its secret: tokens come from POST pusher/user-auth, as they
// would come from your application.

// ---------------------------------------------------------------------------------------------------------------------
// 1. What to do after a close

/**
 * How long to wait before the next connection, in milliseconds; `null` means: stop.
 *
 * The close code's range says it: 4000–4099 stop, 4100–4199 come back after a pause, 4200–4299 come back at once.
 * Whatever the code, a client that fails again and again waits longer each time.
 *
 * @param {number} code of the close frame; 1006 if the connection broke without one
 * @param {number} failures closes in a row without a sign-in between them
 */
function pauseAfterClose(code, failures) {
  const pause = Math.min(1000 * 2 ** failures, 10_000);
  if (code >= 4000 && code < 4100) return null;
  if (code >= 4200 && code < 4300) return failures === 0 ? 0 : pause;
  if (code >= 4300 && code < 5000) return null;
  return pause;
}

// ---------------------------------------------------------------------------------------------------------------------
// 2. One signed-in client of the server

/** How long the server may take to answer a ping. */
const PONG_TIMEOUT_MS = 30_000;

/**
 * Connects, signs in as a user and stays so until told to stop. Calls `tell(name, detail)` when something happens:
 * `state`, `signedIn`, `levels`, `event`, `error`, `sent`, `received`, `closed`, `called`.
 */
class Client {
  #key;
  #tell;
  #user = '';
  #watchlist = [];
  #socket = null;
  #socketId = null;
  #failures = 0;
  #nextConnection = null;
  #activityTimeout = 120_000;
  #liveness = null;

  constructor(key, tell) {
    this.#key = key;
    this.#tell = tell;
  }

  /** Signs in. A connection keeps its first identity, so another user needs another connection. */
  signIn(user, watchlist) {
    const sameUser = user === this.#user && this.#socketId !== null;
    this.#user = user;
    this.#watchlist = watchlist;
    if (sameUser) {
      // Signing in again replaces the watchlist, and a new snapshot comes.
      this.#authenticate();
    } else {
      this.#disconnect();
      this.#failures = 0;
      this.#connect();
    }
  }

  /** There is no signing out in the protocol: closing the connection is how a user leaves. */
  signOut() {
    this.#disconnect();
    this.#tell('state', { state: 'idle', text: 'not connected' });
  }

  #connect() {
    const url = new URL(`app/${this.#key}?protocol=7&client=rollcall-demo&version=1`, document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    this.#tell('state', { state: 'connecting', text: 'connecting…' });

    const socket = new WebSocket(url);
    this.#socket = socket;
    // A socket that we gave up may still have something to say: nobody listens any more.
    const ifCurrent = (act) => (event) => {
      if (socket === this.#socket) act(event);
    };
    socket.onmessage = ifCurrent(({ data }) => this.#receive(data));
    socket.onclose = ifCurrent(({ code, reason }) => this.#closed(code, reason));
  }

  #disconnect() {
    clearTimeout(this.#nextConnection);
    clearTimeout(this.#liveness);
    this.#socket?.close(1000);
    this.#socket = null;
    this.#socketId = null;
  }

  #closed(code, reason) {
    this.#disconnect();
    this.#tell('closed', { code, reason });
    const pause = pauseAfterClose(code, this.#failures);
    this.#failures += 1;
    if (pause === null) {
      this.#tell('state', { state: 'stopped', text: `stopped: ${code} ${reason}` });
      return;
    }
    const when = pause === 0 ? 'at once' : `in ${pause / 1000} s`;
    this.#tell('state', { state: 'waiting', text: `closed (${code}), reconnecting ${when}` });
    this.#nextConnection = setTimeout(() => this.#connect(), pause);
  }

  /** Asks the application for a token, which is good for this connection only, and shows it to the server. */
  async #authenticate() {
    const [socket, socketId] = [this.#socket, this.#socketId];
    this.#tell('state', { state: 'connecting', text: 'signing in…' });
    const form = new URLSearchParams({
      socket_id: socketId,
      user_id: this.#user,
      watchlist: this.#watchlist.join(','),
    });
    const answer = await call(this.#tell, 'pusher/user-auth', form);
    if (socket !== this.#socket) return; // Closed while we waited; the next connection asks anew.
    if (answer.ok) {
      this.#send('pusher:signin', { auth: answer.body.auth, user_data: answer.body.user_data });
    } else {
      this.#tell('error', { message: `no token: ${answer.problem}` });
      this.#tell('state', { state: 'connected', text: `connected as ${socketId}, not signed in` });
    }
  }

  #send(event, data) {
    const text = JSON.stringify({ event, data });
    this.#socket.send(text);
    this.#tell('sent', { text });
  }

  #receive(text) {
    this.#tell('received', { text });
    this.#watchLiveness();
    const frame = JSON.parse(text);
    const data = decoded(frame.data);
    switch (frame.event) {
      case 'pusher:connection_established':
        this.#socketId = data.socket_id;
        this.#activityTimeout = data.activity_timeout * 1000;
        this.#watchLiveness();
        this.#authenticate();
        break;
      case 'pusher:signin_success':
        this.#failures = 0;
        this.#tell('signedIn', { user: this.#user, watchlist: this.#watchlist });
        this.#tell('state', { state: 'signed-in', text: `signed in as ${this.#user}` });
        break;
      case 'pusher_internal:watchlist_events':
        // Each entry is {name: 'online' | 'offline', user_ids: […]}; the first frame after a sign-in is the snapshot.
        for (const { name, user_ids: users } of data.events) this.#tell('levels', { level: name, users });
        break;
      case 'pusher:ping':
        this.#send('pusher:pong', {});
        break;
      case 'pusher:error':
        // Before a close it tells the reason; without one the connection goes on, perhaps not signed in.
        this.#tell('error', data);
        break;
      default:
        // No subscription is needed for these: being signed in is enough.
        if (frame.channel === `#server-to-user-${this.#user}`) this.#tell('event', { name: frame.event, data });
    }
  }

  /**
   * A page cannot send WebSocket pings, so after a silence it sends `pusher:ping`, which any frame answers. The
   * server's own control pings are answered by the browser.
   */
  #watchLiveness() {
    clearTimeout(this.#liveness);
    this.#liveness = setTimeout(() => {
      this.#send('pusher:ping', {});
      this.#liveness = setTimeout(() => this.#closed(4201, 'the server did not answer a ping'), PONG_TIMEOUT_MS);
    }, this.#activityTimeout);
  }
}

/** A frame's `data` is JSON in a string, except in errors and in the sign-in's answer; a user event's may be text. */
function decoded(data) {
  if (typeof data !== 'string') return data;
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

/** POSTs a form or JSON to the server; resolves to `{ok, body, problem}` and never rejects. */
async function call(tell, path, body) {
  const isForm = body instanceof URLSearchParams;
  const init = { method: 'POST', body: isForm ? body : JSON.stringify(body) };
  if (!isForm) init.headers = { 'Content-Type': 'application/json' };
  try {
    const response = await fetch(new URL(path, document.baseURI), init);
    const text = await response.text();
    tell('called', { path, status: response.status, sent: init.body.toString(), text });
    const answer = decoded(text);
    return { ok: response.ok, body: answer, problem: answer?.error ?? `the server answered ${response.status}` };
  } catch {
    tell('called', { path, status: 'failed', sent: init.body.toString(), text: '' });
    return { ok: false, body: null, problem: 'the server cannot be reached' };
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// 3. Frames in words, for the log

/** What a frame means, in a few words. */
function describe(frame) {
  const data = decoded(frame.data);
  switch (frame.event) {
    case 'pusher:connection_established':
      return `this connection is ${data.socket_id}`;
    case 'pusher:signin':
      return 'here is my token';
    case 'pusher:signin_success':
      return `signed in as ${decoded(data.user_data).id}`;
    case 'pusher_internal:watchlist_events':
      return data.events.map(({ name, user_ids: users }) => `${name}: ${users.join(', ')}`).join('; ');
    case 'pusher:error':
      return `${data.code ?? 'no code'}: ${data.message}`;
    case 'pusher:ping':
      return 'are you there?';
    case 'pusher:pong':
      return 'I am';
    default:
      return frame.channel ? `on ${frame.channel}` : '';
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// 4. The page

/** Enough to follow what happened, and little enough for a phone. */
const LOG_LIMIT = 200;
const INBOX_LIMIT = 50;

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const now = () => clock.format(new Date());
const split = (list) => [...new Set(list.split(',').map((user) => user.trim()).filter(Boolean))];
const count = (n, noun) => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** What was last heard of each watched user: `online`, `offline`, or `unknown` until the snapshot comes. */
const levels = new Map();

const tell = (name, detail) => reactions[name](detail);

/** What the page does with each thing that a `Client` tells. */
const reactions = {
  state({ state, text }) {
    // What an earlier connection was told is in the log.
    if (state === 'connecting') result('sign-in-result', '');
    $('state').dataset.state = state;
    $('state-text').textContent = text;
    $('sign-out').disabled = state === 'idle' || state === 'stopped';
    // Without a sign-in nobody tells us anything, and what we heard before grows old.
    if (state !== 'signed-in') forgetLevels();
  },
  signedIn({ user, watchlist }) {
    levels.clear();
    for (const watched of watchlist) levels.set(watched, { level: 'unknown', since: null });
    showRoster();
    showSecondTab(user, watchlist);
  },
  levels({ level, users }) {
    for (const user of users) {
      const before = levels.get(user)?.level ?? 'unknown';
      levels.set(user, { level, since: before === 'unknown' ? null : now() });
      if (before !== 'unknown') $('announcements').textContent = `${user} is ${level}`;
    }
    showRoster();
  },
  event({ name, data }) {
    const text = typeof data === 'string' ? data : JSON.stringify(data);
    const parts = [element('b', name), element('code', text), element('time', now())];
    prepend('inbox', INBOX_LIMIT, element('li', ...parts));
    $('inbox-empty').hidden = true;
  },
  error({ message }) {
    result('sign-in-result', message, 'bad');
  },
  sent: ({ text }) => log('sent', text),
  received: ({ text }) => log('received', text),
  closed: ({ code, reason }) => logLine('closed', String(code), reason, `close frame: ${code} ${reason}`),
  called: ({ path, status, sent, text }) =>
    logLine('http', path, `answered ${status}`, `POST ${path}\n${sent}\n\n${status}\n${text}`),
};

function forgetLevels() {
  for (const user of levels.keys()) levels.set(user, { level: 'unknown', since: null });
  showRoster();
}

function showRoster() {
  $('roster-empty').hidden = levels.size > 0;
  const rows = [...levels].map(([user, { level, since }]) => {
    const row = $('roster-row').content.firstElementChild.cloneNode(true);
    row.dataset.user = user;
    row.dataset.level = level;
    row.querySelector('.avatar').textContent = [...user][0].toUpperCase();
    row.querySelector('.avatar').style.setProperty('--hue', hue(user));
    row.querySelector('.name').textContent = user;
    row.querySelector('.level').textContent = since ? `${level} since ${since}` : level;
    const write = row.querySelector('.say');
    write.setAttribute('aria-label', `Write to ${user}`);
    write.onclick = () => {
      $('send-user').value = user;
      $('send-data').focus();
      $('send-data').select();
    };
    const end = row.querySelector('.end');
    end.setAttribute('aria-label', `Terminate ${user}`);
    end.onclick = () => terminate(user);
    return row;
  });
  // The list is built anew, and whoever was on a button of it with the keyboard stays there.
  const focused = document.activeElement?.closest('#roster') ? document.activeElement.getAttribute('aria-label') : null;
  $('roster').replaceChildren(...rows);
  if (focused) $('roster').querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

/** A colour for a user, the same in every tab. */
function hue(user) {
  let sum = 0;
  for (const character of user) sum = (sum * 31 + character.codePointAt(0)) % 360;
  return sum;
}

/** A link to this page as someone you watch, who watches you. */
function showSecondTab(user, watchlist) {
  const other = watchlist.find((watched) => watched !== user);
  $('second-tab').hidden = !other;
  if (!other) return;
  const others = [user, ...watchlist].filter((watched) => watched !== other);
  $('second-tab').href = addressFor(other, others);
  $('second-tab').textContent = `Be ${other} in a second tab`;
}

const addressFor = (user, watchlist) => `?${new URLSearchParams({ user, watch: watchlist.join(',') })}`;

function log(direction, text) {
  const frame = JSON.parse(text);
  logLine(direction, frame.event, describe(frame), text);
}

function logLine(direction, event, about, whole) {
  const line = $('log-line').content.firstElementChild.cloneNode(true);
  line.dataset.direction = direction;
  line.querySelector('time').textContent = now();
  line.querySelector('.direction').textContent = direction;
  line.querySelector('.event').textContent = event;
  line.querySelector('.about').textContent = about;
  line.querySelector('pre').textContent = whole;
  prepend('log', LOG_LIMIT, line);
}

function prepend(id, limit, item) {
  const list = $(id);
  list.prepend(item);
  while (list.children.length > limit) list.lastElementChild.remove();
}

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function result(id, text, kind = 'good') {
  $(id).textContent = text;
  $(id).dataset.kind = kind;
}

async function send(user, event, data) {
  const answer = await call(tell, 'demo/send', { user_id: user, event, data });
  const reached = answer.body?.connections;
  if (!answer.ok) result('send-result', answer.problem, 'bad');
  else if (reached > 0) result('send-result', `${user} has it on ${count(reached, 'connection')}.`);
  else result('send-result', `${user} is not signed in anywhere: nobody has it.`, 'bad');
}

async function terminate(user) {
  const answer = await call(tell, 'demo/terminate', { user_id: user });
  if (!answer.ok) {
    result('terminate-result', answer.problem, 'bad');
  } else if (answer.body.complete) {
    result('terminate-result', `${count(answer.body.closed, 'connection')} of ${user} closed, and none is left.`);
  } else {
    result('terminate-result', `${answer.body.closed} closed, but not every node has confirmed. Try again.`, 'bad');
  }
}

function snippet(key) {
  return `const pusher = new Pusher('${key}', {
  wsHost: '${location.hostname}', wsPort: ${location.port || 80}, forceTLS: false,
  enabledTransports: ['ws'], cluster: '',
  userAuthentication: { endpoint: '/pusher/user-auth' },
});
pusher.signin();
pusher.user.bind('hello', (data) => console.log(data));
pusher.user.watchlist.bind('online', (event) => console.log(event.user_ids));
pusher.user.watchlist.bind('offline', (event) => console.log(event.user_ids));`;
}

async function start() {
  $('log-limit').textContent = LOG_LIMIT;
  const response = await fetch(new URL('demo/info', document.baseURI));
  const { key } = await response.json();
  const client = new Client(key, tell);

  const signIn = () => {
    const [user, watchlist] = [$('user').value, split($('watchlist').value)];
    history.replaceState(null, '', addressFor(user, watchlist)); // So that a reload signs in again.
    document.title = `${user} · Rollcall`;
    client.signIn(user, watchlist);
  };
  const onSubmit = (id, act) => {
    $(id).onsubmit = (event) => {
      event.preventDefault();
      act();
    };
  };
  onSubmit('sign-in-form', signIn);
  onSubmit('send-form', () => send($('send-user').value, $('send-event').value, $('send-data').value));
  onSubmit('terminate-form', () => terminate($('terminate-user').value));
  $('sign-out').onclick = () => client.signOut();
  $('clear-log').onclick = () => $('log').replaceChildren();
  $('snippet').textContent = snippet(key);
  $('copy-snippet').onclick = async () => {
    await navigator.clipboard.writeText($('snippet').textContent);
    $('announcements').textContent = 'copied';
  };

  const asked = new URLSearchParams(location.search);
  if (asked.has('user')) {
    $('user').value = asked.get('user');
    $('watchlist').value = split(asked.get('watch') ?? '').join(', ');
    const other = split($('watchlist').value)[0];
    if (other) $('send-user').value = $('terminate-user').value = other;
    signIn();
  }
}

start().catch(() => {
  $('state').dataset.state = 'stopped';
  $('state-text').textContent = 'the server cannot be reached: start it and reload';
});
