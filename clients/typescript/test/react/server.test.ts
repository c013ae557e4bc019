// @vitest-environment jsdom

import { act, createElement } from 'react';
import { hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { expect, test } from 'vitest';
import { ChatProvider, useConnection, useInbox, useMessages, usePresence, useRoom, useTyping } from '../../src/react.js';
import { FakeClient, GRACE, page } from './fake.js';
import './screen.js';

function Everything() {
  const room = useRoom(1);
  const { messages, status } = useMessages(1);
  const shown = [
    room.roomId,
    messages.length,
    status,
    useConnection().status,
    useInbox().unreadTotal,
    useTyping(1).length,
    usePresence(1).count,
  ];
  return createElement('p', null, shown.join(' '));
}

function everything(client: FakeClient) {
  return createElement(ChatProvider, { client: client.chat, children: createElement(Everything) });
}

const OF_THE_SERVER = '1 0 loading connecting 0 0 0';

/** A client that has received all sorts of things. */
function busy(): FakeClient {
  const client = new FakeClient();
  client.connection.set({ status: 'online', userId: '1' });
  client.inbox.set({ rooms: [], unreadTotal: 3, hasMore: false, status: 'live' });
  client.room(1).show(page(1, 5));
  client.room(1).typing.set([GRACE]);
  client.room(1).presence.set({ users: [GRACE], count: 1, complete: true });
  return client;
}

test('a server renders the same whatever its client has received, and subscribes to nothing', () => {
  const client = busy();
  expect(renderToString(everything(client))).toBe(`<p>${OF_THE_SERVER}</p>`);
  expect(renderToString(everything(new FakeClient()))).toBe(`<p>${OF_THE_SERVER}</p>`);
  expect(client.room(1).subscribers + client.room(1).holders + client.connection.subscribers).toBe(0);
});

test('a browser hydrates without a mismatch, then shows what it has', async () => {
  const element = document.createElement('div');
  element.innerHTML = renderToString(everything(new FakeClient()));
  const paragraph = element.querySelector('p');
  const errors: unknown[] = [];
  const root = await act(() =>
    hydrateRoot(element, everything(busy()), { onRecoverableError: (error) => errors.push(error) }),
  );
  expect(errors).toEqual([]);
  expect(element.textContent).toBe('1 5 live online 3 1 1');
  expect(element.querySelector('p')).toBe(paragraph);
  act(() => root.unmount());
});
