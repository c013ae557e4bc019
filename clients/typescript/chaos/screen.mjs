// One room on the screen of one client: judges each snapshot against the one before it.

import { canonical } from './judge.mjs';

/** The most stored messages that a window may have. */
const BOUND = 500;
/** A window that drops its oldest messages may be this much below the bound. */
const SLACK = 50;

export class Screen {
  #shown; #unsubscribe; #navigations = 0; #incarnation = 0; #wasLive = false;
  /** What the window does by itself: 'live' follows the live end, 'paged' stays where it is. 'either': the
   *  last navigation failed or ended at the live end, so both are right. */
  #mode = 'live';
  #revs = new Map(); // by seq, what this client has shown, over all its tabs
  #seqs = new Map(); // by author and clientMessageId
  #open = new Map(); // by clientMessageId: entries that this tab must show until they are settled
  #stored = new Set(); // entries that this tab has shown as stored

  constructor(judge, outbox, roomId) {
    Object.assign(this, { judge, outbox, roomId, where: `${outbox.name} room ${roomId}` });
  }

  get mode() { return this.#mode; }
  get isAttached() { return this.#unsubscribe !== undefined; }
  get isNavigating() { return this.#navigations > 0; }
  get last() { return this.#shown; }
  get unsent() { return this.#shown?.unsent ?? []; }
  get stored() { return this.#shown?.stored ?? []; }

  /** Subscribes to the room's messages. */
  attach(room) {
    this.room = room;
    const show = () => this.show(room.messages.getSnapshot());
    this.#unsubscribe = room.messages.subscribe(show);
    show();
  }

  /** Ends the subscription. What is shown next may be elsewhere. */
  detach() {
    this.#unsubscribe?.();
    this.#unsubscribe = this.#shown = undefined;
    if (this.#mode === 'paged') this.#mode = 'either';
  }

  /** The tab is closed: what the next one shows has no relation to it, but for newer states. */
  closeTab() {
    this.detach();
    this.room = undefined;
    this.#incarnation += 1;
    this.#navigations = 0;
    this.#mode = 'live';
    this.#wasLive = false;
    this.#open.clear();
    this.#stored.clear();
  }

  /** Sends, and expects the message on the screen from now on. */
  send(content, more, options) {
    const entry = this.outbox.send(this.room, content, more, options);
    if (!this.#stored.has(entry.clientMessageId)) this.#open.set(entry.clientMessageId, entry);
    if (this.isAttached && !this.#isShown(this.room.messages.getSnapshot(), entry)) {
      this.#convict('accepted, but not shown', content);
    }
    return entry;
  }

  /** A message that is retried counts as sent now. */
  retry(entry) {
    this.outbox.sentAgain(entry);
    this.room.retry(entry.clientMessageId);
  }

  discard(entry) {
    entry.isDiscarded = true;
    this.#open.delete(entry.clientMessageId);
    this.room.discard(entry.clientMessageId);
  }

  /** Moves the window with `loadOlder`, `loadNewer`, `jumpTo` or `jumpToLatest`. Returns the error, if it fails. */
  async navigate(how, ...parameters) {
    const incarnation = this.#incarnation, before = this.#shown;
    this.#navigations += 1;
    let error;
    try {
      await this.room.messages[how](...parameters);
    } catch (failure) {
      error = failure;
    }
    if (incarnation !== this.#incarnation) return error;
    this.#navigations -= 1;
    if (!this.isAttached) return error;
    const now = this.#shown;
    if (error || how === 'loadNewer') this.#mode = this.#mode === 'live' || !now.hasNewer ? 'either' : this.#mode;
    else if (how === 'jumpToLatest') this.#mode = 'live';
    // With nothing older, `loadOlder` changes nothing.
    else if (how !== 'loadOlder' || before.hasOlder) this.#mode = 'paged';
    else if (this.#mode !== 'paged') this.#mode = 'either';
    if (!error) this.#arrived(how, parameters[0], before, now);
    return error;
  }

  #arrived(how, seq, before, { first, last, hasNewer }) {
    if (how === 'jumpTo' && !(first <= seq && seq <= last)) {
      this.#convict('a jump that missed', `to ${seq}: ${first} to ${last}`);
    }
    if (how === 'jumpToLatest' && hasNewer) this.#convict('a jump that missed', `to the latest: ${first} to ${last}, and newer ones`);
    // Until the page comes, the window follows the live end, and may drop more than the page adds.
    if (how === 'loadOlder' && before.hasOlder && first >= before.first && last - before.first < BOUND && last < before.last + BOUND / 2) {
      this.#convict('nothing older was loaded', `${before.first}, then ${first}`);
    }
  }

  /** A change that was acknowledged is on the screen. */
  changed(message) {
    const shown = this.stored.find(({ seq }) => seq === message.seq);
    if (shown && (shown.rev ?? 0) < (message.rev ?? 0)) {
      this.#convict('acknowledged, but not shown', `seq ${message.seq}: rev ${shown.rev} for ${message.rev}`);
    }
  }

  /** Judges one snapshot. */
  show(snapshot) {
    const before = this.#shown;
    if (snapshot === before?.snapshot) return;
    this.judge.snapshots += 1;
    if (this.room && this.room.messages.getSnapshot() !== snapshot) this.#convict('an unstable snapshot', 'two calls differ');
    const { messages, hasOlder, hasNewer, status } = snapshot;
    let count = messages.findIndex(({ state }) => state !== 'stored');
    if (count < 0) count = messages.length;
    const stored = messages.slice(0, count), unsent = messages.slice(count);
    const [first, last] = [stored[0]?.seq, stored.at(-1)?.seq];
    const now = { snapshot, stored, unsent, first, last, hasOlder, hasNewer, status };
    this.#wasLive ||= status === 'live';
    if (unsent.some(({ state }) => state === 'stored')) this.#convict('stored after pending', summary(messages));
    if (count > BOUND) this.#convict('a window beyond its bound', `${count} messages`);
    if (first > 1 && !hasOlder) this.#convict('older ones denied', `the window begins at ${first}`);
    this.#judgeStored(now, before);
    if (before?.stored.length > 0 && this.#navigations === 0) this.#judgeMotion(now, before);
    this.#judgeUnsent(now, before);
    this.#shown = now;
  }

  #judgeStored({ stored, first }, before) {
    for (let index = 0; index < stored.length; index += 1) {
      const message = stored[index], expected = first + index;
      if (message.seq !== expected) {
        this.#convict(disorder(stored), `${message.seq} after ${stored[index - 1]?.seq}`);
        return;
      }
      const known = before?.stored[message.seq - before.first];
      if (known !== message) this.#judgeMessage(message, known);
    }
  }

  #judgeMessage(message, known) {
    const { seq, rev = 0, roomId, clientMessageId, userId } = message;
    if (roomId !== this.roomId) this.#convict('a message of another room', `room ${roomId}`);
    const newest = this.#revs.get(seq) ?? 0;
    if (rev < newest) this.#convict('an older state after a newer one', `seq ${seq}: rev ${rev} after ${newest}`);
    else this.#revs.set(seq, rev);
    this.judge.sameState(this.where, message);
    if (known?.seq === seq && canonical(known) === canonical(message)) {
      this.#convict('a new object for an unchanged message', `seq ${seq}`);
    }
    if (!clientMessageId) return;
    const key = `${userId}/${clientMessageId}`;
    const other = this.#seqs.get(key) ?? seq;
    this.#seqs.set(key, seq);
    if (other !== seq) this.#convict('shown twice', `${key} as ${other} and ${seq}`);
    if (userId !== this.outbox.userId || !this.outbox.entry(this.roomId, message)) return;
    this.#open.delete(clientMessageId);
    this.#stored.add(clientMessageId);
  }

  /** What a window may do by itself. */
  #judgeMotion(now, before) {
    if (now.status === 'left') return;
    if (this.#mode === 'paged') this.judge.paged += 1;
    const moved = `${before.first} to ${before.last}, then ${now.first} to ${now.last} (${this.#mode}, ${now.status})`;
    const stays = now.first === before.first && now.last >= before.last;
    const trims = now.first > before.first && now.last >= before.last && now.stored.length >= BOUND - SLACK;
    const restarts = now.first > before.last && !now.hasNewer;
    const follows = stays || trims || restarts;
    if (this.#mode === 'paged' && !stays) this.#convict('a paged window moved', moved);
    if (this.#mode !== 'paged' && !follows) this.#convict('a stored message disappeared', moved);
    if (this.#mode === 'live' && now.hasNewer && now.status === 'live') this.#convict('a live window left the live end', moved);
  }

  #judgeUnsent({ snapshot, unsent, first, last, hasNewer, stored, status }, before) {
    let position = -1;
    const listed = new Set();
    for (const message of unsent) {
      const { clientMessageId, state, content, user, error } = message;
      const entry = this.outbox.entry(this.roomId, message);
      if (!entry) {
        this.#convict('pending, but not sent', `${clientMessageId} ${content}`);
        continue;
      }
      if (listed.has(clientMessageId)) this.#convict('shown twice', `pending ${content}`);
      else if (entry.position < position) this.#convict('pending out of the order of sending', content);
      if (this.#stored.has(clientMessageId)) {
        const both = stored.some(message => message.clientMessageId === clientMessageId && message.userId === user.id);
        this.#convict(both ? 'stored and pending at once' : 'pending after stored', content);
      }
      if (state === 'failed' && !entry.isRefused) this.#convict('failed without a reason', `${content}: ${error?.code}`);
      // Until the client has a token, it does not know the user.
      const isKnown = user.id !== '' || this.#wasLive;
      if (content !== entry.content || (isKnown && user.id !== this.outbox.userId)) this.#convict('pending with other content', content);
      position = Math.max(position, entry.position);
      listed.add(clientMessageId);
      if (!this.#stored.has(clientMessageId) && !entry.isDiscarded) this.#open.set(clientMessageId, entry);
    }
    for (const [clientMessageId, entry] of this.#open) {
      if (listed.has(clientMessageId)) continue;
      this.#open.delete(clientMessageId);
      const seen = `${new Date().toISOString()} ${this.#mode} ${status}, ${summary(before?.snapshot.messages ?? [])}, then ${summary(snapshot.messages)}`;
      // Right only if it is stored, outside the window.
      this.judge.defer(this.roomId, truth => {
        const seq = truth.find(message =>
          message.clientMessageId === clientMessageId && message.userId === this.outbox.userId)?.seq;
        const isOutside = seq !== undefined && (seq < first || (seq > last && hasNewer));
        if (!isOutside) {
          this.#convict('a pending message vanished', `${entry.content}, stored as ${seq}; ${seen}`);
        }
      });
    }
  }

  #isShown({ messages }, { clientMessageId }) {
    return messages.findLast(message => message.clientMessageId === clientMessageId) !== undefined;
  }

  #convict(kind, detail) { this.judge.convict(kind, this.where, detail); }
}

/** How messages fail to be numbered one by one. */
function disorder(stored) {
  const steps = stored.slice(1).map(({ seq }, index) => seq - stored[index].seq);
  return steps.some(step => step < 0) ? 'out of order' : steps.includes(0) ? 'shown twice' : 'a gap';
}

function summary(messages) {
  return messages.slice(-10).map(({ state, seq, clientMessageId }) => `${state} ${seq ?? clientMessageId}`).join(', ');
}
