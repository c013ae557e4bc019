// The example client behind nginx while its nodes are stopped and killed: users of every
// transport write on both nodes, and all receive every message once and in order. The Rust test
// stops the nodes; on standard input it asks for progress, and ends the writing.

import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { Agent } from 'node:http';
import { createInterface } from 'node:readline';
import { variable } from './environment.mjs';

const { ChatRoom } = await import(variable('EXAMPLE_CLIENT'));

/** How many messages of each user are progress. */
const PROGRESS = 10;
const TRANSPORTS = [['polling', 'websocket'], ['polling'], ['websocket']];

const url = variable('GATEWAY_URL');
const progress = new EventEmitter().setMaxListeners(0);

/** Users that come from this address, one for each way to connect. */
function users(localAddress) {
  return TRANSPORTS.map(transports => {
    const name = `${localAddress} ${transports}`;
    const user = { name, seen: [], sent: [] };
    user.room = new ChatRoom(url, {
      roomId: 1,
      token: () => variable('TOKEN_ADA'),
      onMessage: message => {
        user.seen.push(message);
        progress.emit('progress');
      },
      onError: error => { throw error; },
      options: {
        forceNew: true, transports, agent: new Agent({ localAddress }),
        reconnectionDelay: 50, reconnectionDelayMax: 500,
      },
    });
    return user;
  });
}

/** Waits until the condition holds. It is checked after every message. */
async function until(what, condition) {
  const signal = AbortSignal.timeout(60_000);
  while (!condition()) {
    await once(progress, 'progress', { signal }).catch(cause => {
      throw new Error(`timed out waiting for ${what}`, { cause });
    });
  }
}

const everyUser = variable('ADDRESSES').split(' ').flatMap(users);
const transportOf = ({ room }) => room.socket.io.engine?.transport.name;
// The default client has moved to a WebSocket, and each client uses what it asked for.
const expected = ({ room }) => room.socket.io.opts.transports.at(-1);
const upgrades = setInterval(() => progress.emit('progress'), 50);
await until('the upgrades', () => everyUser.every(user => user.room.socket.connected && transportOf(user) === expected(user)));
clearInterval(upgrades);
console.log('connected');

let stopped = false;

async function write({ name, room, sent }) {
  while (!stopped) {
    const contents = Array.from({ length: 2 }, (_, n) => `${name} ${sent.length + n}`);
    sent.push(...await Promise.all(contents.map(content => room.send(content))));
    progress.emit('progress');
  }
}

const written = Promise.all(everyUser.map(write));
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'stop') break;
  const before = everyUser.map(({ sent }) => sent.length);
  await until('more messages of each user', () => everyUser.every(({ sent }, n) => sent.length >= before[n] + PROGRESS));
  console.log('every user has written more');
}
stopped = true;
await written;

const all = everyUser.flatMap(({ sent }) => sent).sort((one, other) => one.seq - other.seq);
for (const { name, seen, sent, room } of everyUser) {
  await until(`the last message at ${name}`, () => seen.length >= all.length);
  assert.deepEqual(seen.map(({ seq }) => seq), Array.from(all, (_, n) => n + 1));
  assert.deepEqual(seen.map(({ id }) => id), all.map(({ id }) => id));
  assert.deepEqual(seen.filter(({ content }) => content.startsWith(`${name} `)), sent);
  sent.forEach(({ content }, n) => assert.equal(content, `${name} ${n}`));
  room.socket.disconnect();
}
console.log(`stored ${all.length}`);
