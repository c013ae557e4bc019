'use client';

// React hooks over the stores of a client. A component renders when the snapshot it reads has
// changed, and only then: a typing user renders no message.
//
// A hook looks a room up at each subscription and each snapshot, and keeps no room between
// renders. So a tree that was hidden until its room was released finds the room that is in use
// when it is shown again, and a render that React throws away holds nothing.

import { createContext, createElement, useCallback, useContext, useSyncExternalStore } from 'react';
import type { ReactElement, ReactNode } from 'react';
import type {
  ChatClient,
  ConnectionState,
  InboxSnapshot,
  MessagesSnapshot,
  Presence,
  Room,
  ShownMessage,
  Store,
  User,
} from './index.js';

// What a server renders. A browser renders the same as it hydrates, whatever it has received by
// then, and the current snapshots right after.
const CONNECTING: ConnectionState = { status: 'connecting' };
const NO_ROOMS: InboxSnapshot = { rooms: [], unreadTotal: 0, hasMore: false, status: 'loading' };
const NO_MESSAGES: MessagesSnapshot = {
  messages: [],
  hasOlder: false,
  hasNewer: false,
  loading: 'first',
  status: 'loading',
};
const NO_USERS: readonly User[] = [];
const NOT_PRESENT: Presence = { users: NO_USERS, count: 0, complete: false };

const ClientContext = createContext<ChatClient | undefined>(undefined);

/**
 * Provides a client to the hooks of its descendants. Connecting and closing it stays with its
 * owner, because a client may live longer than a tree.
 */
export function ChatProvider(props: { client: ChatClient; children?: ReactNode }): ReactElement {
  return createElement(ClientContext.Provider, { value: props.client }, props.children);
}

/** Returns the client of the nearest `ChatProvider`. Throws without one. */
export function useClient(): ChatClient {
  const client = useContext(ClientContext);
  if (!client) throw new Error('the hooks of chat-gateway-client need a <ChatProvider>');
  return client;
}

/**
 * Returns the snapshot of a store, such as `room.reads` or `client.watchUser(id)`. The store must be
 * the same object in each render. `server` is what a server renders, and a browser as it hydrates;
 * the current snapshot if absent.
 */
export function useStore<T>(store: Store<T>, server?: T): T {
  const subscribe = useCallback((listener: () => void) => store.subscribe(listener), [store]);
  const snapshot = () => store.getSnapshot();
  return useSyncExternalStore(subscribe, snapshot, server === undefined ? snapshot : () => server);
}

/** Returns the state of the connection. */
export function useConnection(): ConnectionState {
  return useStore(useClient().connection, CONNECTING);
}

/** Returns the rooms in which the user has membership, and watches them while mounted. */
export function useInbox(): InboxSnapshot {
  return useStore(useClient().inbox, NO_ROOMS);
}

/** Returns a room, and keeps it joined while mounted. What happens in the room renders nothing. */
export function useRoom(roomId: number): Room {
  const client = useClient();
  const open = useCallback(() => client.room(roomId).open(), [client, roomId]);
  const room = () => client.room(roomId);
  return useSyncExternalStore(open, room, room);
}

/** Returns the messages of a room: those stored, then those of the user that are not stored yet. */
export function useMessages(roomId: number): MessagesSnapshot {
  return useRoomStore(roomId, messages, NO_MESSAGES);
}

/** Returns the others who type in a room now. */
export function useTyping(roomId: number): readonly User[] {
  return useRoomStore(roomId, typing, NO_USERS);
}

/** Returns the users who are in a room now. */
export function usePresence(roomId: number): Presence {
  return useRoomStore(roomId, presence, NOT_PRESENT);
}

/**
 * Returns a React key for a message, unique in its room. It stays the same when a pending message
 * has been stored, so that its component is kept.
 */
export function messageKey(message: ShownMessage): string {
  return message.state === 'stored' && message.clientMessageId === undefined
    ? `#${message.seq}`
    : `${message.clientMessageId}@${message.user.id}`;
}

const messages = (room: Room) => room.messages;
const typing = (room: Room) => room.typing;
const presence = (room: Room) => room.presence;

/** `select` must be the same function in each render. */
function useRoomStore<T>(roomId: number, select: (room: Room) => Store<T>, server: T): T {
  const client = useClient();
  const subscribe = useCallback(
    (listener: () => void) => select(client.room(roomId)).subscribe(listener),
    [client, roomId, select],
  );
  const snapshot = () => select(client.room(roomId)).getSnapshot();
  return useSyncExternalStore(subscribe, snapshot, () => server);
}
