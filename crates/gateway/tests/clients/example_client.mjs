// The example client while the gateway is killed and restarted repeatedly: two users write,
// and both receive every message once and in order. The program prints its progress; the Rust
// test kills the gateway, and ends the writing by a line on standard input.

import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createInterface } from 'node:readline';
import { variable } from './environment.mjs';

const { ChatRoom } = await import(variable('EXAMPLE_CLIENT'));

const url = variable('GATEWAY_URL');
const options = { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };
/** The number of messages in the room at the start, which is above the replay limit. */
const history = Number(variable('HISTORY'));
/** Emits `message` whenever a client has received one. */
const received = new EventEmitter();

function join(name, transports) {
  const seen = [];
  const failed = error => { throw error; };
  const room = new ChatRoom(url, {
    roomId: 1,
    token: () => variable(`TOKEN_${name}`),
    onMessage: message => {
      seen.push(message);
      received.emit('message');
    },
    onError: failed,
    options: { ...options, transports },
  });
  return { name, room, seen, sent: [] };
}

/** Waits until the user has received this many messages. */
async function receives({ name, seen }, count) {
  const signal = AbortSignal.timeout(30_000);
  while (seen.length < count) {
    await once(received, 'message', { signal }).catch(cause => {
      throw new Error(`${name} has received ${seen.length} of ${count} messages`, { cause });
    });
  }
}

const users = [join('ADA', ['websocket']), join('GRACE', ['polling', 'websocket'])];
for (const user of users) await receives(user, history);

const input = createInterface({ input: process.stdin });
let stopped = false;
const ended = once(input, 'line').then(() => { stopped = true; });

async function write({ name, room, sent }) {
  // Concurrent calls are stored in the order of the calls.
  while (!stopped) {
    const contents = Array.from({ length: 5 }, (_, n) => `${name} ${sent.length + n}`);
    sent.push(...await Promise.all(contents.map(content => room.send(content))));
    if (sent.length % 25 === 0) console.log('25 more');
  }
}

await Promise.all([...users.map(write), ended]);

const all = users.flatMap(({ sent }) => sent).sort((one, other) => one.seq - other.seq);
const newest = history + all.length;
for (const user of users) {
  await receives(user, newest);
  const { name, seen, sent } = user;
  assert.deepEqual(seen.map(({ seq }) => seq), Array.from({ length: newest }, (_, n) => n + 1));
  assert.deepEqual(seen.slice(history).map(({ id }) => id), all.map(({ id }) => id));
  sent.forEach(({ content }, n) => assert.equal(content, `${name} ${n}`));
  const order = sent.map(({ seq }) => seq);
  assert.deepEqual(order, order.toSorted((one, other) => one - other));
}
console.log(`stored ${newest}`);
for (const { room } of users) room.socket.disconnect();
input.close();
