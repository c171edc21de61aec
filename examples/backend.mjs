// A backend with the Pusher SDK for Node.
//
//     node backend.mjs send ada greeting '{"text":"hello"}'
//     node backend.mjs terminate ada
import Pusher from 'pusher';

const rollcall = new Pusher({
  appId: '1',
  key: 'app-key',
  secret: 'app-secret',
  host: '127.0.0.1',
  port: 6001,
  useTLS: false,
});

const [verb, user, event = 'greeting', data = '{"text":"hello"}'] = process.argv.slice(2);
const verbs = {
  send: () => rollcall.sendToUser(user, event, JSON.parse(data)),
  terminate: () => rollcall.terminateUserConnections(user),
};
if (!verbs[verb] || !user) {
  console.error('usage: node backend.mjs send USER [EVENT [JSON]] | terminate USER');
  process.exit(2);
}
const response = await verbs[verb]();
console.log(response.status, await response.text());
