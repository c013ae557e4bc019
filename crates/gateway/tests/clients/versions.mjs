// npm's socket.io-client in the versions that speak the gateway's protocol, and in one that
// does not.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { ada, grace, variable } from './environment.mjs';
import { newRoom, within } from './harness.mjs';

const url = variable('GATEWAY_URL');
const expired = variable('TOKEN_EXPIRED');
const require = createRequire(import.meta.url);

const VERSIONS = ['socket.io-client-3', 'socket.io-client-4.0', 'socket.io-client'];
const TRANSPORTS = [['polling', 'websocket'], ['websocket'], ['polling']];

/** Begins to connect, with what all versions have in common. */
function open(t, version, token, transports) {
  const socket = require(version)(url, { forceNew: true, reconnection: false, auth: { token }, transports });
  t.after(() => socket.close());
  return socket;
}

/** Waits for the first of these events, and returns its name and argument. */
function first(socket, ...events) {
  const happened = new Promise(resolve => {
    for (const event of events) socket.once(event, argument => resolve([event, argument]));
  });
  return within(happened, events.join(' or '));
}

async function connected(t, version, user, transports) {
  const socket = open(t, version, user.token, transports);
  const [event, error] = await first(socket, 'connect', 'connect_error');
  assert.equal(event, 'connect', error?.message);
  return socket;
}

function call(socket, event, payload) {
  return within(new Promise(resolve => socket.emit(event, payload, resolve)), `the answer to ${event}`);
}

for (const version of VERSIONS) {
  for (const transports of TRANSPORTS) {
    test(`two users of ${version} converse over ${transports}`, async t => {
      const roomId = newRoom();
      const sockets = [
        await connected(t, version, ada, transports),
        await connected(t, version, grace, transports),
      ];
      const received = sockets.map(socket => {
        const messages = [];
        socket.on('newMessage', message => messages.push(message));
        return messages;
      });
      for (const socket of sockets) {
        const { ok, seq } = await call(socket, 'joinRoom', { roomId });
        assert.deepEqual({ ok, seq }, { ok: true, seq: 0 });
      }
      const sent = [];
      for (let n = 0; n < 20; n += 1) {
        const { message } = await call(sockets[n % 2], 'sendMessage', { roomId, content: `message ${n} ✓` });
        assert.equal(message.seq, n + 1);
        sent.push(message);
      }
      // A user's own event follows everything that was delivered before it.
      for (const [index, socket] of sockets.entries()) {
        while (received[index].length < sent.length) await first(socket, 'newMessage');
        assert.deepEqual(received[index], sent);
        const { error } = await call(socket, 'sendMessage', { roomId, content: '' });
        assert.equal(error.code, 'invalid_payload');
      }
    });

    test(`${version} learns why it is refused, over ${transports}`, async t => {
      const [event, error] = await first(open(t, version, expired, transports), 'connect', 'connect_error');
      assert.equal(event, 'connect_error');
      assert.equal(error.message, 'token_expired');
    });
  }
}

// It speaks Engine.IO's protocol 3: its first request is answered with 400 and the reason.
for (const transports of TRANSPORTS) {
  test(`socket.io-client 2 is refused over ${transports}`, async t => {
    const socket = require('socket.io-client-2')(url, { forceNew: true, reconnection: false, transports });
    t.after(() => socket.close());
    const [event, error] = await first(socket, 'connect', 'connect_error');
    assert.equal(event, 'connect_error');
    if (transports[0] === 'polling') assert.equal(error.description, 400);
  });
}

test('the refusal of socket.io-client 2 states the reason', async () => {
  const response = await fetch(`${url}/socket.io/?EIO=3&transport=polling`);
  assert.equal(response.status, 400);
  assert.deepEqual(await response.json(), { code: 5, message: 'Unsupported protocol version' });
});
