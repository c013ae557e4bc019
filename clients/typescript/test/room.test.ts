import { expect, test, vi } from 'vitest';
import type { OutboxStorage, StoredSend } from '../src/index.js';
import { io, pass, stage, useStage } from './model/setup.js';

vi.mock('socket.io-client', () => ({ io: (...args: [string, never]) => io(...args) }));
useStage();

const events = (roomId: number) => stage.gateway.log.filter(({ payload }) => payload.roomId === roomId).map(({ event }) => event);

function storageOf(...kept: StoredSend[]): OutboxStorage & { entries: Map<string, StoredSend> } {
  const entries = new Map(kept.map((entry) => [entry.clientMessageId, entry]));
  return {
    entries,
    load: async () => [...entries.values()],
    put: async (entry) => void entries.set(entry.clientMessageId, entry),
    remove: async (id) => void entries.delete(id),
  };
}

const kept = (position: number, userId = 'ada'): StoredSend => ({
  userId,
  roomId: 1,
  clientMessageId: `kept-${position}`,
  content: `kept ${position}`,
  createdAt: '2026-01-31T12:00:00.000Z',
  position,
});

test('a room is joined while it is used, and for five seconds after', async () => {
  const client = stage.client('ada');
  client.connect();
  const room = client.room(1);
  await pass(1_000);
  expect(events(1)).toEqual([]);
  room.messages.subscribe(() => {})();
  await pass(4_000);
  const close = room.open();
  await pass(10_000);
  expect(events(1)).toEqual(['joinRoom', 'listMessages']);
  close();
  close();
  await pass(4_500);
  expect(events(1)).not.toContain('leaveRoom');
  await pass(1_000);
  expect(events(1)).toEqual(['joinRoom', 'listMessages', 'leaveRoom']);
  expect(client.room(1)).toBe(room);
});

test('a room that was left keeps its newest page, and resumes there', async () => {
  for (let i = 1; i <= 120; i++) stage.gateway.post(1, 'bot', `${i}`);
  const client = stage.client('ada');
  client.connect();
  const { messages } = client.room(1);
  const unsubscribe = messages.subscribe(() => {});
  await pass(1_000);
  await Promise.all([messages.loadOlder(), pass(1_000)]);
  expect(messages.getSnapshot().messages.length).toBe(100);
  unsubscribe();
  await pass(7_000);
  expect(messages.getSnapshot().messages.length).toBe(50);
  stage.gateway.post(1, 'bot', '121');
  messages.subscribe(() => {});
  await pass(1_000);
  expect(messages.getSnapshot()).toMatchObject({ status: 'live', hasOlder: true, hasNewer: false });
  expect(messages.getSnapshot().messages.length).toBe(51);
  expect(stage.gateway.log.at(-1)).toMatchObject({ event: 'joinRoom', payload: { afterSeq: 119 } });
});

test('a message is pending at once, then stored, in the order of sending', async () => {
  const client = stage.client('ada');
  client.connect();
  await pass(500);
  const room = client.room(1);
  const ids = ['a', 'b', 'c'].map((text) => room.send(text, { replyTo: 1 }));
  const shown = () => room.messages.getSnapshot().messages.map((m) => [m.state, m.content, m.clientMessageId, m.user.name]);
  expect(shown()).toEqual(['a', 'b', 'c'].map((text, index) => ['pending', text, ids[index], 'ada']));
  await pass(3_000);
  expect(stage.gateway.room(1).messages.map(({ content }) => content)).toEqual(['a', 'b', 'c']);
  room.messages.subscribe(() => {});
  await pass(3_000);
  expect(shown()).toEqual(['a', 'b', 'c'].map((text, index) => ['stored', text, ids[index], 'ada']));
});

test('a refused message is shown as failed, does not block others, and is sent last when retried', async () => {
  const storage = storageOf();
  const client = stage.client('ada', { storage });
  client.connect();
  const room = client.room(1);
  room.messages.subscribe(() => {});
  await pass(500);
  const id = room.send('refuse');
  room.send('next');
  await pass(3_000);
  const last = room.messages.getSnapshot().messages.at(-1);
  expect(last).toMatchObject({ state: 'failed', content: 'refuse', error: { code: 'forbidden', retryable: false } });
  expect(storage.entries.get(id)?.failed).toMatchObject({ code: 'forbidden' });
  expect(stage.gateway.room(1).messages.map(({ content }) => content)).toEqual(['next']);
  room.retry(id);
  expect(room.messages.getSnapshot().messages.at(-1)?.state).toBe('pending');
  await pass(3_000);
  expect(room.messages.getSnapshot().messages.at(-1)?.state).toBe('failed');
  room.discard(id);
  expect(room.messages.getSnapshot().messages.map(({ content }) => content)).toEqual(['next']);
  await pass(100);
  expect(storage.entries.size).toBe(0);
});

test('what a storage kept is sent after a restart, before what is written meanwhile', async () => {
  const failed = { ...kept(3), failed: { code: 'forbidden', message: 'no' } };
  const storage = storageOf(kept(2), kept(1), failed, kept(4, 'bob'));
  const client = stage.client('ada', { storage });
  client.room(1).send('new');
  client.connect();
  await pass(5_000);
  expect(stage.gateway.room(1).messages.map(({ content }) => content)).toEqual(['kept 1', 'kept 2', 'new']);
  expect([...storage.entries.keys()].sort()).toEqual(['kept-3', 'kept-4']);
  const { messages } = client.room(1).messages.getSnapshot();
  expect(messages.filter((m) => m.state !== 'stored').map((m) => [m.state, m.content])).toEqual([['failed', 'kept 3']]);
});

