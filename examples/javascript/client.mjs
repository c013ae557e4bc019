// A client of the gateway that loses no message and shows none twice. After any failure, it
// reconnects, fetches the messages that it missed, and repeats those that were not acknowledged.
//
//   const room = new ChatRoom('http://127.0.0.1:3001', { token, roomId: 1, onMessage: console.log });
//   const stored = await room.send('hello');

import { io } from 'socket.io-client';

const wait = ms => new Promise(done => setTimeout(done, ms));

/** One room, on its own connection. `onMessage` receives each message once, in order. */
export class ChatRoom {
  #joined; #pumping = false; #queue = []; #held;

  /** `token` is called for each connection and returns a token, or a promise of one. `afterSeq` is the
   *  newest message that is already known. `options` are socket.io-client's. */
  constructor(url, { token, roomId, onMessage, onError = console.error, afterSeq = 0, options }) {
    Object.assign(this, { roomId, onMessage, onError, seq: afterSeq });
    const auth = send => Promise.resolve().then(token).then(token => send({ token }), onError);
    this.socket = io(url, { ...options, auth });
    // A new connection has joined no room, so it joins here, also after a reconnect.
    this.socket.on('connect', () => this.#join().catch(onError));
    this.socket.on('newMessage', message => this.#held ? this.#held.push(message) : this.#take(message));
    this.socket.on('joinedRoom', ({ missed }) => missed && this.#fetch(missed.to).catch(onError));
    // After a disconnect or a refusal by the server, socket.io-client does not reconnect by itself.
    this.socket.on('disconnect', reason => reason === 'io server disconnect' && this.socket.connect());
    this.socket.on('connect_error', error => {
      if (this.socket.active) return;
      if (error.message === 'unavailable') wait(500).then(() => this.socket.connect());
      else onError(error);
    });
  }

  /** Resolves to the message once it is stored. Rejects if it is refused for good. */
  send(content, clientMessageId = crypto.randomUUID()) {
    return new Promise((stored, refused) => {
      this.#queue.push({ payload: { content, clientMessageId }, stored, refused });
      this.#pump();
    });
  }

  async #join() {
    const connection = this.socket.id;
    this.#held = undefined;
    if (!await this.#ask('joinRoom', { afterSeq: this.seq })) return;
    this.#joined = connection;
    this.#pump();
  }

  /** Sends one message at a time, so that they are stored in the order of the calls. A message that a
   *  broken connection left unanswered stays first and is repeated with its id, so it is stored once. */
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#queue.length > 0 && this.socket.id && this.socket.id === this.#joined) {
      const { payload, stored, refused } = this.#queue[0];
      try {
        const answer = await this.#ask('sendMessage', payload);
        if (!answer) continue;
        stored(answer.message);
      } catch (error) {
        refused(error);
      }
      this.#queue.shift();
    }
    this.#pumping = false;
  }

  /** Repeats a request until it is answered. Returns undefined if the connection ends first. */
  async #ask(event, payload) {
    const connection = this.socket.id;
    while (connection && connection === this.socket.id) {
      const answer = await this.socket.timeout(10_000).emitWithAck(event, { roomId: this.roomId, ...payload })
        .catch(() => ({ error: { retryable: true } })); // no answer: the outcome is unknown
      if (answer.ok) return answer;
      if (!answer.error.retryable) throw Object.assign(new Error(answer.error.message), answer.error);
      await wait(200);
    }
  }

  /** Passes a message on, unless it was seen before. */
  #take(message) {
    if (message.seq <= this.seq) return;
    this.seq = message.seq;
    this.onMessage(message);
  }

  /** Pages up to `to`. Messages that arrive meanwhile are held back and passed on afterwards. */
  async #fetch(to) {
    const held = this.#held = [];
    for (let more = true; more && this.seq < to;) {
      const page = await this.#ask('listMessages', { afterSeq: this.seq, limit: 200 });
      if (!page || this.#held !== held) return; // the next connection resumes at `seq`
      page.messages.forEach(message => this.#take(message));
      more = page.hasMore;
    }
    this.#held = undefined;
    held.forEach(message => this.#take(message));
  }
}
