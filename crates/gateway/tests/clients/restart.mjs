// npm's socket.io-client reconnects when the gateway is stopped by SIGTERM and started again
// on its port. The program prints its progress; the Rust test stops and starts the gateway.

import assert from 'node:assert/strict';
import { ada, grace } from './environment.mjs';
import { Client, assertInOrder, newRoom } from './harness.mjs';

const fastReconnect = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
const roomId = newRoom();
const contents = Array.from({ length: 50 }, (_, n) => `message ${n}`);

const users = [
  await Client.connected(ada, { ...fastReconnect, transports: ['websocket'] }),
  await Client.connected(grace, { ...fastReconnect, transports: ['polling'] }),
];
for (const user of users) assert.equal(await user.join(roomId), 0);
for (const content of contents) await users[0].send(roomId, content);
for (const user of users) {
  await user.until('all messages', () => user.messages(roomId).length >= contents.length);
  assertInOrder(user.messages(roomId), 1, contents);
}
console.log('connected');

// A Socket.IO disconnect packet would appear as `io server disconnect`, after which the client
// does not reconnect by itself.
for (const user of users) {
  await user.until('the disconnect', () => user.states.length > 1);
  assert.match(user.states[1], /^disconnect: transport (close|error)$/);
  await user.until('a failed attempt to reconnect', () => user.states[2]?.startsWith('connect_error'));
}
console.log('disconnected');

for (const user of users) {
  await user.until('the reconnect', () => user.socket.connected);
  assert.equal(await user.join(roomId), contents.length);
}
const message = await users[1].send(roomId, 'we are back');
assert.equal(message.seq, contents.length + 1);
for (const user of users) {
  await user.until('the message', () => user.messages(roomId).length > contents.length);
  assert.deepEqual(user.messages(roomId).slice(contents.length), [message]);
  user.close();
}
