// What npm's socket.io-client does when the gateway is stopped by SIGTERM and started
// again on its port. It says on standard output how far it is; the caller does the rest.

import assert from 'node:assert/strict';
import { ada, grace } from './environment.mjs';
import { Client, assertInOrder, newRoom } from './harness.mjs';

const quickly = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
const roomId = newRoom();
const contents = Array.from({ length: 50 }, (_, n) => `message ${n}`);

const users = [
  await Client.connected(ada, { ...quickly, transports: ['websocket'] }),
  await Client.connected(grace, { ...quickly, transports: ['polling'] }),
];
for (const user of users) assert.equal(await user.join(roomId), 0);
for (const content of contents) await users[0].send(roomId, content);
for (const user of users) {
  await user.until('all messages', () => user.messages(roomId).length >= contents.length);
  assertInOrder(user.messages(roomId), 1, contents);
}
console.log('connected');

// A Socket.IO disconnect packet would be `io server disconnect`, and the end: the
// client does not come back from that by itself.
for (const user of users) {
  await user.until('the end', () => user.life.length > 1);
  assert.match(user.life[1], /^disconnect: transport (close|error)$/);
  await user.until('an attempt that fails', () => user.life[2]?.startsWith('connect_error'));
}
console.log('disconnected');

for (const user of users) {
  await user.until('connected again', () => user.socket.connected);
  assert.equal(await user.join(roomId), contents.length);
}
const message = await users[1].send(roomId, 'we are back');
assert.equal(message.seq, contents.length + 1);
for (const user of users) {
  await user.until('the message', () => user.messages(roomId).length > contents.length);
  assert.deepEqual(user.messages(roomId).slice(contents.length), [message]);
  user.close();
}
