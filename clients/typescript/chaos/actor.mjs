// One client that uses everything at random: it sends, edits, deletes, reacts, reads, pages and types, in
// several rooms, while its screens are judged. Runs in Node, in a page and in a worker.

import { Screen } from './screen.mjs';

/** Messages of one client and room that may wait to be sent. */
const MOST_UNSENT = 25;
/** Requests of one client that may wait for an answer. */
const MOST_REQUESTS = 12;
const KEYS = ['👍', '👀', '🎉', 'ok', '❤️'];
/** Answers that a random change can cause: the message was deleted meanwhile. */
const EXPECTED = new Set(['conflict']);
const WEIGHTS = { send: 50, react: 14, edit: 8, delete: 3, read: 8, page: 9, type: 3, refused: 2, look: 3 };

export const wait = ms => new Promise(done => setTimeout(done, ms));

export class Actor {
  #requests = 0; #unsubscribe = []; #paging = new Set(); #failed = new Set();
  accepted = 0; tabs = 0; codes = {}; longestInbox = 0;

  /** `open(tab)` creates a client, `rooms` are room numbers, `take()` says whether one more message may be sent. */
  constructor({ name, user, judge, random, rooms, open, take, isKept = false, weights = {} }) {
    Object.assign(this, { name, user, judge, random, rooms, open, take, isKept });
    this.weights = { ...WEIGHTS, ...weights };
    this.outbox = judge.outbox(name, user.id, { isKept });
    this.screens = new Map(rooms.map(roomId => [roomId, new Screen(judge, this.outbox, roomId)]));
  }

  /** Opens a tab: creates the client, and shows all rooms and the inbox. */
  async start() {
    this.tabs += 1;
    const client = this.client = await this.open(this);
    for (const [roomId, screen] of this.screens) screen.attach(client.room(roomId));
    const { inbox, connection } = client;
    const judgeInbox = () => this.#judgeInbox(inbox.getSnapshot());
    const judgeConnection = () => {
      const { status, code } = connection.getSnapshot();
      if (status === 'refused') this.judge.convict('a connection was refused', this.name, code);
    };
    this.#unsubscribe = [inbox.subscribe(judgeInbox), connection.subscribe(judgeConnection)];
    for (const roomId of this.rooms) {
      const { info, members, typing, presence, reads } = client.room(roomId);
      for (const store of [info, typing, reads, ...this.random.chance(0.5) ? [members, presence] : []]) {
        this.#unsubscribe.push(store.subscribe(() => store.getSnapshot()));
      }
    }
    client.connect();
  }

  /** Closes the tab without warning. `kill` must make what belongs to it stop. */
  closeTab(kill) {
    this.outbox.closeTab();
    for (const screen of this.screens.values()) screen.closeTab();
    this.#unsubscribe.splice(0).forEach(end => end());
    this.#paging.clear();
    this.#failed.clear();
    this.#requests = 0;
    const { client } = this;
    this.client = undefined;
    kill();
    if (!this.isKept) this.outbox = this.judge.outbox(`${this.name}, tab ${this.tabs + 1}`, this.user.id);
    for (const screen of this.screens.values()) screen.outbox = this.outbox;
    client.close().catch(() => {});
  }

  /** Acts until `isOver()`. `pace` is the longest pause between two acts, in milliseconds. */
  async act(isOver, pace) {
    while (!isOver()) {
      const screen = this.screens.get(this.random.pick(this.rooms));
      this.#act(screen, this.random.weighted(this.weights));
      await wait(this.random.between(0, pace));
    }
  }

