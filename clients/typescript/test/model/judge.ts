// Judges every snapshot that a client shows, and at the end whether it shows what the gateway has.

import { expect } from 'vitest';
import type { InboxSnapshot, MessagesSnapshot, ShownMessage, StoredMessage } from '../../src/index.js';
import type { Gateway } from './gateway.js';
import type { RoomModel } from './rooms.js';

/** Watches one room of one client. */
export class RoomJudge {
  #last: MessagesSnapshot | undefined;
  /** The newest state of each message that was shown, by its id. */
  readonly #revs = new Map<number, number>();
  #hasLeft = false;
  snapshots = 0;

  constructor(readonly name: string) {}

  /** Until the room is shown again, its window may be elsewhere meanwhile. */
  hidden(): void {
    this.#last = undefined;
  }

  look(snapshot: MessagesSnapshot): void {
    this.snapshots++;
    const stored = snapshot.messages.filter(isStored);
    const own = new Set<string>();
    snapshot.messages.forEach((message, index) => {
      if (isStored(message)) {
        const previous = snapshot.messages[index - 1];
        if (index > 0) {
          this.#check(previous && isStored(previous) && previous.seq === message.seq - 1, `a gap or a double at ${message.seq}`);
        }
        const rev = message.rev ?? 0;
        this.#check(rev >= (this.#revs.get(message.id) ?? 0), `an older state of ${message.seq}`);
        this.#revs.set(message.id, rev);
      }
      if (message.clientMessageId) {
        this.#check(!own.has(message.clientMessageId), `${message.content} is shown twice`);
        own.add(message.clientMessageId);
      }
    });
    this.#check(stored.length <= 500, 'the window exceeds its bound');
    this.#checkIdentity(snapshot);
    this.#last = snapshot;
  }

  #checkIdentity(snapshot: MessagesSnapshot): void {
    this.#check(snapshot !== this.#last, 'a notification without a change');
    if (snapshot.status === 'left') this.#hasLeft = true;
    // After an exclusion, the window begins anew, and may read what it had.
    if (this.#hasLeft) return void (this.#hasLeft = snapshot.status !== 'live');
    const before = new Map(this.#last?.messages.filter(isStored).map((message) => [message.id, message]));
    for (const message of snapshot.messages) {
      const old = isStored(message) && before.get(message.id);
      if (old && old !== message) this.#check(normal(old) !== normal(message), `${message.content} is unchanged and another object`);
    }
  }

  #check(condition: unknown, what: string): void {
    if (!condition) throw new Error(`${this.name}: ${what}`);
  }
}

/** What is shown at the end, when the network has been quiet for long. */
export function judgeEnd(name: string, user: string, snapshot: MessagesSnapshot, room: RoomModel): void {
  if (room.banned.has(user)) {
    expect(snapshot.status, name).toBe('left');
    return;
  }
  expect(snapshot.status, name).toBe('live');
  expect(snapshot.loading, name).toBe(undefined);
  const stored = snapshot.messages.filter(isStored);
  expect(snapshot.messages.filter((m) => m.state === 'pending'), `${name}: pending`).toEqual([]);
  const first = stored[0]?.seq ?? 1;
  const last = stored.at(-1)?.seq ?? 0;
  expect(snapshot.hasOlder, `${name}: hasOlder`).toBe(first > 1);
  expect(snapshot.hasNewer, `${name}: hasNewer`).toBe(last < room.seq);
  const expected = room.messages.slice(first - 1, last).map((m) => normal({ ...room.wire(m, user), state: 'stored' }));
  expect(stored.map(normal), name).toEqual(expected);
}

export function judgeInbox(name: string, user: string, snapshot: InboxSnapshot, gateway: Gateway): void {
  const rooms = [...gateway.rooms.values()].filter((room) => room.members.has(user));
  const expected = rooms.sort((a, b) => compare(b.activity(user), a.activity(user)) || b.roomId - a.roomId);
  expect(snapshot.status, name).toBe('live');
  expect(snapshot.rooms.map(normal), name).toEqual(expected.map((room) => normal(room.summary(user))));
  expect(snapshot.unreadTotal, name).toBe(rooms.reduce((sum, room) => sum + room.unread(user), 0));
}

export const isStored = (message: ShownMessage): message is StoredMessage => message.state === 'stored';

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** JSON with its keys in order. */
export function normal(value: unknown): string {
  return JSON.stringify(value, (_, it) =>
    it && typeof it === 'object' && !Array.isArray(it)
      ? Object.fromEntries(Object.entries(it).sort(([a], [b]) => compare(a, b)))
      : it,
  );
}
