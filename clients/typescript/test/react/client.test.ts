// @vitest-environment jsdom

import { act, createElement, memo, StrictMode } from 'react';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createClient } from '../../src/index.js';
import type { ShownMessage } from '../../src/index.js';
import {
  ChatProvider,
  messageKey,
  useClient,
  useConnection,
  useInbox,
  useMessages,
  usePresence,
  useRoom,
  useStore,
  useTyping,
} from '../../src/react.js';
import { ADA, GRACE } from './fake.js';
import { Gateway } from './gateway.js';
import { screen } from './screen.js';

const sockets = vi.hoisted(() => ({ io: (): unknown => undefined }));
vi.mock('socket.io-client', () => ({ io: () => sockets.io() }));

const ROOM = 1;
const TOKEN = `.${btoa(JSON.stringify({ sub: ADA.id, name: ADA.name }))}.`;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** Renders a room of 200 messages in StrictMode or without, and counts the renders from then on. */
async function conversation({ strict = false } = {}) {
  const gateway = new Gateway();
  sockets.io = gateway.io;
  for (let seq = 1; seq <= 200; seq += 1) gateway.store(GRACE, `message ${seq}`);
  const client = createClient({ url: 'http://gateway', token: () => TOKEN });

  let renders: Record<string, number> = {};
  const count = (name: string) => {
    renders[name] = (renders[name] ?? 0) + 1;
  };
  const Line = memo(function Line({ message }: { message: ShownMessage }) {
    count(message.content);
    return createElement('li', null, message.content, message.state === 'pending' ? ' …' : '');
  });
  const parts = {
    List() {
      count('list');
      const { messages } = useMessages(ROOM);
      return messages.map((message) => createElement(Line, { key: messageKey(message), message }));
    },
    Typing() {
      count('typing');
      return useTyping(ROOM).map(({ name }) => `${name} is typing`);
    },
    Presence() {
      count('presence');
      return `${usePresence(ROOM).count} present`;
    },
    Composer() {
      count('composer');
      return `room ${useRoom(ROOM).roomId}`;
    },
    Connection() {
      count('connection');
      return useConnection().status;
    },
    Rooms() {
      count('inbox');
      return `${useInbox().unreadTotal} unread`;
    },
    Settings() {
      count('info');
      return useStore(useClient().room(ROOM).info).status;
    },
  };

  const app = createElement(
    ChatProvider,
    { client },
    Object.entries(parts).map(([name, part]) => createElement('div', { key: name, id: name }, createElement(part))),
  );
  const { element, render, unmount } = screen();
  render(strict ? createElement(StrictMode, null, app) : app);
  act(() => client.connect());
  const settled = () => act(async () => void (await vi.advanceTimersByTimeAsync(100)));
  await settled();
  for (let page = 0; page < 3; page += 1) {
    act(() => void client.room(ROOM).messages.loadOlder());
    await settled();
  }
  expect(element.querySelectorAll('li')).toHaveLength(200);
  renders = {};
  return {
    gateway,
    client,
    element,
    unmount,
    settled,
    /** Returns what was rendered while this ran, and until all is quiet. */
    async during(run: () => unknown) {
      renders = {};
      await run();
      await settled();
      return renders;
    },
  };
}

test('a change of one message renders one message, and the list once', async () => {
  const { gateway, during, element } = await conversation();
  expect(await during(() => act(() => gateway.edit(100, 'edited')))).toEqual({ list: 1, edited: 1 });
  expect(element.querySelectorAll('li')[99]?.textContent).toBe('edited');
});

test('a new message renders one message, and the list once', async () => {
  const { client, gateway, during } = await conversation();
  await act(() => client.room(ROOM).messages.jumpToLatest());
  const renders = await during(() => act(() => void gateway.store(GRACE, 'new')));
  expect(renders).toEqual({ list: 1, new: 1, info: 1 });
});

test('typing renders no message', async () => {
  const { gateway, during, element } = await conversation();
  const event = { roomId: ROOM, userId: GRACE.id, user: GRACE, typing: true };
  expect(await during(() => act(() => gateway.emit('typing', event)))).toEqual({ typing: 1 });
  expect(element.querySelector('#Typing')?.textContent).toBe('Grace is typing');
});

test('presence renders no message', async () => {
  const { gateway, during, element } = await conversation();
  gateway.present.push(GRACE);
  expect(await during(() => act(async () => void (await vi.advanceTimersByTimeAsync(20_000))))).toEqual({ presence: 1 });
  expect(element.querySelector('#Presence')?.textContent).toBe('2 present');
});

test('a sent message is rendered as pending and as stored, in one element', async () => {
  const { client, element, during } = await conversation();
  await act(() => client.room(ROOM).messages.jumpToLatest());
  const last = () => element.querySelectorAll('li')[200];
  let pending: Element | undefined;
  const renders = await during(() => {
    act(() => void client.room(ROOM).send('hello'));
    pending = last();
    expect(pending?.textContent).toBe('hello …');
  });
  expect(renders).toEqual({ list: 2, hello: 2, info: 1 });
  expect(last()).toBe(pending);
  expect(pending?.textContent).toBe('hello');
  expect(element.querySelectorAll('li')).toHaveLength(201);
});

test('StrictMode joins the room once, and unmounting leaves it after a while', async () => {
  const { gateway, unmount, settled } = await conversation({ strict: true });
  const joined = () => gateway.received.filter((event) => event === 'joinRoom').length;
  const left = () => gateway.received.filter((event) => event === 'leaveRoom').length;
  expect([joined(), left()]).toEqual([1, 0]);
  unmount();
  await settled();
  expect(left()).toBe(0);
  await act(async () => void (await vi.advanceTimersByTimeAsync(5_000)));
  expect([joined(), left()]).toEqual([1, 1]);
});
