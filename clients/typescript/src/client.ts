// The client: one connection, the inbox, and the rooms that are in use.

import { createConnection } from './connection.js';
import type { ServerEvent, Summary, UserPresence } from './contract.js';
import { quiet } from './errors.js';
import { createInbox } from './inbox.js';
import { createOutbox } from './outbox.js';
import type { ManagedRoom } from './managed.js';
import { createRoom } from './room.js';
import { createUsers } from './signals.js';
import { createStores } from './store.js';
import { createTimers } from './timers.js';
import type { ChatClient, ClientOptions } from './types.js';

/** Rooms that nobody uses are kept for so long as they are among the last so many. */
const MOST_IDLE = 30;

/** Creates a client. It connects when `connect()` is called. */
export function createClient(options: ClientOptions): ChatClient {
  const report = (error: unknown) => {
    try {
      (options.onError ?? console.error)(error);
    } catch {
      // A reporter that throws stops nothing.
    }
  };
  const guard = (run: () => void) => {
    try {
      run();
    } catch (error) {
      report(error);
    }
  };
  const timers = createTimers();
  const stores = createStores(guard);
  const rooms = new Map<number, ManagedRoom>(); // those used last at the end
  const released = new Map<number, WeakRef<ManagedRoom>>(); // others that the application may still have
  const listeners = new Map<(payload: never) => void, ServerEvent>();
  let starts = 0;

  const each = (how: (room: ManagedRoom) => void) => [...rooms.values()].forEach(how);

  const connection = createConnection(options, stores, timers, report, {
    identified({ user }, switched) {
      outbox.identified(user);
      if (!switched) return;
      each((room) => room.reset());
      for (const room of released.values()) room.deref()?.reset();
      inbox.reset();
    },
    online() {
      each((room) => room.online());
      for (const roomId of outbox.rooms()) if (outbox.waits(roomId)) roomOf(roomId);
      inbox.online();
      users.online();
    },
    offline() {
      each((room) => room.offline());
      inbox.changed();
    },
    event(name, payload) {
      const event = name as ServerEvent;
      const about = payload as { roomId?: number; summary?: Summary } | undefined;
      const room = rooms.get(about?.roomId ?? about?.summary?.roomId ?? 0);
      if (event === 'userPresence') users.received(payload as UserPresence);
      inbox.received(event, payload);
      // The inbox has only rooms that the user may join.
      if (about?.summary ?? event === 'roomUpdated') room?.admitted();
      else room?.received(event, payload);
      // The application, before the subscribers of the stores.
      for (const [listener, its] of [...listeners]) if (its === event) guard(() => listener(payload as never));
    },
  });
  const outbox = createOutbox(options.storage, timers, report, (roomId) => {
    (outbox.waits(roomId) ? roomOf(roomId) : rooms.get(roomId))?.changed();
  });
  const inbox = createInbox(stores, timers, connection, report);
  const users = createUsers(stores, timers, connection);
  connection.store.subscribe(() => each((room) => room.changed()));

  function roomOf(roomId: number): ManagedRoom {
    const known = rooms.get(roomId) ?? released.get(roomId)?.deref();
    const room: ManagedRoom =
      known ?? createRoom(roomId, stores, timers, connection, outbox, report, () => keep(room));
    keep(room);
    return room;
  }

  function keep(room: ManagedRoom): void {
    rooms.delete(room.roomId);
    released.delete(room.roomId);
    rooms.set(room.roomId, room);
    let idle = rooms.size - MOST_IDLE;
    if (idle <= 0) return;
    for (const other of rooms.values()) {
      if (idle-- <= 0) break;
      if (other === room || other.inUse()) continue;
      rooms.delete(other.roomId);
      released.set(other.roomId, new WeakRef(other));
    }
    for (const [roomId, other] of released) if (!other.deref()) released.delete(roomId);
  }

  return {
    connection: connection.store,
    inbox,
    room: roomOf,
    watchUser: users.store,
    call: (event, payload) => quiet(connection.request(event, payload)),
    on(name, listener) {
      const own: typeof listener = (payload) => listener(payload);
      listeners.set(own, name);
      return () => listeners.delete(own);
    },
    connect() {
      starts++;
      connection.connect();
    },
    async close() {
      const own = starts;
      connection.close();
      await outbox.flush();
      if (own === starts) stores.batch(timers.end); // it may have been connected again meanwhile
    },
  };
}
