// What is sent and not stored yet, of all rooms, in the order of sending. It repeats until a message
// is stored or refused for good, and drops nothing by itself.

import type { Message, Payload, User } from './contract.js';
import { ChatError, toChatError } from './errors.js';
import { reuse } from './store.js';
import { type Timers, within } from './timers.js';
import type { OutboxStorage, SendMore, StoredSend, UnstoredMessage } from './types.js';

/** In ms, of each operation of a storage. */
const STORAGE_DEADLINE = 5_000;

interface Entry {
  /** `userId` is empty until a token has told who the user is. */
  send: StoredSend;
  shown: UnstoredMessage;
  /** It is stored under this number, and shown as pending until the window has it. */
  seq?: number;
}

/** What the outbox needs of a room. */
export interface Lane {
  readonly roomId: number;
  /** Whether this connection has joined the room. */
  isJoined(): boolean;
  /** Sends it while it is `wanted`. */
  send(payload: Payload<'sendMessage'>, wanted: () => boolean): Promise<Message>;
}

export interface Outbox {
  shown(roomId: number): readonly UnstoredMessage[];
  /** Whether something of this user waits to be sent to the room. */
  waits(roomId: number): boolean;
  rooms(): Iterable<number>;
  add(roomId: number, content: string, more: SendMore): string;
  retry(roomId: number, id: string): void;
  discard(roomId: number, id: string): void;
  /** The room is closed to the user. */
  failAll(roomId: number, error: ChatError): void;
  /** A stored message was seen: perhaps one of these. */
  seen(message: Message): void;
  /** The window has every message up to `seq`, or does not show what is new; the room has none after `last`. */
  arrived(roomId: number, seq: number, last?: number): void;
  /** Sends what waits, one at a time. */
  pump(lane: Lane): Promise<void>;
  identified(user: User): void;
  /** Resolves when the storage has everything. */
  flush(): Promise<void>;
}

