// The window of stored messages that a room shows: one range without a gap. It has no I/O, and takes
// messages and their states from anywhere, in any order: live, replayed, from pages, from answers.

import type { Message } from './contract.js';
import type { StoredMessage } from './types.js';

/** At most so many messages are in the window, and as many wait outside it for a page under way. */
export const WINDOW = 500;

/** A state of a message, and what is known of it. */
export interface Arrival {
  readonly message: Message;
  /** It was read for this user, and so has `mine`: it is from a page, a replay or an answer. */
  readonly own: boolean;
  /** It was broadcast, and this user made the change, or perhaps one of several that are merged in it. */
  readonly by?: 'me' | 'several';
  /** It answers this user, who has set or cleared this reaction. */
  readonly reacted?: { readonly key: string; readonly on: boolean };
}

export interface Timeline {
  /** Whether a first page was taken. An empty room is loaded too. */
  readonly loaded: boolean;
  readonly messages: readonly StoredMessage[];
  /** The numbers of the window's first and last message. If it is empty, `newest` is `oldest - 1`. */
  readonly oldest: number;
  readonly newest: number;
  /** The number of the room's newest message, as far as is known. */
  seq: number;
  /** Whether the window moves with what is new, and drops its oldest; else it stays in place. */
  follow: boolean;
  /** It met a message that another message has replaced: the room was deleted and begun anew. */
  foreign: boolean;
  /** Messages whose `mine` may be out of date, perhaps outside the window; and the change that made it so. */
  readonly stale: Map<number, number>;
  take(arrival: Arrival): void;
  /** Between these, what arrives for messages outside the window is kept for the page. */
  beginPage(): void;
  /** Returns false if too much arrived to be kept: states in the window may be out of date. */
  endPage(): boolean;
  restart(page: readonly Message[]): void;
  prepend(page: readonly Message[]): void;
  append(page: readonly Message[]): void;
  /** A page that was read for what the window has already. */
  renew(page: readonly Message[]): void;
  /** Keeps the newest `count` messages, if the window is at the live end; else nothing. */
  shrink(count: number): void;
  reset(): void;
}

