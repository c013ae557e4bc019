// @vitest-environment jsdom

import { act, createElement, memo } from 'react';
import { expect, test } from 'vitest';
import { ChatProvider, messageKey, useConnection, useMessages, usePresence, useRoom, useTyping } from '../../src/react.js';
import type { ShownMessage } from '../../src/index.js';
import { ADA, FakeClient, GRACE, page, stored } from './fake.js';
import { screen } from './screen.js';

const ROOM = 1;

/** A room of 200 messages on the screen, with the renders of its components since the last look. */
function conversation() {
  const renders = { list: 0, messages: [] as string[], typing: 0, room: 0, presence: 0, connection: 0 };
  const Line = memo(function Line({ message }: { message: ShownMessage }) {
    renders.messages.push(message.content);
    return createElement('li', null, message.content, message.state === 'pending' ? ' …' : '');
  });
  function List() {
    renders.list += 1;
    const { messages } = useMessages(ROOM);
    const lines = messages.map((message) => createElement(Line, { key: messageKey(message), message }));
    return createElement('ul', null, lines);
  }
  function Typing() {
    renders.typing += 1;
    return createElement('p', null, useTyping(ROOM).map((user) => user.name).join());
  }
  function Presence() {
    renders.presence += 1;
    return createElement('p', null, usePresence(ROOM).count);
  }
  function Composer() {
    renders.room += 1;
    return createElement('p', null, useRoom(ROOM).roomId);
  }
  function Connection() {
    renders.connection += 1;
    return createElement('p', null, useConnection().status);
  }
  const client = new FakeClient();
  const room = client.room(ROOM);
  room.show(page(ROOM, 200));
  const { element, render } = screen();
  const parts = [List, Typing, Presence, Composer, Connection].map((part) => createElement(part, { key: part.name }));
  render(createElement(ChatProvider, { client: client.chat, children: parts }));
  const since = () => {
    const counted = { ...renders };
    Object.assign(renders, { list: 0, messages: [], typing: 0, room: 0, presence: 0, connection: 0 });
    return counted;
  };
  const first = since();
  expect(first.messages).toHaveLength(200);
  expect(first.list).toBe(1);
  return { client, room, element, since };
}

const NOTHING = { list: 0, messages: [], typing: 0, room: 0, presence: 0, connection: 0 };

test('a change of one message renders that message and the list once', () => {
  const { room, element, since } = conversation();
  act(() => room.change(99, { content: 'edited', rev: 1 }));
  expect(since()).toEqual({ ...NOTHING, list: 1, messages: ['edited'] });
  expect(element.querySelectorAll('li')[99]?.textContent).toBe('edited');
});

test('a new message renders one message', () => {
  const { room, since } = conversation();
  act(() => room.append(stored(ROOM, 201)));
  expect(since()).toEqual({ ...NOTHING, list: 1, messages: ['message 201'] });
});

test('a page of older messages renders only those', () => {
  const { room, since } = conversation();
  const older = Array.from({ length: 50 }, (_, index) => stored(ROOM, index - 49, { content: `older ${index}` }));
  act(() => room.show([...older, ...room.messages.getSnapshot().messages]));
  expect(since()).toEqual({ ...NOTHING, list: 1, messages: older.map((each) => each.content) });
});

test('a pending message keeps its element once it is stored', () => {
  const { room, element, since } = conversation();
  const sent = { clientMessageId: 'c1', content: 'hello', user: ADA, createdAt: '2026-01-31T12:00:00.000Z' };
  act(() => room.append({ ...sent, state: 'pending' }));
  const pending = element.querySelectorAll('li')[200];
  expect(pending?.textContent).toBe('hello …');
  since();
  const others = room.messages.getSnapshot().messages.slice(0, 200);
  act(() => room.show([...others, stored(ROOM, 201, { ...sent, userId: ADA.id })]));
  expect(since()).toEqual({ ...NOTHING, list: 1, messages: ['hello'] });
  expect(element.querySelectorAll('li')[200]).toBe(pending);
  expect(pending?.textContent).toBe('hello');
});

test('equal ids of two users are two messages', () => {
  const ofAda = stored(ROOM, 1, { clientMessageId: 'c1', user: ADA });
  const ofGrace = stored(ROOM, 2, { clientMessageId: 'c1', user: GRACE });
  expect(messageKey(ofAda)).not.toBe(messageKey(ofGrace));
});

test('typing, presence and the connection render no message', () => {
  const { client, room, since } = conversation();
  act(() => room.typing.set([GRACE]));
  expect(since()).toEqual({ ...NOTHING, typing: 1 });
  act(() => room.presence.set({ users: [GRACE], count: 1, complete: true }));
  expect(since()).toEqual({ ...NOTHING, presence: 1 });
  act(() => client.connection.set({ status: 'online', userId: '1' }));
  expect(since()).toEqual({ ...NOTHING, connection: 1 });
});

test('changes within one task render the list once', () => {
  const { room, since } = conversation();
  act(() => {
    for (const index of [3, 1, 2]) room.change(index, { content: `edited ${index}`, rev: index });
    room.append(stored(ROOM, 201));
  });
  expect(since()).toEqual({ ...NOTHING, list: 1, messages: ['edited 1', 'edited 2', 'edited 3', 'message 201'] });
});