  #act(screen, what) {
    if (screen.room === undefined) return;
    if (what === 'send') this.#send(screen);
    else if (what === 'refused') this.#sendRefused(screen);
    else if (what === 'type') screen.room.setTyping(this.random.chance(0.7));
    else if (what === 'look') this.#lookAway(screen);
    else if (what === 'page') this.#page(screen);
    else if (what === 'read') this.#request(() => screen.room.markRead(this.random.chance(0.5) ? undefined : this.#some(screen)?.seq));
    else this.#change(screen, what);
  }

  #send(screen) {
    for (let burst = this.random.between(1, 4); burst > 0; burst -= 1) {
      if (screen.unsent.length >= MOST_UNSENT || !this.take()) return;
      this.accepted += 1;
      const more = {};
      if (this.random.chance(0.1)) more.metadata = { number: this.accepted };
      if (this.random.chance(0.1)) more.mentions = ['1', '2'];
      const last = screen.last?.last;
      if (last && this.random.chance(0.1)) more.replyTo = last;
      screen.send(`${this.name} ${this.tabs}-${this.accepted}`, more);
    }
  }

  /** A reply to a message that does not exist is refused. It stays until it is retried, and refused again, or discarded. */
  #sendRefused(screen) {
    const failed = [...this.#failed].find(({ on }) => on === screen);
    if (!failed) {
      this.accepted += 1;
      const entry = screen.send(`${this.name} ${this.tabs}-${this.accepted} refused`, { replyTo: 2 ** 50 }, { isRefused: true });
      this.#failed.add({ on: screen, entry });
      return;
    }
    const shown = screen.unsent.find(({ clientMessageId }) => clientMessageId === failed.entry.clientMessageId);
    if (shown?.state !== 'failed') return;
    if (this.random.chance(0.3)) screen.retry(failed.entry);
    else {
      this.#failed.delete(failed);
      screen.discard(failed.entry);
    }
  }

  #change(screen, what) {
    const message = what === 'react' ? this.#some(screen) : this.#some(screen, this.user.id);
    if (!message) return;
    const { room } = screen, { seq } = message;
    this.#request(async () => {
      const answer = await (
        what === 'react' ? room.react(seq, this.random.pick(KEYS), this.random.chance(0.7))
          : what === 'edit' ? room.edit(seq, `${message.content.slice(0, 60)}, edited ${this.random.between(1, 9)}`)
            : room.delete(seq));
      if (screen.room === room) screen.changed(answer);
    });
  }

  #some(screen, userId) {
    const messages = userId ? screen.stored.filter(message => message.userId === userId && !message.deletedAt) : screen.stored;
    // Mostly a recent one, so that several clients change the same.
    return this.random.pick(this.random.chance(0.6) ? messages.slice(-10) : messages);
  }

  #page(screen) {
    if (this.#paging.has(screen) || !screen.last?.first) return;
    const { first, last, hasNewer } = screen.last;
    const how = this.random.weighted({
      loadOlder: 5, loadNewer: hasNewer ? 3 : 0.2, jumpTo: 2, jumpToLatest: screen.mode === 'live' ? 0.2 : 4,
    });
    const to = how === 'jumpTo' ? [this.random.between(1, this.random.chance(0.5) ? last : first)] : [];
    this.#paging.add(screen);
    this.#request(async () => {
      const error = await screen.navigate(how, ...to);
      this.#paging.delete(screen);
      if (error) throw error;
    }, true);
  }

  /** Leaves the room's page, and comes back after a while. */
  #lookAway(screen) {
    if (!screen.isAttached || screen.isNavigating || screen.unsent.length > 0) return;
    const { client } = this, { room } = screen;
    screen.detach();
    wait(this.random.between(0, 1500)).then(() => {
      if (this.client === client && !screen.isAttached) screen.attach(room);
    });
  }

  #request(ask, always = false) {
    if (!always && this.#requests >= MOST_REQUESTS) return;
    const { client } = this;
    this.#requests += 1;
    ask().then(() => 'ok', ({ code, retryable, message }) => {
      if (this.client !== client) return 'closed';
      if (!retryable && !EXPECTED.has(code)) this.judge.convict('a request was refused', this.name, `${code}: ${message}`);
      return code;
    }).then(code => {
      this.codes[code] = (this.codes[code] ?? 0) + 1;
      if (this.client === client) this.#requests -= 1;
    });
  }

  #judgeInbox({ rooms, unreadTotal }) {
    this.judge.inboxes += 1;
    const numbers = rooms.map(({ roomId }) => roomId);
    if (new Set(numbers).size !== numbers.length) this.judge.convict('the inbox shows a room twice', this.name, numbers.join());
    if (unreadTotal < 0) this.judge.convict('the inbox counts less than nothing', this.name, unreadTotal);
  }

  /** Discards what was refused, shows every room, and goes to the live end of some. Requests are over when it returns. */
  async finish(deadline) {
    for (const screen of this.screens.values()) if (!screen.isAttached) screen.attach(this.client.room(screen.roomId));
    const left = () => [...this.screens.values()].flatMap(({ unsent }) => unsent);
    while (Date.now() < deadline) {
      for (const screen of this.screens.values()) {
        for (const { state, clientMessageId, content } of screen.unsent) {
          if (state === 'failed') screen.discard(this.outbox.entry(screen.roomId, { clientMessageId, content }));
        }
      }
      if (left().length === 0 && this.#requests === 0) break;
      await wait(20);
    }
    if (this.#requests > 0) this.judge.convict('a request was never answered', this.name, `${this.#requests}, ${[...this.#paging].length} of them pages`);
    for (const screen of this.screens.values()) {
      if (screen.mode === 'live' || this.random.chance(0.5)) continue;
      const error = await screen.navigate('jumpToLatest');
      if (error) this.judge.convict('a request was refused', this.name, `jumpToLatest: ${error.code} ${error.message}`);
    }
  }
}
