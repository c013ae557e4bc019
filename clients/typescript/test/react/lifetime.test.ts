// @vitest-environment jsdom

import { act, Activity, createElement, Fragment, StrictMode } from 'react';
import { expect, test, vi } from 'vitest';
import {
  ChatProvider,
  useClient,
  useConnection,
  useInbox,
  useMessages,
  usePresence,
  useRoom,
  useStore,
  useTyping,
} from '../../src/react.js';
import { FakeClient, FakeStore, GRACE, page, stored } from './fake.js';
import { screen } from './screen.js';

function Everything({ roomId }: { roomId: number }) {
  const room = useRoom(roomId);
  const { messages } = useMessages(roomId);
  const connection = useConnection();
  const inbox = useInbox();
  const typing = useTyping(roomId);
  const presence = usePresence(roomId);
  const shown = [room.roomId, messages.length, connection.status, inbox.unreadTotal, typing.length, presence.count];
  return createElement('p', null, shown.join(' '));
}

function everything(client: FakeClient, roomId: number) {
  return createElement(ChatProvider, { client: client.chat, children: createElement(Everything, { roomId }) });
}

/** The subscribers of each store, and what keeps the room open. */
function held(client: FakeClient, roomId: number) {
  const room = client.room(roomId);
  return [
    client.connection.subscribers,
    client.inbox.subscribers,
    room.messages.subscribers,
    room.typing.subscribers,
    room.presence.subscribers,
    room.holders,
  ];
}

const NOTHING = [0, 0, 0, 0, 0, 0];
const ONCE = [1, 1, 1, 1, 1, 1];

test('StrictMode mounts twice and leaves one subscription to each store', () => {
  const client = new FakeClient();
  const subscribed = vi.spyOn(client.connection, 'subscribe');
  screen().render(createElement(StrictMode, null, everything(client, 1)));
  expect(subscribed).toHaveBeenCalledTimes(2);
  expect(held(client, 1)).toEqual(ONCE);
});

test('unmounting releases everything', () => {
  const client = new FakeClient();
  const { render, unmount } = screen();
  render(everything(client, 1));
  expect(held(client, 1)).toEqual(ONCE);
  unmount();
  expect(held(client, 1)).toEqual(NOTHING);
});

test('rendering again subscribes to nothing again', () => {
  const client = new FakeClient();
  const room = client.room(1);
  const stores = [client.connection, client.inbox, room.messages, room.typing, room.presence];
  const subscribed = stores.map((store) => vi.spyOn(store, 'subscribe'));
  const opened = vi.spyOn(room, 'open');
  const { render } = screen();
  render(everything(client, 1));
  render(everything(client, 1));
  expect([...subscribed, opened].map((spy) => spy.mock.calls.length)).toEqual(ONCE);
});

test('another room replaces the one before', () => {
  const client = new FakeClient();
  client.room(1).show(page(1, 3));
  client.room(2).show(page(2, 5));
  const { element, render } = screen();
  render(everything(client, 1));
  expect(element.textContent).toBe('1 3 offline 0 0 0');
  render(everything(client, 2));
  expect(element.textContent).toBe('2 5 offline 0 0 0');
  expect(held(client, 1)).toEqual([1, 1, 0, 0, 0, 0]);
  expect(held(client, 2)).toEqual(ONCE);
  act(() => client.room(1).append(stored(1, 4)));
  act(() => client.room(2).typing.set([GRACE]));
  expect(element.textContent).toBe('2 5 offline 0 1 0');
});

test('another client replaces the one before', () => {
  const [before, after] = [new FakeClient(), new FakeClient()];
  after.connection.set({ status: 'online', userId: '1' });
  const { element, render } = screen();
  render(everything(before, 1));
  render(everything(after, 1));
  expect(element.textContent).toBe('1 0 online 0 0 0');
  expect(held(before, 1)).toEqual(NOTHING);
  expect(held(after, 1)).toEqual(ONCE);
});

test('what changes between a render and its subscription is shown', () => {
  const client = new FakeClient();
  const { subscribe } = client.room(1).messages;
  client.room(1).messages.subscribe = (listener) => {
    client.room(1).show(page(1, 2));
    return subscribe.call(client.room(1).messages, listener);
  };
  const { element, render } = screen();
  render(everything(client, 1));
  expect(element.textContent).toBe('1 2 offline 0 0 0');
});

test('a tree that was hidden finds the room that is in use when it is shown again', () => {
  const client = new FakeClient();
  const rooms = new Set<unknown>();
  function Chat() {
    rooms.add(useRoom(1));
    return createElement('p', null, useMessages(1).messages.length);
  }
  function app(mode: 'visible' | 'hidden') {
    const activity = createElement(Activity, { mode, children: createElement(Chat) });
    return createElement(ChatProvider, { client: client.chat, children: activity });
  }
  const { element, render } = screen();
  render(app('visible'));
  const before = client.room(1);
  render(app('hidden'));
  expect(held(client, 1)).toEqual(NOTHING);
  client.release(1);
  client.room(1).show(page(1, 7));
  render(app('visible'));
  expect(element.textContent).toBe('7');
  expect(rooms).toEqual(new Set([before, client.room(1)]));
  expect(client.room(1).holders).toBe(1);
  expect(before.holders + before.subscribers).toBe(0);
});

test('any store can be read', () => {
  const store = new FakeStore('before');
  const Value = () => createElement(Fragment, null, useStore(store));
  const { element, render, unmount } = screen();
  render(createElement(Value));
  act(() => store.set('after'));
  expect(element.textContent).toBe('after');
  unmount();
  expect(store.subscribers).toBe(0);
});

test('hooks without a provider say what is missing', () => {
  const Lost = () => createElement('p', null, useClient().toString());
  expect(() => screen().render(createElement(Lost))).toThrow('need a <ChatProvider>');
});