export function createTimeline(): Timeline {
  let loaded = false;
  let messages: StoredMessage[] = [];
  let oldest = 1;
  let seq = 0;
  let follow = true;
  let foreign = false;
  let pages = 0;
  let overflown = false;
  const early = new Map<number, Arrival>();
  const read = new WeakSet<StoredMessage>(); // states that were read for this user
  const answered = new Set<number>(); // changes of this user's reactions that were answered
  const stale = new Map<number, number>();
  const newest = () => oldest + messages.length - 1;

  function take(arrival: Arrival): void {
    const { message } = arrival;
    if (message.seq > seq) seq = message.seq;
    const isOpen = loaded && !foreign;
    if (isOpen && message.seq >= oldest && message.seq <= newest()) return merge(arrival);
    if (isOpen && message.seq === newest() + 1 && (follow || messages.length < WINDOW)) {
      messages.push(arrival.own ? asRead(message) : stored(message));
      if (!arrival.own) doubt(message.reactions ? { ...arrival, by: 'several' } : arrival);
      return bound(WINDOW);
    }
    if (!pages) return;
    const kept = early.get(message.seq);
    if (!kept && early.size >= WINDOW) {
      overflown = true;
      early.clear();
      return;
    }
    const newer = kept && rev(kept.message) >= rev(message) ? kept : arrival;
    early.set(message.seq, kept && (kept.by ?? arrival.by) ? { ...newer, by: 'several' } : newer);
  }

  /** Keeps `most` messages: the oldest, or else the newest. */
  function bound(most: number, keepsOldest = false): void {
    const excess = messages.length - most;
    if (excess <= 0) return;
    messages.splice(keepsOldest ? most : 0, excess);
    if (!keepsOldest) oldest += excess;
  }

  /** An older state never replaces a newer one. */
  function merge(arrival: Arrival): void {
    const { message, own, reacted } = arrival;
    const index = message.seq - oldest;
    const old = messages[index] as StoredMessage;
    if (old.id !== message.id) {
      foreign = true;
      return;
    }
    const isNewer = rev(message) > rev(old);
    if (own) {
      if (rev(message) >= rev(old)) messages[index] = asRead(message, old);
      return;
    }
    let next = isNewer ? stored(withMineOf(message, old)) : old;
    // A state that was read for this user knows of all changes up to its own.
    if (isNewer || !read.has(old)) doubt(arrival);
    if (reacted) {
      const { key, on } = reacted;
      // Later changes, of others, have left this user's own reaction as it is.
      next = withMine(next, key, on);
      // If it was set before, the latest change is another one.
      if (!old.reactions?.some((reaction) => reaction.key === key && reaction.mine) === on) {
        answered.add(rev(message));
        if (answered.size > WINDOW) answered.delete(answered.values().next().value as number);
        if (stale.get(message.seq) === rev(message)) stale.delete(message.seq);
      }
    }
    messages[index] = either(old, next);
  }

  function asRead(message: Message, old?: StoredMessage): StoredMessage {
    const next = either(old, stored(message));
    read.add(next);
    stale.delete(message.seq);
    return next;
  }

  /** A broadcast does not say what this user has set from elsewhere. An answer may, if it is for the same change. */
  function doubt({ message, by }: Arrival): void {
    if (!by || (by === 'me' && answered.has(rev(message)))) return;
    stale.set(message.seq, by === 'me' && !stale.has(message.seq) ? rev(message) : Infinity);
  }

  /** Adds what fits from what arrived before its place was known. */
  function addEarly(): void {
    for (const [number, arrival] of [...early].sort(([a], [b]) => a - b)) {
      if (number > newest() + 1) break;
      early.delete(number);
      take(arrival);
    }
  }

  /** What arrived while the page was under way is in the old window, or early. */
  function restart(page: readonly Message[]): void {
    const old = messages;
    const first = oldest;
    messages = contiguous(page).map((message) => {
      const known = old[message.seq - first];
      const shown = known?.id === message.id ? known : undefined;
      return shown && rev(shown) > rev(message) ? shown : asRead(message, shown);
    });
    oldest = messages[0]?.seq ?? 1;
    const rest = newest() + 1 - first;
    if (rest >= 0 && !foreign) messages.push(...old.slice(rest));
    bound(WINDOW, !follow);
    if (foreign) answered.clear(); // changes are numbered anew
    seq = Math.max(seq, newest());
    loaded = true;
    foreign = false;
    addEarly();
  }

  return {
    get loaded() {
      return loaded;
    },
    get messages() {
      return messages;
    },
    get oldest() {
      return oldest;
    },
    get newest() {
      return newest();
    },
    get seq() {
      return seq;
    },
    set seq(value) {
      seq = value;
    },
    get follow() {
      return follow;
    },
    set follow(value) {
      follow = value;
    },
    get foreign() {
      return foreign;
    },
    set foreign(value) {
      foreign = value;
    },
    stale,
    take,
    beginPage() {
      pages++;
    },
    endPage() {
      if (--pages) return !overflown;
      const isWhole = !overflown;
      overflown = false;
      early.clear();
      return isWhole;
    },
    restart,
    prepend(page) {
      const older = contiguous(page.filter((message) => message.seq < oldest));
      if (older.at(-1)?.seq !== oldest - 1) return;
      messages.unshift(...older.map((message) => asRead(message)));
      oldest -= older.length;
      bound(WINDOW, true);
      addEarly();
    },
    append(page) {
      if (!loaded) return;
      for (const message of page) if (message.seq === newest() + 1) messages.push(asRead(message));
      seq = Math.max(seq, newest());
      bound(WINDOW);
      addEarly();
    },
    renew(page) {
      for (const message of page) take({ message, own: true });
      addEarly();
    },
    shrink(count) {
      follow = true;
      if (newest() < seq) return this.reset();
      bound(count);
    },
    reset() {
      loaded = false;
      messages = [];
      oldest = 1;
      seq = 0;
      follow = true;
      foreign = false;
      stale.clear();
      answered.clear();
    },
  };
}

const rev = (message: Message): number => message.rev ?? 0;
/** The old object, if nothing has changed. */
const either = <T>(old: T | undefined, next: T): T =>
  old && old !== next && JSON.stringify(old) === JSON.stringify(next) ? old : next;
const stored = (message: Message): StoredMessage => ({ ...message, state: 'stored' });

/** Adds what a broadcast, which serves all users, does not have. */
function withMineOf(message: Message, old: Message): Message {
  return (old.reactions ?? []).reduce((next, { key, mine }) => (mine ? withMine(next, key, true) : next), message);
}

function withMine<T extends Message>(message: T, key: string, on: boolean): T {
  if (!message.reactions) return message;
  const reactions = message.reactions.map((reaction) => {
    if (reaction.key !== key) return reaction;
    const { mine: _, ...rest } = reaction;
    return on ? { ...rest, mine: true } : rest;
  });
  return { ...message, reactions };
}

/** The end of a page, back to the first gap. The gateway's pages have none. */
function contiguous(page: readonly Message[]): readonly Message[] {
  let from = page.length - 1;
  while (from > 0 && page[from - 1]?.seq === (page[from] as Message).seq - 1) from--;
  return page.slice(Math.max(from, 0));
}
