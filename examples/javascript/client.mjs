// A client of the gateway that loses no message, shows none twice, and has the newest state of each.
// After any failure, it reconnects, fetches what it missed, and repeats what was not acknowledged.
//
//   const room = new ChatRoom('http://127.0.0.1:3001', { token, roomId: 1, onMessage: console.log });
//   const stored = await room.send('hello');
//   await room.react(stored.seq, '👍');

import { io } from 'socket.io-client';

const wait = ms => new Promise(done => setTimeout(done, ms));

/** One room, on its own connection. `onMessage` receives each message once, in order, and `onChange` the
 *  newest state of a message that has changed since. */
export class ChatRoom {
  #joined; #pumping = false; #queue = []; #held; #early = new Map();

  /** `token` is called for each connection and returns a token, or a promise of one. `afterSeq` and
   *  `afterRev` are the newest message and change that are already known. `options` are
   *  socket.io-client's. */
  constructor(url, {
    token, roomId, onMessage, onChange = () => {}, onError = console.error, afterSeq = 0, afterRev = 0, options,
  }) {
    Object.assign(this, { roomId, onMessage, onChange, onError, seq: afterSeq, rev: afterRev });
    const auth = send => Promise.resolve().then(token).then(token => send({ token }), onError);
    this.socket = io(url, { ...options, auth });
    // A new connection has joined no room, so it joins here, also after a reconnect.
    this.socket.on('connect', () => this.#join().catch(onError));
    const on = (event, take) => this.socket.on(event, it => this.#held ? this.#held.push(() => take(it)) : take(it));
    on('newMessage', message => this.#take(message));
    on('messageChanged', ({ message }) => this.#change(message));
    this.socket.on('joinedRoom', joined => this.#caughtUp(joined).catch(onError));
    // After a disconnect or a refusal by the server, socket.io-client does not reconnect by itself.
    this.socket.on('disconnect', reason => reason === 'io server disconnect' && this.socket.connect());
    this.socket.on('connect_error', error => {
      if (this.socket.active) return;
      if (error.message === 'unavailable') wait(500).then(() => this.socket.connect());
      else onError(error);
    });
  }

  /** Resolves to the message once it is stored. Rejects if it is refused for good. `more` may have
   *  `replyTo`, `mentions`, `metadata` and a `clientMessageId`. */
  send(content, more) {
    return this.#enqueue('sendMessage', { content, clientMessageId: crypto.randomUUID(), ...more });
  }

  /** Each of these resolves to the message in its newest state. To repeat one changes nothing. */
  edit(seq, content) { return this.#enqueue('editMessage', { seq, content }); }
  delete(seq) { return this.#enqueue('deleteMessage', { seq }); }
  react(seq, key, on = true) { return this.#enqueue('setReaction', { seq, key, on }); }

  #enqueue(event, payload) {
    return new Promise((done, refused) => {
      this.#queue.push({ event, payload, done, refused });
      this.#pump();
    });
  }

  async #join() {
    const connection = this.socket.id;
    this.#held = undefined;
    if (!await this.#ask('joinRoom', { afterSeq: this.seq, afterRev: this.rev })) return;
    this.#joined = connection;
    this.#pump();
  }

  /** Sends one request at a time, so that they take effect in the order of the calls. One that a broken
   *  connection left unanswered stays first and is repeated, a message with its id: it is stored once. */
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#queue.length > 0 && this.socket.id && this.socket.id === this.#joined) {
      const { event, payload, done, refused } = this.#queue[0];
      try {
        const answer = await this.#ask(event, payload);
        if (!answer) continue;
        done(answer.message);
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
    const early = this.#early.get(message.seq);
    this.#early.delete(message.seq);
    this.onMessage(early?.rev > (message.rev ?? 0) ? early : message);
  }

  /** Passes a change on, unless it was seen before. That of a message which is still to come waits for it. */
  #change(message) {
    if (message.rev <= this.rev) return;
    this.rev = message.rev;
    if (message.seq <= this.seq) this.onChange(message); else this.#early.set(message.seq, message);
  }

  /** What was missed was replayed, or else is paged. What arrives meanwhile is held back until then. */
  async #caughtUp({ rev, missed, changesMissed }) {
    if (!changesMissed) this.rev = Math.max(this.rev, rev);
    if (!missed && !changesMissed) return;
    const held = this.#held = [];
    const page = async (event, after, take) => {
      for (let more = true; more;) {
        const page = await this.#ask(event, { ...after(), limit: 200 });
        if (!page || this.#held !== held) return false; // the next connection resumes here
        page.messages.forEach(take);
        more = page.hasMore;
      }
      return true;
    };
    // The changes after the messages, which may be newer than the changes that were held back.
    if (!await page('listMessages', () => ({ afterSeq: this.seq }), message => this.#take(message))) return;
    if (!await page('listChanges', () => ({ afterRev: this.rev }), message => this.#change(message))) return;
    this.#held = undefined;
    held.forEach(take => take());
  }
}
