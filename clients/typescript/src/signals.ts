// What users do at this moment: who types, who is in a room, who is online. It may be lost, and so
// expires or is asked again.

import type { Connection } from './connection.js';
import type { ServerEvents, User, UserPresence } from './contract.js';
import type { Source, Stores } from './store.js';
import type { Timers } from './timers.js';
import type { Presence, UserStatus } from './types.js';

/** In ms. The gateway says that typing expires after 6 s; the rest is for the way. */
const TYPING_EXPIRES = 7_000;
const TYPING_REPEATS = 3_000;
const MOST_TYPING = 50;
const PRESENCE_INTERVAL = 20_000;
const MOST_WATCHED = 200;

export interface Typing {
  readonly store: Source<readonly User[]>;
  received(event: ServerEvents['typing']): void;
  /** A user has sent a message, and so has stopped typing. */
  stopped(userId: string): void;
  clear(): void;
}

export function createTyping({ source }: Stores, timers: Timers, onUse: (used: boolean) => void): Typing {
  const typing = new Map<string, { user: User; cancel: () => void }>();
  const store = source<readonly User[]>(() => [...typing.values()].map(({ user }) => user), onUse);

  function stopped(userId: string): void {
    typing.get(userId)?.cancel();
    if (typing.delete(userId)) store.changed();
  }

  return {
    store,
    received({ userId, user, typing: isTyping }) {
      if (!isTyping) return stopped(userId);
      const known = typing.get(userId);
      if (!known && typing.size >= MOST_TYPING) return;
      known?.cancel();
      typing.set(userId, { user, cancel: timers.after(TYPING_EXPIRES, () => stopped(userId)) });
      if (!known) store.changed();
    },
    stopped,
    clear() {
      for (const userId of [...typing.keys()]) stopped(userId);
    },
  };
}

/** Returns a function that tells others, throttled, that this user types. */
export function createTyper(send: (typing: boolean) => void): (typing: boolean) => void {
  let at = 0;
  return (typing) => {
    if (typing ? Date.now() - at < TYPING_REPEATS : !at) return;
    at = typing ? Date.now() : 0;
    send(typing);
  };
}

export interface RoomPresence {
  readonly store: Source<Presence>;
  /** Asks now, and from time to time while it is used and the room is joined. */
  ask(): void;
}

const NOBODY: Presence = { users: [], count: 0, complete: false };

export function createPresence(
  { source }: Stores,
  timers: Timers,
  onUse: (used: boolean) => void,
  list: () => Promise<Presence> | undefined,
): RoomPresence {
  let presence = NOBODY;
  let cancel = () => {};
  const store = source<Presence>(
    () => presence,
    (used) => {
      onUse(used);
      if (used) ask();
      else cancel();
    },
  );

  function ask(): void {
    cancel();
    const listed = store.used() && list();
    if (!listed) return;
    listed.then(
      ({ users, count, complete }) => {
        const next = { users, count, complete };
        if (JSON.stringify(next) !== JSON.stringify(presence)) presence = next;
        store.changed();
      },
      () => {}, // it is asked again
    );
    cancel = timers.after(PRESENCE_INTERVAL, ask);
  }

  return { store, ask };
}

export interface Users {
  store(userId: string): Source<UserStatus>;
  received(status: UserPresence): void;
  /** A watch ends with its connection. */
  online(): void;
}

export function createUsers({ source }: Stores, timers: Timers, connection: Connection): Users {
  const watched = new Map<string, { status: UserStatus; store: Source<UserStatus> }>();
  let cancel: (() => void) | undefined;
  let isWatching = false;

  function received({ userId, online, lastSeenAt }: UserPresence): void {
    const user = watched.get(userId);
    if (!user || (user.status.online === online && user.status.lastSeenAt === (lastSeenAt ?? undefined))) return;
    user.status = { online, ...(lastSeenAt && { lastSeenAt }) };
    user.store.changed();
  }

  /** Soon, because subscribers come in groups. */
  function watch(): void {
    cancel ??= timers.after(20, () => {
      cancel = undefined;
      if (!connection.epoch) return;
      const used = [...watched].filter(([, { store }]) => store.used()).map(([userId]) => userId);
      const userIds = used.slice(-MOST_WATCHED);
      if (!userIds.length && !isWatching) return;
      isWatching = true;
      connection.ask('watchUsers', { userIds }, () => !cancel).then(({ users }) => users.forEach(received), () => {});
    });
  }

  return {
    store(userId) {
      const known = watched.get(userId);
      if (known) return known.store;
      const user: { status: UserStatus; store: Source<UserStatus> } = {
        status: { online: false },
        store: source<UserStatus>(
          () => user.status,
          (used) => {
            if (used) watched.set(userId, user);
            watch();
          },
        ),
      };
      watched.set(userId, user);
      // Those that nobody uses are kept for a while, because a reader may look before it subscribes.
      for (const [id, { store }] of watched) {
        if (watched.size <= 2 * MOST_WATCHED) break;
        if (!store.used() && id !== userId) watched.delete(id);
      }
      return user.store;
    },
    received,
    online() {
      isWatching = false;
      watch();
    },
  };
}
