// The package's public types, besides those of the contract.

import type { ManagerOptions, SocketOptions } from 'socket.io-client';
import type {
  ClientEvent,
  Member,
  Message,
  Notify,
  Payload,
  Result,
  Room as RoomSettings,
  ServerEvent,
  ServerEvents,
  Summary,
  User,
} from './contract.js';
import type { ChatError } from './errors.js';

/** A value that changes, as `useSyncExternalStore` of React takes it. */
export interface Store<T> {
  /** Returns the current value: the same object until something in it has changed. */
  getSnapshot(): T;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

export interface ClientOptions {
  /** The gateway's address, such as `https://chat.example.com`. */
  url: string;
  /**
   * Returns a current token, with or without `Bearer `. Called before each connection, and with
   * `renew` before the token of a connection expires. The fields `sub`, `name` and `exp` are read
   * from it, unverified. A token with another `sub` switches the user.
   */
  token: (reason: 'connect' | 'renew') => string | Promise<string>;
  /** Keeps messages that are not stored yet across a closed tab or a restart. */
  storage?: OutboxStorage;
  /** Options for socket.io-client, such as `path` or `transports`: a WebSocket, or else long-polling. */
  socket?: Partial<ManagerOptions & SocketOptions>;
  /** Receives errors that no caller awaits, such as those of a storage. Default: `console.error`. */
  onError?: (error: unknown) => void;
}

export type ConnectionState =
  /** Not started, closed, or without a network. */
  | { readonly status: 'offline' }
  /** `retryAt` is when the next attempt begins, in ms since the epoch, while one is awaited. */
  | { readonly status: 'connecting'; readonly retryAt?: number }
  | { readonly status: 'online'; readonly userId: string }
  /** Final until `connect()` is called again. `code` is the gateway's, such as `token_invalid`. */
  | { readonly status: 'refused'; readonly code: string };

export interface UserStatus {
  readonly online: boolean;
  readonly lastSeenAt?: string;
}

export interface ChatClient {
  readonly connection: Store<ConnectionState>;
  readonly inbox: Inbox;
  /** Returns the room: the same object for the same number while it is in use. */
  room(roomId: number): Room;
  /** Returns whether a user is online, watched while the store has a subscriber (at most 200). */
  watchUser(userId: string): Store<UserStatus>;
  /**
   * Sends any event of the contract once, on the current connection. Rejects with a `ChatError`; if
   * it is `retryable`, the event may be sent again.
   */
  call<E extends ClientEvent>(event: E, payload: Payload<E>): Promise<Result<E>>;
  /** Calls `listener` with each event of the gateway, until the returned function is called. */
  on<E extends ServerEvent>(event: E, listener: (payload: ServerEvents[E]) => void): () => void;
  /** Connects, and stays connected until `close()`. */
  connect(): void;
  /** Disconnects. Resolves once the storage has what is waiting. `connect()` starts again. */
  close(): Promise<void>;
}

export type SendMore = {
  /** The `seq` of an earlier message in the room. */
  replyTo?: number;
  /** User ids, at most 50. */
  mentions?: readonly string[];
  /** A JSON object of at most 2 KiB. */
  metadata?: Record<string, unknown>;
};

export interface Room {
  readonly roomId: number;
  readonly messages: Messages;
  readonly info: Store<RoomInfo>;
  readonly members: Members;
  /** Others who are typing now. */
  readonly typing: Store<readonly User[]>;
  readonly presence: Store<Presence>;
  /** How far others have read, by user id, as far as it was seen by this client. */
  readonly reads: Store<ReadonlyMap<string, number>>;
  /** Keeps the room joined until the returned function is called. */
  open(): () => void;
  /**
   * Sends a message, however often the connection breaks, after those sent before. It is shown at
   * once. Returns its `clientMessageId`.
   */
  send(content: string, more?: SendMore): string;
  /** Sends a failed message again, after all others. */
  retry(clientMessageId: string): void;
  /** Drops a message that is not stored. One that is on its way may be stored nevertheless. */
  discard(clientMessageId: string): void;
  /** Resolves to the message in its newest state, as do `delete` and `react`. */
  edit(seq: number, content: string): Promise<Message>;
  delete(seq: number): Promise<Message>;
  /** Sets a reaction, or clears it if `on` is false. */
  react(seq: number, key: string, on?: boolean): Promise<Message>;
  /** Marks the room as read up to `seq`; by default, the newest message shown. */
  markRead(seq?: number): Promise<void>;
  /** Call it for each key: it is throttled. */
  setTyping(typing: boolean): void;
}

export type RoomStatus = 'loading' | 'live' | 'catching-up' | 'offline' | 'left';

export interface RoomInfo {
  /** The room's settings, once they are known. */
  readonly room?: RoomSettings;
  /** The number of the newest message. */
  readonly seq: number;
  readonly readSeq: number;
  readonly unread: number;
  readonly status: RoomStatus;
  /** Why the status is `left`: the gateway's code, and the `reason` it gave. */
  readonly refusal?: ChatError;
}

export interface Members extends Store<MembersSnapshot> {
  loadMore(): Promise<void>;
}

export interface MembersSnapshot {
  /** Ascending by user id. */
  readonly members: readonly Member[];
  readonly hasMore: boolean;
}

export interface Presence {
  /** At most 200. */
  readonly users: readonly User[];
  readonly count: number;
  readonly complete: boolean;
}

export interface Messages extends Store<MessagesSnapshot> {
  loadOlder(): Promise<void>;
  /** At the newest message: follows what is new from now on. */
  loadNewer(): Promise<void>;
  jumpTo(seq: number): Promise<void>;
  jumpToLatest(): Promise<void>;
}

export interface MessagesSnapshot {
  /** Stored ones, ascending and without a gap, then those not stored yet, in the order of sending. */
  readonly messages: readonly ShownMessage[];
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
  readonly loading: 'first' | 'older' | 'newer' | undefined;
  readonly status: RoomStatus;
}

export type StoredMessage = Message & { readonly state: 'stored' };

export interface UnstoredMessage {
  readonly state: 'pending' | 'failed';
  readonly clientMessageId: string;
  readonly content: string;
  readonly user: User;
  readonly createdAt: string;
  readonly replyTo?: number;
  readonly mentions?: readonly string[];
  readonly metadata?: Record<string, unknown>;
  /** Why it failed. */
  readonly error?: ChatError;
}

export type ShownMessage = StoredMessage | UnstoredMessage;

export interface Inbox extends Store<InboxSnapshot> {
  loadMore(): Promise<void>;
  setNotify(roomId: number, notify: Notify): Promise<void>;
}

export interface InboxSnapshot {
  /** The newest activity first. */
  readonly rooms: readonly Summary[];
  readonly unreadTotal: number;
  readonly hasMore: boolean;
  readonly status: 'loading' | 'live' | 'offline';
}

/** A message that is not stored yet, as a storage keeps it. */
export interface StoredSend {
  readonly userId: string;
  readonly roomId: number;
  readonly clientMessageId: string;
  readonly content: string;
  readonly replyTo?: number;
  readonly mentions?: readonly string[];
  readonly metadata?: Record<string, unknown>;
  readonly createdAt: string;
  /** Ascends in the order of sending. */
  readonly position: number;
  readonly failed?: { readonly code: string; readonly message: string };
}

/** Operations on different entries may overlap. Those on one entry do not. */
export interface OutboxStorage {
  /** Returns what is kept, by `position`. */
  load(): Promise<readonly StoredSend[]>;
  /** Keeps an entry, instead of an earlier one with the same `clientMessageId`. */
  put(entry: StoredSend): Promise<void>;
  remove(clientMessageId: string): Promise<void>;
}
