// What an application relies on besides the stores: events, closing and connecting, rejoining.

import { expect, test, vi } from 'vitest';
import type { OutboxStorage } from '../src/index.js';
import { io, pass, stage, useStage } from './model/setup.js';

vi.mock('socket.io-client', () => ({ io: (...args: [string, never]) => io(...args) }));
useStage();

test('an application hears events, with what no store keeps', async () => {
  stage.gateway.addMember(1, 'ada');
  const client = stage.client('ada');
  const heard: unknown[] = [];
  const stop = client.on('roomRemoved', ({ roomId, reason }) => heard.push(roomId, reason, client.inbox.getSnapshot().rooms.length));
  client.on('roomRemoved', () => {
    throw new Error('a listener');
  });
  client.inbox.subscribe(() => {});
  client.connect();
  await pass(2_000);
  expect(client.inbox.getSnapshot().rooms.length).toBe(1);
  stage.gateway.ban(1, 'ada');
  await pass(1_000);
  expect(heard).toEqual([1, 'banned', 0]);
  expect(stage.errors).toEqual([new Error('a listener')]);
  stop();
  stage.gateway.addMember(2, 'ada');
  await pass(1_000);
  stage.gateway.ban(2, 'ada');
  await pass(1_000);
  expect(heard.length).toBe(3);
});

test('a client that is connected again while it closes opens one connection, and keeps it', async () => {
  let stored = () => {};
  const storage: OutboxStorage = {
    load: async () => [],
    put: () => new Promise<void>((resolve) => (stored = resolve)),
    remove: async () => {},
  };
  const open = vi.spyOn(stage.network, 'open');
  const client = stage.client('ada', { storage });
  client.connect();
  await pass(1_000);
  client.room(1).send('a');
  await pass(0);
  const closed = client.close();
  client.connect();
  await pass(50);
  stored();
  await closed;
  await pass(5_000);
  expect(open.mock.calls.length).toBe(2);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('a room that is joined again after a refusal is not left until that is answered', async () => {
  const client = stage.client('ada');
  client.connect();
  const room = client.room(1);
  const close = room.open();
  await pass(1_000);
  stage.gateway.ban(1, 'ada');
  await pass(1_000);
  expect(room.info.getSnapshot()).toMatchObject({ status: 'left', refusal: { reason: 'banned' } });
  close();
  client.close();
  await pass(6_000);
  client.connect();
  await pass(1_000);
  room.open();
  expect(room.info.getSnapshot().refusal).toBeUndefined();
  expect(room.info.getSnapshot().status).not.toBe('left');
  await pass(1_000);
  expect(room.info.getSnapshot()).toMatchObject({ status: 'left', refusal: { code: 'not_found' } });
});

test('the inbox is read even if it cannot be watched', async () => {
  stage.gateway.addMember(1, 'ada');
  const open = stage.network.open.bind(stage.network);
  vi.spyOn(stage.network, 'open').mockImplementation((options) => {
    const socket = open(options);
    const emit = socket.emit.bind(socket);
    const refusal = { ok: false, error: { code: 'unknown_event', message: 'not here', retryable: false } };
    socket.emit = (event, payload, ack) => (event === 'watchRooms' ? (ack(refusal), socket) : emit(event, payload, ack));
    return socket;
  });
  const client = stage.client('ada');
  client.inbox.subscribe(() => {});
  client.connect();
  await pass(2_000);
  expect(client.inbox.getSnapshot()).toMatchObject({ status: 'live', rooms: [{ roomId: 1 }] });
  stage.gateway.addMember(2, 'ada');
  await pass(6_000);
  expect(client.inbox.getSnapshot().rooms.length).toBe(2);
});

test('a room with a new message comes before rooms without messages', async () => {
  for (const roomId of [1, 2]) {
    stage.gateway.addMember(roomId, 'ada');
    await pass(1_000);
  }
  const client = stage.client('ada');
  client.inbox.subscribe(() => {});
  client.connect();
  await pass(2_000);
  const rooms = () => client.inbox.getSnapshot().rooms.map(({ roomId }) => roomId);
  expect(rooms()).toEqual([2, 1]);
  stage.gateway.post(1, 'bot', 'a');
  await pass(2_000);
  expect(rooms()).toEqual([1, 2]);
});
