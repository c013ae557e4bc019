// The example client while the gateway is killed and restarted repeatedly: two users write, edit,
// delete, react and reply, and both receive every message once and in order, and end with what the
// gateway has. The program prints its progress; the Rust test kills the gateway, and ends the
// writing by a line on standard input.

import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createInterface } from 'node:readline';
import { variable } from './environment.mjs';

const { ChatRoom } = await import(variable('EXAMPLE_CLIENT'));

const url = variable('GATEWAY_URL');
const options = { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };
/** The number of messages in the room at the start, all changed, which is above the replay limits. */
const history = Number(variable('HISTORY'));
/** Emits `message` whenever a client has received one, or a change. */
const received = new EventEmitter();

function join(name, transports, known) {
  const seen = [], view = new Map();
  const show = message => {
    // Never an older state after a newer one.
    assert.ok((message.rev ?? 0) >= (view.get(message.seq)?.rev ?? 0));
    view.set(message.seq, withoutMine(message));
    received.emit('message');
  };
  const failed = error => { throw error; };
  const room = new ChatRoom(url, {
    roomId: 1,
    token: () => variable(`TOKEN_${name}`),
    onMessage: message => {
      seen.push(message);
      show(message);
    },
    onChange: message => {
      assert.ok(message.seq <= room.seq);
      show(message);
    },
    onError: failed,
    options: { ...options, transports },
    ...known,
  });
  return { name, room, seen, view, sent: [] };
}

/** Only what serves one user states which reactions are its own. */
function withoutMine({ reactions, ...message }) {
  return { ...message, reactions: reactions?.map(({ key, count }) => ({ key, count })) };
}

/** Waits until the condition holds, which states what it lacks. */
async function until(lacks) {
  const signal = AbortSignal.timeout(30_000);
  while (lacks()) {
    await once(received, 'message', { signal }).catch(cause => { throw new Error(lacks(), { cause }); });
  }
}

/** Waits until the user has received this many messages. */
const receives = ({ name, seen }, count) =>
  until(() => seen.length < count && `${name} has received ${seen.length} of ${count} messages`);

// One that has the messages and no change pages through the changes.
const late = join('ADA', ['websocket'], { afterSeq: history });
await until(() => late.view.size < history && `${late.view.size} of ${history} changes`);
late.room.socket.disconnect();
assert.deepEqual(late.seen, []);

const users = [join('ADA', ['websocket']), join('GRACE', ['polling', 'websocket'])];
for (const user of users) await receives(user, history);

const input = createInterface({ input: process.stdin });
let stopped = false;
const ended = once(input, 'line').then(() => { stopped = true; });

async function write({ name, room, sent, seen }) {
  // Concurrent calls take effect in the order of the calls.
  while (!stopped) {
    const contents = Array.from({ length: 5 }, (_, n) => `${name} ${sent.length + n}`);
    const replyTo = seen.at(-1).seq;
    const sending = contents.map(content => room.send(content, { replyTo }));
    const some = seen[Math.floor(Math.random() * seen.length)].seq;
    const changing = [room.react(some, '👍', sent.length % 2 === 0).catch(isDeleted)];
    if (sent.length >= 10) {
      const [edited, deleted] = [sent.at(-5), sent.at(-10)];
      changing.push(room.edit(edited.seq, `${edited.content}, edited`), room.delete(deleted.seq));
    }
    sent.push(...await Promise.all(sending));
    await Promise.all(changing);
    if (sent.length % 25 === 0) console.log('25 more');
  }
}

function isDeleted({ code }) {
  assert.equal(code, 'conflict');
}

/** Returns the room's messages, as a page shows them. */
async function everything() {
  const { socket } = users[0].room, messages = [];
  for (let afterSeq = 0, hasMore = true; hasMore; afterSeq = messages.at(-1).seq) {
    const page = await socket.emitWithAck('listMessages', { roomId: 1, afterSeq, limit: 200 });
    messages.push(...page.messages.map(withoutMine));
    hasMore = page.hasMore;
  }
  return messages;
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
// Both end with the newest state of every message.
const stored = await everything();
const rev = Math.max(...stored.map(message => message.rev ?? 0));
for (const { name, room, view } of users) {
  await until(() => room.rev < rev && `${name} has the changes up to ${room.rev} of ${rev}`);
  const shown = [...view.values()].sort((one, other) => one.seq - other.seq);
  assert.deepEqual(shown, stored);
}
assert.ok(stored.some(({ deletedAt }) => deletedAt) && stored.some(({ editedAt }) => editedAt));
console.log(`stored ${newest}`);
for (const { room } of users) room.socket.disconnect();
input.close();
