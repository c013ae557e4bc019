import { expect, test, vi } from 'vitest';
import { io, pass, stage, useStage } from './model/setup.js';

vi.mock('socket.io-client', () => ({ io: (...args: [string, never]) => io(...args) }));
useStage();

const asked = () => stage.gateway.log.filter(({ event }) => event === 'listRooms' || event === 'watchRooms').map(({ event }) => event);

async function rooms(count: number): Promise<void> {
  for (let roomId = 1; roomId <= count; roomId++) {
    stage.gateway.addMember(roomId, 'ada');
    stage.gateway.post(roomId, 'bot', `in ${roomId}`);
    await pass(10);
  }
}

test('the inbox is watched while it is used, and loads page by page', async () => {
  await rooms(120);
  const client = stage.client('ada');
  client.connect();
  await pass(1_000);
  expect(asked()).toEqual([]);
  const unsubscribe = client.inbox.subscribe(() => {});
  const ids = () => client.inbox.getSnapshot().rooms.map(({ roomId }) => roomId);
  const newest = (count: number) => Array.from({ length: count }, (_, index) => 120 - index);
  await pass(1_000);
  expect(ids()).toEqual(newest(50));
  expect(client.inbox.getSnapshot()).toMatchObject({ unreadTotal: 120, hasMore: true, status: 'live' });
  await Promise.all([client.inbox.loadMore(), client.inbox.loadMore(), pass(1_000)]);
  expect(ids()).toEqual(newest(100));
  await Promise.all([client.inbox.loadMore(), pass(1_000)]);
  expect(ids()).toEqual(newest(120));
  expect(client.inbox.getSnapshot().hasMore).toBe(false);
  unsubscribe();
  await pass(6_000);
  stage.network.cutAll();
  const before = asked().length;
  await pass(5_000);
  expect(asked().length).toBe(before);
});

test('a room with news comes first, wherever it was; one that is only read keeps its place', async () => {
  await rooms(60);
  const client = stage.client('ada');
  client.connect();
  client.inbox.subscribe(() => {});
  await pass(1_000);
  stage.gateway.post(3, 'bot', 'news'); // behind the first page
  stage.gateway.post(30, 'bot', 'news');
  await pass(3_000);
  const { rooms: shown, unreadTotal } = client.inbox.getSnapshot();
  expect(shown.slice(0, 3).map(({ roomId }) => roomId).sort((a, b) => a - b)).toEqual([3, 30, 60]);
  expect(unreadTotal).toBe(62);
  const last = shown.at(-1)?.roomId as number;
  stage.gateway.room(last).read.set('ada', 1);
  stage.gateway.room(5).read.set('ada', 1); // behind the first page
  stage.gateway.touch(last);
  stage.gateway.touch(5);
  await pass(3_000);
  expect(client.inbox.getSnapshot().rooms.at(-1)).toMatchObject({ roomId: last, unread: 0 });
  expect(client.inbox.getSnapshot().rooms.some(({ roomId }) => roomId === 5)).toBe(false);
  expect(client.inbox.getSnapshot().unreadTotal).toBe(60);
});

test('what was loaded is read again after a reconnection', async () => {
  await rooms(70);
  const client = stage.client('ada');
  client.connect();
  client.inbox.subscribe(() => {});
  await pass(1_000);
  await Promise.all([client.inbox.loadMore(), pass(1_000)]);
  stage.network.cutAll();
  stage.gateway.post(1, 'bot', 'missed');
  stage.gateway.removeMember(70, 'ada', 'removed');
  await pass(100);
  void client.inbox.loadMore();
  await pass(5_000);
  const shown = client.inbox.getSnapshot().rooms.map(({ roomId }) => roomId);
  expect([shown.length, shown[0], shown.includes(70)]).toEqual([69, 1, false]);
});

test('the inbox shows nothing before its first page, and never a wrong total', async () => {
  await rooms(3);
  const client = stage.client('ada');
  client.connect();
  await pass(1_000);
  const seen: number[] = [];
  client.inbox.subscribe(() => {
    const { rooms: shown, unreadTotal, status } = client.inbox.getSnapshot();
    if (status !== 'live') seen.push(shown.length);
    expect(unreadTotal).toBe(shown.reduce((sum, { unread }) => sum + unread, 0));
  });
  for (let n = 1; n <= 200; n++) {
    stage.gateway.post(1, 'bot', `news ${n}`);
    stage.gateway.room(2).read.set('ada', 1);
    stage.gateway.touch(2);
    await pass(5);
  }
  await pass(3_000);
  expect(seen.every((count) => count === 0)).toBe(true);
  expect(client.inbox.getSnapshot()).toMatchObject({ unreadTotal: 202, status: 'live' });
  expect(stage.errors).toEqual([]);
});

test('rooms without messages are listed by when they came', async () => {
  stage.gateway.addMember(2, 'ada');
  await pass(10);
  stage.gateway.addMember(3, 'ada');
  const client = stage.client('ada');
  client.connect();
  client.inbox.subscribe(() => {});
  await pass(1_000);
  stage.gateway.addMember(1, 'ada');
  await pass(1_000);
  expect(client.inbox.getSnapshot().rooms.map(({ roomId }) => roomId)).toEqual([1, 3, 2]);
});
