// What the stories of npm's socket.io-client share: deadlines, a client that remembers
// what it saw, and what is expected.

import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { variable } from './environment.mjs';

/** How long anything may take that is certain to happen. */
const DEADLINE = 10_000;

const url = variable('GATEWAY_URL');

/** The promise's value, or a failure that says what did not happen in time. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${DEADLINE} ms in vain: ${what}`)), DEADLINE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A connection, and everything that happened on it. Begins to connect at once. */
export class Client {
  #watchers = new Set();

  constructor({ token }, options = {}) {
    const auth = token === undefined ? {} : { token };
    this.socket = io(url, { forceNew: true, auth, ...options });
    this.events = []; // the server's: [name, payload]
    this.life = []; // the connection's: 'connect', 'disconnect: <reason>', 'connect_error: <message>'
    this.socket.onAny((...event) => this.#note(this.events, event));
    this.socket.on('connect', () => this.#note(this.life, 'connect'));
    this.socket.on('disconnect', reason => this.#note(this.life, `disconnect: ${reason}`));
    this.socket.on('connect_error', ({ message }) => this.#note(this.life, `connect_error: ${message}`));
  }

  static async connected(user, options) {
    const client = new Client(user, options);
    await client.until('connected', () => client.socket.connected);
    return client;
  }

  /** The payloads of this event so far. */
  of(name) {
    return this.events.filter(([event]) => event === name).map(([, payload]) => payload);
  }

  /** What was broadcast in this room so far. */
  messages(roomId) {
    return this.of('newMessage').filter(message => message.roomId === roomId);
  }

  /** Waits until the condition holds; it is asked again whenever something happens. */
  async until(what, condition) {
    let look;
    const found = new Promise((resolve, reject) => {
      look = () => {
        try {
          const value = condition();
          if (value) resolve(value);
        } catch (error) {
          reject(error);
        }
      };
      this.#watchers.add(look);
      look();
    });
    try {
      return await within(found, what);
    } catch (error) {
      const seen = JSON.stringify({ life: this.life, lastEvents: this.events.slice(-5) });
      throw new Error(`${error.message}; seen: ${seen}`, { cause: error });
    } finally {
      this.#watchers.delete(look);
    }
  }

  /** Sends an event with these arguments; the acknowledgement. */
  call(event, ...payload) {
    return this.socket.timeout(DEADLINE).emitWithAck(event, ...payload);
  }

  /** Joins a room; where its seam is. */
  async join(roomId) {
    const { seq, readSeq, unread, ...reply } = await this.call('joinRoom', { roomId });
    assert.deepEqual(reply, { ok: true, roomId });
    assert.equal(unread, seq - readSeq);
    return seq;
  }

  /** Sends a message; it, as it was stored. */
  async send(roomId, content) {
    const { message, ...reply } = await this.call('sendMessage', { roomId, content });
    assert.deepEqual(reply, { ok: true });
    return message;
  }

  async leave(roomId) {
    assert.deepEqual(await this.call('leaveRoom', { roomId }), { ok: true, roomId });
  }

  close() {
    this.socket.disconnect();
  }

  #note(record, what) {
    record.push(what);
    for (const look of [...this.#watchers]) look();
  }
}

let rooms = 0;

/** A room that no other story of this program uses. */
export function newRoom() {
  rooms += 1;
  return rooms;
}

/** This is the message, and nothing else is in it. */
export function assertMessage(message, { roomId, seq, content, author }) {
  const { id, createdAt } = message;
  assert.deepEqual(message, {
    id, roomId, seq, content, createdAt, userId: author.id, user: { id: author.id, name: author.name },
  });
  assert.ok(Number.isSafeInteger(id) && id > 0, `id ${id}`);
  assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  const age = Date.now() - Date.parse(createdAt);
  assert.ok(Math.abs(age) < 60_000, `createdAt is ${age} ms ago`);
}

/** These are numbered from `first` on, without holes, and in this order. */
export function assertInOrder(messages, first, contents) {
  assert.deepEqual(messages.map(({ seq }) => seq), contents.map((_, index) => first + index));
  assert.deepEqual(messages.map(({ content }) => content), contents);
}

/** A refusal: the acknowledgement, and the `error` event that went before it. */
export function assertRefused(reply, event, expected) {
  const { code, event: name, roomId, retryable = false } = expected;
  const { message } = reply.error;
  assert.ok(typeof message === 'string' && message !== '');
  assert.deepEqual(reply, { ok: false, error: { code, message, retryable } });
  const optional = Object.fromEntries(Object.entries({ event: name, roomId }).filter(([, value]) => value !== undefined));
  assert.deepEqual(event, { message, code, ...optional, retryable });
}
