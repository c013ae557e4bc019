// Turns the gateway's webhook `messages.unread` into push notifications.

import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const { WEBHOOK_SECRET, PORT = 4000 } = process.env;
if (!WEBHOOK_SECRET) throw new Error('WEBHOOK_SECRET is not set');
const webhook = new Webhook(WEBHOOK_SECRET);
const MAX_BODY = 1024 * 1024;

/** Sends a notification to one device of a user: replace this by a call of APNs, FCM or Web Push.
 *  Returns false if the device is not registered there any more, and throws if it is to be tried
 *  again. */
async function push(user, notification) {
  console.log('push', JSON.stringify({ user, notification }));
  return true;
}

/** The devices of each user. In a product, a table. */
const devices = new Map();

/** What became of each webhook, by its id. In a product, a table that keeps the ids of the last
 *  days: the gateway repeats a call whose answer it did not receive. */
const handled = new Map();
const MAX_HANDLED = 10_000;

/** Handles a webhook once, however often it arrives. One that fails is handled again. */
function once(id, handle) {
  if (!handled.has(id)) {
    const outcome = handle();
    outcome.catch(() => handled.delete(id));
    handled.set(id, outcome);
    if (handled.size > MAX_HANDLED) handled.delete(handled.keys().next().value);
  }
  return handled.get(id);
}

/** Notifies the members who have not read. */
async function unread({ roomId, seq, userIds, mentioned }) {
  await Promise.all(userIds.map((userId) => notify(userId, {
    title: mentioned.includes(userId) ? 'You were mentioned' : 'New messages',
    // A later notification about the room replaces this one on the device.
    collapseKey: `room-${roomId}`,
    data: { roomId, seq },
  })));
}

async function notify(userId, notification) {
  const tokens = devices.get(userId) ?? new Set();
  await Promise.all([...tokens].map(async (device) => {
    const isKnown = await push({ id: userId, device }, notification);
    if (!isKnown) tokens.delete(device);
  }));
}

/** `POST /webhooks`: what the gateway calls. */
async function receive(request, body) {
  let event;
  try {
    event = webhook.verify(body, request.headers);
  } catch {
    return 401;
  }
  if (event.type !== 'messages.unread') return 204;
  await once(request.headers['webhook-id'], () => unread(event.data));
  return 204;
}

/** `PUT /users/{id}/devices/{token}`: what the app calls when it starts. Put your login in front. */
function register(userId, device) {
  if (!devices.has(userId)) devices.set(userId, new Set());
  devices.get(userId).add(device);
  return 204;
}

async function bodyOf(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY) throw new Error('the body is too large');
    parts.push(part);
  }
  // It is verified as it arrived.
  return Buffer.concat(parts).toString();
}

async function answer(request) {
  const body = await bodyOf(request);
  const [collection, userId, part, device] = request.url.split('/').slice(1).map(decodeURIComponent);
  if (request.method === 'POST' && request.url === '/webhooks') return receive(request, body);
  if (request.method === 'PUT' && collection === 'users' && part === 'devices' && device) {
    return register(userId, device);
  }
  return 404;
}

const server = createServer((request, response) => {
  answer(request)
    .catch((error) => {
      // The gateway repeats the call.
      console.error(error);
      return 500;
    })
    .then((status) => response.writeHead(status).end());
});
server.listen(PORT, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
