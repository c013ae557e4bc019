// @vitest-environment jsdom

import { createElement, startTransition, useEffect, useLayoutEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { expect, test } from 'vitest';
import { ChatProvider, useMessages } from '../../src/react.js';
import { FakeClient, page, stored } from './fake.js';
import { withoutAct } from './screen.js';

const PARTS = 20;

/** Returns how many messages a room shows. */
type Count = (client: FakeClient, roomId: number) => number;

const count: Count = (_client, roomId) => useMessages(roomId).messages.length;

/** Reads the store behind React's back, which proves that the test below notices a torn state. */
const countNaively: Count = (client, roomId) => {
  const { messages } = client.room(roomId);
  const [, render] = useState(0);
  useEffect(() => messages.subscribe(() => render((renders) => renders + 1)), [messages]);
  return messages.getSnapshot().messages.length;
};

/**
 * Switches from room 1, of 10 messages, to room 2, of 20, in a transition that React renders in
 * slices. Between two of them, room 2 receives a message. Returns the different counts that the
 * parts showed after the switch, and how many parts were rendered before the message.
 */
async function switchOfRooms(useCount: Count) {
  withoutAct();
  const client = new FakeClient();
  client.room(1).show(page(1, 10));
  client.room(2).show(page(2, 20));
  const element = document.createElement('div');
  let shown: Set<string | null> = new Set();
  let rendered = 0;
  let show: (roomId: number) => void = () => {};

  function App() {
    const [roomId, setRoomId] = useState(1);
    show = setRoomId;
    return Array.from({ length: PARTS }, (_, key) => createElement(Part, { key, roomId }));
  }
  function Part({ roomId }: { roomId: number }) {
    const messages = useCount(client, roomId);
    if (roomId === 2) {
      rendered += 1;
      // Longer than React's slice of 5 ms: it yields after each part.
      const end = performance.now() + 6;
      while (performance.now() < end);
    }
    useLayoutEffect(() => {
      shown = new Set([...element.children].map((part) => part.textContent));
    });
    return createElement('p', null, messages);
  }

  const root = createRoot(element);
  root.render(createElement(ChatProvider, { client: client.chat, children: createElement(App) }));
  await until(() => shown.has('10'));
  startTransition(() => show(2));
  await until(() => rendered >= 3);
  const before = rendered;
  client.room(2).append(stored(2, 21));
  await until(() => !shown.has('10'));
  root.unmount();
  return { shown, before };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

test('a transition shows no torn state', async () => {
  const { shown, before } = await switchOfRooms(count);
  expect(before).toBeLessThan(PARTS);
  expect(shown).toEqual(new Set(['21']));
});

test('a hook that reads the store behind the back of React shows one', async () => {
  const { shown } = await switchOfRooms(countNaively);
  expect(shown).toEqual(new Set(['20', '21']));
});
