// A client made of stores that a test sets, and that count their subscribers.

import type {
  ChatClient,
  ConnectionState,
  InboxSnapshot,
  Message,
  Messages,
  MessagesSnapshot,
  Presence,
  Room,
  ShownMessage,
  Store,
  User,
} from '../../src/index.js';

export class FakeStore<T> implements Store<T> {
  readonly #listeners = new Set<() => void>();
  #snapshot: T;

  constructor(snapshot: T) {
    this.#snapshot = snapshot;
  }

  get subscribers(): number {
    return this.#listeners.size;
  }

  getSnapshot(): T {
    return this.#snapshot;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  set(snapshot: T): void {
    this.#snapshot = snapshot;
    for (const listener of [...this.#listeners]) listener();
  }
}

export class FakeRoom {
  readonly messages = new FakeStore<MessagesSnapshot>({
    messages: [],
    hasOlder: false,
    hasNewer: false,
    loading: undefined,
    status: 'live',
  });
  readonly typing = new FakeStore<readonly User[]>([]);
  readonly presence = new FakeStore<Presence>({ users: [], count: 0, complete: true });
  holders = 0;

  constructor(readonly roomId: number) {}

  open(): () => void {
    this.holders += 1;
    return () => {
      this.holders -= 1;
    };
  }

  /** Shows these messages, and leaves the rest of the snapshot as it is. */
  show(messages: readonly ShownMessage[]): void {
    this.messages.set({ ...this.messages.getSnapshot(), messages });
  }

  /** Replaces one message, and keeps the identity of the others. */
  change(index: number, change: Partial<Message>): void {
    const shown = this.messages.getSnapshot().messages;
    this.show(shown.map((each, at) => (at === index ? ({ ...each, ...change } as ShownMessage) : each)));
  }

  append(message: ShownMessage): void {
    this.show([...this.messages.getSnapshot().messages, message]);
  }

  get subscribers(): number {
    return this.messages.subscribers + this.typing.subscribers + this.presence.subscribers;
  }
}

export class FakeClient {
  readonly connection = new FakeStore<ConnectionState>({ status: 'offline' });
  readonly inbox = new FakeStore<InboxSnapshot>({
    rooms: [],
    unreadTotal: 0,
    hasMore: false,
    status: 'live',
  });
  readonly rooms = new Map<number, FakeRoom>();

  room(roomId: number): FakeRoom {
    const room = this.rooms.get(roomId) ?? new FakeRoom(roomId);
    this.rooms.set(roomId, room);
    return room;
  }

  /** Forgets a room, as a client does with one that has not been used for a while. */
  release(roomId: number): void {
    this.rooms.delete(roomId);
  }

  /** The same client, for the hooks, which use no more of it than there is. */
  get chat(): ChatClient {
    return this as unknown as ChatClient;
  }
}

// The hooks read these members; a fake that is no such store does not compile.
null as unknown as FakeClient satisfies {
  connection: ChatClient['connection'];
  inbox: Store<InboxSnapshot>;
  room(roomId: number): {
    messages: Store<ReturnType<Messages['getSnapshot']>>;
    typing: Room['typing'];
    presence: Room['presence'];
    open: Room['open'];
  };
};

export const ADA: User = { id: '1', name: 'Ada' };
export const GRACE: User = { id: '2', name: 'Grace' };

export function stored(roomId: number, seq: number, more: Partial<Message> = {}): ShownMessage {
  return {
    state: 'stored',
    id: roomId * 10_000 + seq,
    roomId,
    seq,
    content: `message ${seq}`,
    createdAt: '2026-01-31T12:00:00.000Z',
    userId: GRACE.id,
    user: GRACE,
    ...more,
  };
}

export function page(roomId: number, count: number): ShownMessage[] {
  return Array.from({ length: count }, (_, index) => stored(roomId, index + 1));
}
