// The users of the example of push notifications: Grace has a device and does not read what Ada sends.

import assert from 'node:assert/strict';
import { Webhook } from 'standardwebhooks';
import { ada, grace, variable } from './environment.mjs';
import { Client } from './harness.mjs';

const receiver = variable('RECEIVER_URL');
const webhook = new Webhook(variable('WEBHOOK_SECRET'));
const roomId = 7;

async function register(userId, device) {
  const url = `${receiver}/users/${encodeURIComponent(userId)}/devices/${encodeURIComponent(device)}`;
  const response = await fetch(url, { method: 'PUT' });
  assert.equal(response.status, 204);
}

/** Calls the receiver as the gateway does, and returns the status. */
async function call(id, event, signer = webhook) {
  const body = JSON.stringify(event);
  const now = new Date();
  const headers = {
    'webhook-id': id,
    'webhook-timestamp': `${Math.floor(now / 1000)}`,
    'webhook-signature': signer.sign(id, now, body),
  };
  const response = await fetch(`${receiver}/webhooks`, { method: 'POST', headers, body });
  return response.status;
}

const unread = (seq, userIds) => ({ type: 'messages.unread', data: { roomId, seq, userIds, mentioned: [] } });

await register('é/1', 'a phone');
await register(grace.id, 'tablet');
const forger = new Webhook('whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=');
assert.equal(await call('forged', unread(1, ['é/1']), forger), 401);
assert.equal(await call('other', { type: 'message.created', data: {} }), 204);
assert.equal(await call('first', unread(2, ['é/1', 'without a device'])), 204);
assert.equal(await call('first', unread(2, ['é/1'])), 204);
assert.equal(await call('second', unread(3, ['é/1'])), 204);

for (const user of [ada, grace]) {
  const client = await Client.connected(user);
  await client.join(roomId);
  const member = { roomId, userId: user.id, role: 'member' };
  assert.equal((await client.call('setMember', member)).ok, true);
  client.close();
}
const sender = await Client.connected(ada);
await sender.join(roomId);
const message = { roomId, content: 'hello', mentions: [grace.id] };
assert.equal((await sender.call('sendMessage', message)).ok, true);
sender.close();
