// A product's backend beside the chat gateway. It creates private rooms, posts in them under a
// user id of its own, and bans users. The users' browsers connect to the gateway themselves.

import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import express from 'express';

const { CHAT_API_KEY, CHAT_URL = 'http://127.0.0.1:3001', PORT = 3000 } = process.env;
if (!CHAT_API_KEY) throw new Error('CHAT_API_KEY is not set');

/** Under this id the backend writes. No token may have it as its subject. */
const SYSTEM = { userId: 'system', name: 'System' };
const ATTEMPTS = 5;

/** What the gateway answered to a request that failed: see `code` and `retryable`. */
class ChatError extends Error {
  constructor(status, { message, ...error }) {
    super(message);
    Object.assign(this, { status, ...error });
  }
}

/** Builds a path. What comes from a user cannot add to it. */
const path = (texts, ...values) => String.raw({ raw: texts }, ...values.map(encodeURIComponent));

/** Sends a request until it is answered for good. Every request below is safe to repeat: PUT and
 *  DELETE state what is to hold, and a message that has a `clientMessageId` is stored once. */
async function chat(method, target, body) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await send(method, target, body);
    if (!(answer instanceof ChatError)) return answer;
    if (!answer.retryable || attempt === ATTEMPTS) throw answer;
    await wait((answer.retryAfter ?? 2 ** attempt / 10) * 1000);
  }
}

/** Sends a request once. Returns the gateway's answer, or a `ChatError`. */
async function send(method, target, body) {
  const headers = { authorization: `Bearer ${CHAT_API_KEY}` };
  if (body) headers['content-type'] = 'application/json';
  try {
    const response = await fetch(`${CHAT_URL}/api/v1${target}`, {
      method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(10_000),
    });
    if (response.status === 204) return undefined;
    const answer = await response.json();
    if (response.ok) return answer;
    const retryAfter = Number(response.headers.get('retry-after')) || undefined;
    return new ChatError(response.status, { ...answer.error, retryAfter });
  } catch (cause) {
    // No answer, or one from something between the gateway and this process.
    return new ChatError(503, { code: 'unavailable', message: 'the chat does not answer', retryable: true, cause });
  }
}

const app = express();
app.use(express.json());

/** `{ name, users: [{ userId, name }] }`: creates a private room for these users. */
app.put('/conversations/:id', async ({ params: { id }, body: { name, users } }, response) => {
  await chat('PUT', path`/rooms/${id}`, { kind: 'private', name });
  await chat('POST', path`/rooms/${id}/members`, { members: users.map(user => ({ ...user, role: 'member' })) });
  response.json({ roomId: Number(id) });
});

/** `{ content }`: posts in the room. `notice` is the product's own id of what it posts: repeating
 *  the request, from the browser or from here, posts it once. */
app.put('/conversations/:id/notices/:notice', async ({ params: { id, notice }, body: { content } }, response) => {
  const message = { ...SYSTEM, content, clientMessageId: `notice-${notice}` };
  response.json(await chat('POST', path`/rooms/${id}/messages`, message));
});

/** `{ reason }`: bans the user, whose connections leave the room at once. */
app.put('/conversations/:id/bans/:user', async ({ params: { id, user }, body: { reason } }, response) => {
  await chat('PUT', path`/rooms/${id}/bans/${user}`, { reason });
  response.sendStatus(204);
});

app.use((error, _request, response, next) => {
  if (!(error instanceof ChatError)) return next(error);
  console.error(`chat: ${error.code}: ${error.message}`);
  // The browser repeats what may succeed later. The rest is a fault of this backend, or of its caller.
  const status = error.retryable ? 503 : error.status === 404 || error.status === 409 ? error.status : 502;
  response.status(status).json({ error: { message: error.message, retryable: error.retryable } });
});

const server = app.listen(PORT, '127.0.0.1');
await once(server, 'listening');
console.log(`listening on http://127.0.0.1:${server.address().port}`);