test('a storage that hangs or fails is reported, and stops nothing', async () => {
  const never = () => new Promise<never>(() => {});
  const client = stage.client('ada', {
    storage: { load: never, put: () => Promise.reject(new Error('full')), remove: never },
  });
  client.connect();
  client.room(1).send('x');
  await pass(8_000);
  expect(stage.gateway.room(1).messages.map(({ content }) => content)).toEqual(['x']);
  await pass(20_000);
  expect(stage.errors.map(String)).toEqual([
    'Error: full',
    'Error: the storage took longer than 5000 ms',
    'Error: the storage took longer than 5000 ms',
  ]);
});

test('a user who is banned sees why, keeps what was shown, and what waits fails', async () => {
  const client = stage.client('ada');
  client.connect();
  const room = client.room(1);
  room.messages.subscribe(() => {});
  stage.gateway.post(1, 'bot', 'hello');
  await pass(1_000);
  stage.gateway.ban(1, 'ada');
  const id = room.send('late');
  const edit = room.edit(1, 'x').catch((error) => error);
  await pass(3_000);
  expect(room.messages.getSnapshot()).toMatchObject({ status: 'left', messages: [{ content: 'hello' }, { state: 'failed' }] });
  expect(room.info.getSnapshot()).toMatchObject({ status: 'left', refusal: { code: 'not_found' } });
  expect(await edit).toMatchObject({ code: 'not_found' });
  stage.gateway.room(1).banned.delete('ada');
  room.retry(id);
  await pass(3_000);
  expect(room.messages.getSnapshot()).toMatchObject({ status: 'live', messages: [{ content: 'hello' }, { content: 'late' }] });
});

test('typing expires by itself, ends with a message, and is sent every three seconds', async () => {
  const client = stage.client('ada');
  client.connect();
  const room = client.room(1);
  room.typing.subscribe(() => {});
  await pass(1_000);
  const tell = (typing: boolean) => {
    for (const { push } of stage.gateway.connections) push('typing', { roomId: 1, userId: 'bob', user: { id: 'bob', name: 'Bob' }, typing });
  };
  tell(true);
  await pass(1_000);
  expect(room.typing.getSnapshot()).toEqual([{ id: 'bob', name: 'Bob' }]);
  await pass(7_000);
  expect(room.typing.getSnapshot()).toEqual([]);
  tell(true);
  await pass(1_000);
  stage.gateway.post(1, 'bob', 'done');
  await pass(1_000);
  expect(room.typing.getSnapshot()).toEqual([]);
  for (let i = 0; i < 40; i++) {
    room.setTyping(true);
    await pass(100);
  }
  room.setTyping(false);
  room.setTyping(false);
  await pass(1_000);
  expect(stage.gateway.log.filter(({ event }) => event === 'setTyping').map(({ payload }) => payload.typing)).toEqual([true, true, false]);
});

test('marking as read is one request at a time, and moves the unread count', async () => {
  for (let i = 1; i <= 10; i++) stage.gateway.post(1, 'bot', `${i}`);
  const client = stage.client('ada');
  client.connect();
  const room = client.room(1);
  room.messages.subscribe(() => {});
  await pass(1_000);
  expect(room.info.getSnapshot()).toMatchObject({ seq: 10, readSeq: 0, unread: 10 });
  for (let seq = 1; seq <= 9; seq++) void room.markRead(seq);
  await pass(1_000);
  expect(events(1).filter((event) => event === 'markRead').length).toBe(2);
  expect(room.info.getSnapshot()).toMatchObject({ readSeq: 9, unread: 1 });
  await Promise.all([room.markRead(), pass(1_000)]);
  expect(room.info.getSnapshot()).toMatchObject({ readSeq: 10, unread: 0 });
});

test('a listener that throws stops no other, and one packet is one notification', async () => {
  const client = stage.client('ada');
  client.connect();
  const { messages, info } = client.room(1);
  messages.subscribe(() => {
    throw new Error('broken listener');
  });
  const seen = vi.fn();
  messages.subscribe(seen);
  await pass(1_000);
  seen.mockClear();
  stage.gateway.post(1, 'bot', 'one');
  info.subscribe(() => {});
  await pass(1_000);
  expect(seen).toHaveBeenCalledTimes(1);
  expect(messages.getSnapshot()).toBe(messages.getSnapshot());
  expect(String(stage.errors[0])).toBe('Error: broken listener');
});

test('an action that no connection answers fails after thirty seconds', async () => {
  const client = stage.client('ada');
  const react = client.room(1).react(1, 'x').catch((error) => error);
  await pass(31_000);
  expect(await react).toMatchObject({ code: 'disconnected', retryable: true });
});

test('rooms that nobody uses are released, and come back as the same object', async () => {
  const client = stage.client('ada');
  client.connect();
  await pass(500);
  const first = client.room(1);
  const close = client.room(2).open();
  for (let roomId = 3; roomId <= 200; roomId++) client.room(roomId);
  expect(client.room(1)).toBe(first);
  first.messages.subscribe(() => {});
  for (let roomId = 3; roomId <= 200; roomId++) client.room(roomId);
  stage.gateway.post(1, 'bot', 'x');
  await pass(1_000);
  expect(first.messages.getSnapshot().messages.length).toBe(1);
  close();
});
