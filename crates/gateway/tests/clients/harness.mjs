// What the scenarios of npm's socket.io-client share: deadlines, a client that records what
// happens, and assertions.

import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { variable } from './environment.mjs';

/** How long a program waits for an event that must happen. */
const DEADLINE = 10_000;

const url = variable('GATEWAY_URL');

/** Waits for the promise's value. Fails with this description when the deadline has passed. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out after ${DEADLINE} ms waiting for ${what}`)), DEADLINE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A connection that records everything that happens on it. The constructor starts to connect. */
export class Client {
  #watchers = new Set();

  constructor({ token }, options = {}) {
    const auth = token === undefined ? {} : { token };
    this.socket = io(url, { forceNew: true, auth, ...options });
    this.events = []; // from the gateway: [name, payload]
    this.states = []; // 'connect', 'disconnect: <reason>', 'connect_error: <message>'
    this.socket.onAny((...event) => this.#record(this.events, event));
    this.socket.on('connect', () => this.#record(this.states, 'connect'));
    this.socket.on('disconnect', reason => this.#record(this.states, `disconnect: ${reason}`));
    this.socket.on('connect_error', ({ message }) => this.#record(this.states, `connect_error: ${message}`));
  }

  static async connected(user, options) {
    const client = new Client(user, options);
    await client.until('the connection', () => client.socket.connected);
    return client;
  }

  /** Returns the payloads of this event so far. */
  of(name) {
    return this.events.filter(([event]) => event === name).map(([, payload]) => payload);
  }

  /** Returns the messages that were broadcast in this room so far. */
  messages(roomId) {
    return this.of('newMessage').filter(message => message.roomId === roomId);
  }

  /** Waits until the condition holds, and returns its value. It is checked after every event. */
  async until(what, condition) {
    let check;
    const found = new Promise((resolve, reject) => {
      check = () => {
        try {
          const value = condition();
          if (value) resolve(value);
        } catch (error) {
          reject(error);
        }
      };
      this.#watchers.add(check);
      check();
    });
    try {
      return await within(found, what);
    } catch (error) {
      const recorded = JSON.stringify({ states: this.states, lastEvents: this.events.slice(-5) });
      throw new Error(`${error.message}; recorded: ${recorded}`, { cause: error });
    } finally {
      this.#watchers.delete(check);
    }
  }

  /** Sends an event with these arguments and returns its acknowledgement. */
  call(event, ...payload) {
    return this.socket.timeout(DEADLINE).emitWithAck(event, ...payload);
  }

  /** Joins a room and returns its resume point. */
  async join(roomId) {
    const { seq, readSeq, unread, rev, ...reply } = await this.call('joinRoom', { roomId });
    assert.deepEqual(reply, { ok: true, roomId });
    assert.equal(unread, seq - readSeq);
    assert.equal(rev, 0);
    return seq;
  }

  /** Sends a message and returns it as it was stored. */
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

  #record(list, entry) {
    list.push(entry);
    for (const check of [...this.#watchers]) check();
  }
}

let rooms = 0;

/** Returns a room number that no other scenario of this program uses. */
export function newRoom() {
  rooms += 1;
  return rooms;
}

/** Checks that the message has exactly these fields. */
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

/** Checks that the messages have these contents, in order, and are numbered from `first` without gaps. */
export function assertInOrder(messages, first, contents) {
  assert.deepEqual(messages.map(({ seq }) => seq), contents.map((_, index) => first + index));
  assert.deepEqual(messages.map(({ content }) => content), contents);
}

/** Checks a refusal: its acknowledgement, and the `error` event that preceded it. */
export function assertRefused(reply, event, expected) {
  const { code, event: name, roomId, retryable = false } = expected;
  const { message } = reply.error;
  assert.ok(typeof message === 'string' && message !== '');
  assert.deepEqual(reply, { ok: false, error: { code, message, retryable } });
  const optional = Object.fromEntries(Object.entries({ event: name, roomId }).filter(([, value]) => value !== undefined));
  assert.deepEqual(event, { message, code, ...optional, retryable });
}