export function createOutbox(
  storage: OutboxStorage | undefined,
  timers: Timers,
  report: (error: unknown) => void,
  changed: (roomId: number) => void,
): Outbox {
  const entries: Entry[] = []; // of all users and rooms, by position
  const pumping = new Set<number>();
  let isRestored = !storage;
  const early: Message[] = []; // of this user, seen before the storage has told which of them it keeps
  let position = 0;
  let user: User | undefined;
  const writing = new Map<string, Promise<void>>(); // by id: a `remove` never overtakes its `put`
  const loading =
    storage &&
    within(timers, STORAGE_DEADLINE, 'the storage', storage.load())
      .then(restore)
      .catch(report)
      .finally(() => {
        isRestored = true;
        early.length = 0;
        for (const roomId of rooms()) changed(roomId);
      });

  function restore(kept: readonly StoredSend[]): void {
    for (const send of kept) {
      if (!entries.some((entry) => is(entry, send.roomId, send.clientMessageId))) insert(send);
    }
    for (const message of early) {
      const entry = find(message.roomId, message.clientMessageId ?? '');
      if (entry && !entry.seq) settle(entry, message);
    }
  }

  function insert(send: StoredSend): void {
    position = Math.max(position, send.position);
    const after = entries.findIndex((entry) => entry.send.position > send.position);
    entries.splice(after < 0 ? entries.length : after, 0, { send, shown: shownOf(send, user) });
  }

  function write(id: string, operation: (storage: OutboxStorage) => Promise<void>): void {
    if (!storage) return;
    const done = Promise.resolve(writing.get(id))
      .then(() => within(timers, STORAGE_DEADLINE, 'the storage', operation(storage)))
      .catch(report)
      .then(() => void (writing.get(id) === done && writing.delete(id)));
    writing.set(id, done);
  }

  function put({ send }: Entry): void {
    if (send.userId) write(send.clientMessageId, (storage) => storage.put(send));
  }

  function update(entry: Entry, send: StoredSend, error?: ChatError): void {
    entry.send = send;
    entry.shown = { ...shownOf(send, user), ...(error && { error }) };
    put(entry);
    changed(send.roomId);
  }

  function remove(entry: Entry): void {
    const index = entries.indexOf(entry);
    if (index < 0) return; // what a removal notifies may have removed it
    entries.splice(index, 1);
    if (!entry.seq) forget(entry);
    changed(entry.send.roomId);
  }

  /** It is stored. */
  function settle(entry: Entry, message: Message): void {
    forget(entry);
    entry.seq = message.seq;
  }

  function forget({ send }: Entry): void {
    write(send.clientMessageId, (storage) => storage.remove(send.clientMessageId));
  }

  const isMine = ({ send }: Entry) => !send.userId || send.userId === user?.id;
  const of = (roomId: number) => entries.filter((entry) => entry.send.roomId === roomId && isMine(entry));
  const find = (roomId: number, id: string) => of(roomId).find((entry) => is(entry, roomId, id));
  const isWaiting = (entry: Entry) => !entry.seq && !entry.send.failed;
  function rooms(): Set<number> {
    return new Set(entries.map((entry) => entry.send.roomId));
  }

  function fail(entry: Entry, error: ChatError): void {
    update(entry, { ...entry.send, failed: { code: error.code, message: error.message } }, error);
  }

  return {
    shown: (roomId) => of(roomId).map((entry) => entry.shown),
    waits: (roomId) => of(roomId).some(isWaiting),
    rooms,
    add(roomId, content, more) {
      const clientMessageId = newId();
      position = Math.max(position + 1, Date.now());
      const createdAt = new Date().toISOString();
      insert({ userId: user?.id ?? '', roomId, clientMessageId, content, ...structuredClone(more), createdAt, position });
      put(entries.at(-1) as Entry);
      changed(roomId);
      return clientMessageId;
    },
    retry(roomId, id) {
      const entry = find(roomId, id);
      if (!entry?.send.failed) return;
      const { failed: _, ...send } = entry.send;
      position = Math.max(position + 1, Date.now());
      entries.push(...entries.splice(entries.indexOf(entry), 1));
      update(entry, { ...send, position });
    },
    discard(roomId, id) {
      const entry = find(roomId, id);
      if (entry && !entry.seq) remove(entry);
    },
    failAll(roomId, error) {
      for (const entry of of(roomId)) {
        if (isWaiting(entry)) fail(entry, error);
        else if (entry.seq) remove(entry);
      }
    },
    seen(message) {
      if (message.userId !== user?.id || !message.clientMessageId) return;
      if (!isRestored) early.push(message);
      const entry = find(message.roomId, message.clientMessageId);
      if (!entry || entry.seq) return;
      // The window may not have it yet: until it has, it is shown as pending.
      settle(entry, message);
      changed(message.roomId);
    },
    arrived(roomId, seq, last = Infinity) {
      for (const entry of of(roomId)) if (entry.seq && (entry.seq <= seq || entry.seq > last)) remove(entry);
    },
    async pump(lane) {
      const { roomId } = lane;
      if (pumping.has(roomId) || !isRestored) return;
      pumping.add(roomId);
      try {
        while (lane.isJoined()) {
          const entry = of(roomId).find(isWaiting);
          if (!entry) break;
          const owner = user;
          const wanted = () => entries.includes(entry) && owner === user && isWaiting(entry);
          try {
            const message = await lane.send(payloadOf(entry.send), wanted);
            if (!entries.includes(entry) || entry.seq) continue;
            settle(entry, message);
            changed(roomId);
          } catch (error) {
            const failure = toChatError(error);
            if (!failure.retryable && wanted()) fail(entry, failure);
          }
        }
      } finally {
        pumping.delete(roomId);
      }
    },
    identified(next) {
      if (reuse(user, next) === user) return;
      user = next;
      for (const entry of entries) {
        const isNew = !entry.send.userId;
        if (isNew) entry.send = { ...entry.send, userId: next.id };
        if (isNew) put(entry);
        entry.shown = shownOf(entry.send, user);
      }
      for (const roomId of rooms()) changed(roomId);
    },
    async flush() {
      await Promise.all([loading, ...writing.values()]);
    },
  };
}

function is({ send }: Entry, roomId: number, id: string): boolean {
  return send.roomId === roomId && send.clientMessageId === id;
}

/** The same for each repeat: only then is it recognised. */
function payloadOf({ userId: _, createdAt: __, position: ___, failed: ____, ...payload }: StoredSend) {
  return payload;
}

function shownOf(send: StoredSend, user: User | undefined): UnstoredMessage {
  const { userId, roomId: _, position: __, failed, ...shown } = send;
  return {
    ...shown,
    state: failed ? 'failed' : 'pending',
    user: user && (!userId || user.id === userId) ? user : { id: userId, name: '' },
    ...(failed && { error: new ChatError({ ...failed, retryable: false }) }),
  };
}

/** `crypto.randomUUID` is missing on pages that were not loaded over HTTPS. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
