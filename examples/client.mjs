// A user's client: signs in, prints who of the watched users is online, and what is sent to this user.
//
//     node client.mjs ada bob,eve        I am ada, and I watch bob and eve
//
// Against an endpoint of your own (user-auth.mjs, user_auth.py), which knows from a session who is asking:
//
//     ENDPOINT=http://127.0.0.1:3000/pusher/user-auth SESSION=session-of-ada node client.mjs
import Pusher from 'pusher-js';

const [me = 'ada', watchlist = 'bob'] = process.argv.slice(2);
const { ENDPOINT, SESSION } = process.env;

const pusher = new Pusher('app-key', {
  cluster: '', // Asked for by the SDK, and not used where there is a wsHost.
  wsHost: '127.0.0.1',
  wsPort: 6001,
  forceTLS: false,
  enabledTransports: ['ws'],
  userAuthentication: ENDPOINT
    ? { endpoint: ENDPOINT, headers: { authorization: `Bearer ${SESSION}` } }
    : { endpoint: 'http://127.0.0.1:6001/pusher/user-auth', params: { user_id: me, watchlist } },
});

pusher.connection.bind('state_change', ({ current }) => console.log(current));
pusher.bind('pusher:error', ({ code, message }) => console.log('error', code, message));
pusher.bind('pusher:signin_success', ({ user_data }) => console.log('signed in as', JSON.parse(user_data).id));
pusher.user.bind('pusher:signin_error', ({ error }) => console.log('not signed in:', error));
pusher.user.watchlist.bind('online', ({ user_ids }) => console.log('online: ', ...user_ids));
pusher.user.watchlist.bind('offline', ({ user_ids }) => console.log('offline:', ...user_ids));
pusher.user.bind_global((event, data) => event.startsWith('pusher:') || console.log('event', event, data));
pusher.signin();
