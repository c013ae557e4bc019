// Judges what screens showed: every snapshot of a room's messages at the moment of its notification, and
// at the end what is left on each screen, against what the gateway has stored. It knows nothing of how the
// client works, and needs neither Node nor a DOM.
//
// `Judge` collects contradictions; `Outbox` is what one client accepted to send, over all its tabs;
// `Screen` (screen.mjs) is one room on one client; `ending.mjs` compares with the gateway.

/** Details that are kept of each kind of contradiction. */
const DETAILS = 5;

export class Judge {
  /** Snapshots judged so far. */
  snapshots = 0;
  /** Those of windows that stay where their user has paged to. */
  paged = 0;
  /** Notifications of inboxes judged so far. */
  inboxes = 0;
  #found = new Map();
  #states = new Map();
  #outboxes = [];
  #deferred = [];

  /** Records a contradiction. `kind` names the promise that was broken. */
  convict(kind, where, detail) {
    const found = this.#found.get(kind) ?? { count: 0, details: [] };
    this.#found.set(kind, found);
    found.count += 1;
    if (found.details.length < DETAILS) found.details.push(`${where}: ${detail}`);
  }

  /** The kinds of contradiction found, each with its number and the first details. */
  get found() { return Object.fromEntries(this.#found); }
  get contradictions() { return [...this.#found.values()].reduce((sum, { count }) => sum + count, 0); }

  /** Messages that closed tabs lost, of clients with a storage or without. */
  lost(isKept) { return this.#outboxes.reduce((sum, outbox) => sum + (outbox.isKept === isKept ? outbox.lost : 0), 0); }

  /** Identifies everything that the clients of this judge accepted to send. */
  keys() { return this.#outboxes.flatMap(outbox => outbox.keys()); }

  outbox(name, userId, { isKept = false } = {}) {
    const outbox = new Outbox(this, name, userId, isKept);
    this.#outboxes.push(outbox);
    return outbox;
  }

  /** One state of a message must look the same on every screen, but for what is a user's own. */
  sameState(where, message) {
    const key = `${message.roomId}/${message.seq}/${message.rev ?? 0}`;
    const state = canonical(withoutMine(message));
    const known = this.#states.get(key);
    if (known === undefined) this.#states.set(key, state);
    else if (known !== state) this.convict('two versions of one state', where, `${key}: ${known} and ${state}`);
  }

  /** A question that only the stored messages answer: `check(stored, convict)` runs at the end. */
  defer(roomId, check) { this.#deferred.push({ roomId, check }); }

  /** Answers what was deferred. `truth` is a map from rooms to their stored messages; `others` are the keys of
   *  outboxes that other judges have. */
  settle(truth, others = []) {
    for (const { roomId, check } of this.#deferred.splice(0)) check(truth.get(roomId));
    for (const outbox of this.#outboxes) outbox.settle(truth);
    const accepted = new Set([...others, ...this.keys()]);
    for (const message of [...truth.values()].flat()) {
      if (!accepted.has(keyOf(message))) {
        this.convict('stored, but not sent by any client', `room ${message.roomId}`, canonical(message));
      }
    }
  }
}

/** What one client accepted to send. A client with a storage keeps its outbox when its tab is closed. */
export class Outbox {
  #rooms = new Map(); #sent = 0;
  /** Messages that are not stored, and need not be: a tab was closed before a storage had them. */
  lost = 0;
  /** The content of the call of `send` that is under way: its message may be shown before it returns. */
  sending;

  constructor(judge, name, userId, isKept) { Object.assign(this, { judge, name, userId, isKept }); }

  room(roomId) {
    if (!this.#rooms.has(roomId)) this.#rooms.set(roomId, new Map());
    return this.#rooms.get(roomId);
  }

  /** Calls `room.send`, and remembers what it accepted. `isRefused`: the gateway must refuse the message. */
  send(room, content, more, { isRefused = false } = {}) {
    const sending = this.sending = { roomId: room.roomId, content, isRefused, shown: new Set() };
    try {
      const clientMessageId = room.send(content, more);
      for (const other of sending.shown) {
        if (other === clientMessageId) continue;
        this.room(room.roomId).delete(other);
        this.judge.convict('pending, but not sent', this.name, `${other} ${content}`);
      }
      return this.#accept(room.roomId, clientMessageId);
    } finally {
      this.sending = undefined;
    }
  }

  /** Returns an entry; also of the message whose `send` has not returned yet. */
  entry(roomId, { clientMessageId, content }) {
    const entry = this.room(roomId).get(clientMessageId);
    if (entry || this.sending?.roomId !== roomId || this.sending.content !== content) return entry;
    this.sending.shown.add(clientMessageId);
    return this.#accept(roomId, clientMessageId);
  }

  #accept(roomId, clientMessageId) {
    const entries = this.room(roomId);
    const { content, isRefused } = this.sending;
    if (!entries.has(clientMessageId)) {
      entries.set(clientMessageId, {
        clientMessageId, content, isRefused, position: this.#sent += 1, isDiscarded: false, mayBeLost: false, isKept: false,
      });
    }
    const entry = entries.get(clientMessageId);
    if (entry.content !== content) this.judge.convict('clientMessageId used twice', this.name, clientMessageId);
    return entry;
  }

  sentAgain(entry) { entry.position = this.#sent += 1; }

  /** The contents of what had to be stored, and is not. */
  missing(truth) {
    return [...this.#rooms].flatMap(([roomId, entries]) => {
      const stored = new Set(truth.get(roomId)?.map(keyOf));
      return [...entries.values()].filter(entry => isPromised(entry) && !stored.has(`${this.userId}/${entry.clientMessageId}`))
        .map(({ content }) => `room ${roomId}: ${content}`);
    });
  }

  /** What a judge in another tab needs in order to go on with this outbox. */
  save() { return [...this.#rooms].map(([roomId, entries]) => [roomId, [...entries.values()]]); }

  restore(saved) {
    for (const [roomId, entries] of saved) {
      this.#sent = Math.max(this.#sent, ...entries.map(({ position }) => position));
      this.#rooms.set(roomId, new Map(entries.map(entry => [entry.clientMessageId, entry])));
    }
  }

  *entries() { for (const room of this.#rooms.values()) yield* room.values(); }
  keys() { return [...this.entries()].map(({ clientMessageId }) => `${this.userId}/${clientMessageId}`); }

  /** The tab is closed without warning: what no storage has kept may be lost. */
  closeTab() {
    for (const entry of this.entries()) if (!this.isKept || !entry.isKept) entry.mayBeLost = true;
  }

  /** Every message is stored once, in the order of sending. */
  settle(truth) {
    for (const [roomId, entries] of this.#rooms) {
      const where = `${this.name} room ${roomId}`;
      const stored = new Map();
      for (const message of truth.get(roomId)) {
        if (message.userId !== this.userId || !entries.has(message.clientMessageId)) continue;
        if (stored.has(message.clientMessageId)) this.judge.convict('stored twice', where, canonical(message));
        stored.set(message.clientMessageId, message);
      }
      let newest = 0;
      for (const entry of entries.values()) {
        const { clientMessageId, content, isRefused } = entry;
        const message = stored.get(clientMessageId);
        if (!message) {
          if (isPromised(entry)) this.judge.convict('accepted, but not stored', where, content);
          else if (!isRefused) this.lost += 1;
          continue;
        }
        if (isRefused) this.judge.convict('refused, but stored', where, content);
        if (!message.editedAt && !message.deletedAt && message.content !== content) {
          this.judge.convict('stored with other content', where, `${content}: ${message.content}`);
        }
        if (message.seq < newest) this.judge.convict('stored out of the order of sending', where, `${content}: ${message.seq} after ${newest}`);
        newest = Math.max(newest, message.seq);
      }
    }
  }
}

function isPromised({ isRefused, mayBeLost }) { return !isRefused && !mayBeLost; }

export function keyOf({ userId, clientMessageId }) { return `${userId}/${clientMessageId}`; }

/** A message without what serves one user, and without what only the screen has. */
export function withoutMine({ state, reactions, ...message }) {
  return reactions ? { ...message, reactions: reactions.map(({ key, count }) => ({ key, count })) } : message;
}

/** A message as a page has it. `mine` is present or absent. */
export function asStored({ state, reactions, ...message }) {
  if (!reactions) return message;
  return { ...message, reactions: reactions.map(({ key, count, mine }) => mine ? { key, count, mine } : { key, count }) };
}

/** JSON whose keys are sorted, without what is undefined. */
export function canonical(value) {
  return JSON.stringify(value, (_, part) =>
    part && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => one < other ? -1 : 1))
      : part);
}
