// The example backend, with two users in front of it: both receive what it posts, and the one
// that it bans receives `leftRoom`, and nothing from the room after it.

import assert from 'node:assert/strict';
import { ada, grace, variable } from './environment.mjs';
import { Client, within } from './harness.mjs';

const backend = variable('BACKEND_URL');
const roomId = 7;

/** Sends what a web page of the product would send, and returns the status and the answer. */
async function ask(path, body) {
  const headers = { 'content-type': 'application/json' };
  const url = `${backend}/conversations/${path}`;
  const response = await fetch(url, { method: 'PUT', headers, body: JSON.stringify(body) });
  const text = await response.text();
  const answer = text.startsWith('{') ? JSON.parse(text) : text;
  // The page may repeat what its backend has given up.
  if (response.status === 503 && answer.error.retryable) return ask(path, body);
  return [response.status, answer];
}

const users = [ada, grace].map(({ id, name }) => ({ userId: id, name }));
// The gateway does not run yet: the Rust test starts it after this line.
console.log('creating');
const created = within(ask(`${roomId}`, { name: 'Support', users }), 'the room');
assert.deepEqual(await created, [200, { roomId }]);

const [first, second] = await Promise.all([ada, grace].map(user => Client.connected(user)));
for (const client of [first, second]) await client.join(roomId);

const [status, posted] = await ask(`${roomId}/notices/welcome`, { content: 'welcome' });
assert.equal(status, 200);
assert.deepEqual([posted.seq, posted.userId, posted.user.name], [1, 'system', 'System']);
for (const client of [first, second]) {
  await client.until('the notice', () => client.messages(roomId).length === 1);
  assert.deepEqual(client.messages(roomId), [posted]);
}
// A notice that is posted again is not posted twice, and must not have changed.
assert.deepEqual(await ask(`${roomId}/notices/welcome`, { content: 'welcome' }), [200, posted]);
const [conflict, { error }] = await ask(`${roomId}/notices/welcome`, { content: 'another' });
assert.deepEqual([conflict, error.retryable], [409, false]);

assert.deepEqual(await ask(`${roomId}/bans/${grace.id}`, { reason: 'spam' }), [204, '']);
await second.until('leftRoom', () => second.of('leftRoom').length === 1);
assert.deepEqual(second.of('leftRoom'), [{ roomId, reason: 'banned' }]);
const received = second.events.length;

// What is posted now reaches the other one.
await ask(`${roomId}/notices/later`, { content: 'later' });
await first.until('the second notice', () => first.messages(roomId).length === 2);
assert.deepEqual(first.messages(roomId).map(({ content }) => content), ['welcome', 'later']);
// The answer to this join stands behind everything that the gateway sent to the connection before.
const joined = await second.call('joinRoom', { roomId });
assert.deepEqual([joined.ok, joined.error.code], [false, 'not_found']);
const since = second.events.slice(received);
assert.deepEqual(since.map(([name, { code }]) => [name, code]), [['error', 'not_found']]);

// What the gateway refuses is the backend's fault, and its users see that it is not their own.
const [refused, answer] = await ask('0', { users });
assert.deepEqual([refused, answer.error.retryable], [502, false]);
// And no part of a path can become two.
assert.equal((await ask(`${roomId}%2Fmembers%2F9`, { users }))[0], 502);

first.close();
second.close();
