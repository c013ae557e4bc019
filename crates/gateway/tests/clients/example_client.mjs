// The example client while the gateway is killed again and again: two users write, both
// see everything once and in order. It says on standard output how far it is; the caller
// does the killing, and a line on standard input says that it has ended.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { variable } from './environment.mjs';

const { ChatRoom } = await import(variable('EXAMPLE_CLIENT'));

const url = variable('GATEWAY_URL');
const options = { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };
/** The room's history from before, which is longer than a replay may be. */
const history = Number(variable('HISTORY'));

function join(name, transports) {
  const seen = [];
  const failed = error => { throw error; };
  const room = new ChatRoom(url, {
    roomId: 1,
    token: () => variable(`TOKEN_${name}`),
    onMessage: message => seen.push(message),
    onError: failed,
    options: { ...options, transports },
  });
  return { name, room, seen, sent: [] };
}

async function until(what, condition) {
  for (const deadline = Date.now() + 30_000; !condition();) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await new Promise(done => setTimeout(done, 10));
  }
}

const users = [join('ADA', ['websocket']), join('GRACE', ['polling', 'websocket'])];
for (const { name, seen } of users) await until(`${name} has the history`, () => seen.length >= history);

const input = createInterface({ input: process.stdin });
let stopped = false;
const ended = once(input, 'line').then(() => { stopped = true; });

async function write({ name, room, sent }) {
  // Several calls without waiting: they are stored in the order of the calls.
  while (!stopped) {
    const contents = Array.from({ length: 5 }, (_, n) => `${name} ${sent.length + n}`);
    sent.push(...await Promise.all(contents.map(content => room.send(content))));
    if (sent.length % 25 === 0) console.log('25 more');
  }
}

await Promise.all([...users.map(write), ended]);

const all = users.flatMap(({ sent }) => sent).sort((one, other) => one.seq - other.seq);
const newest = history + all.length;
for (const { name, seen, sent } of users) {
  await until(`${name} is up to date`, () => seen.length >= newest);
  assert.deepEqual(seen.map(({ seq }) => seq), Array.from({ length: newest }, (_, n) => n + 1));
  assert.deepEqual(seen.slice(history).map(({ id }) => id), all.map(({ id }) => id));
  sent.forEach(({ content }, n) => assert.equal(content, `${name} ${n}`));
  const order = sent.map(({ seq }) => seq);
  assert.deepEqual(order, order.toSorted((one, other) => one - other));
}
console.log(`stored ${newest}`);
for (const { room } of users) room.socket.disconnect();
input.close();
