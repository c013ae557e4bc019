import { expect, test, vi } from 'vitest';
import { io, pass, stage, useStage } from './model/setup.js';

vi.mock('socket.io-client', () => ({ io: (...args: [string, never]) => io(...args) }));
useStage();

const asked = () => stage.gateway.log.filter(({ event }) => event === 'watchUsers').map(({ payload }) => payload.userIds);

test('users are watched while they are used, and again after a reconnection', async () => {
  const client = stage.client('ada');
  client.connect();
  const bob = client.watchUser('bob');
  expect(client.watchUser('bob')).toBe(bob);
  const unsubscribe = [bob.subscribe(() => {}), client.watchUser('eve').subscribe(() => {})];
  await pass(1_000);
  for (const { push } of stage.gateway.connections) push('userPresence', { userId: 'bob', online: true, lastSeenAt: null });
  await pass(1_000);
  expect(bob.getSnapshot()).toEqual({ online: true });
  expect(bob.getSnapshot()).toBe(bob.getSnapshot());
  stage.network.cutAll();
  await pass(3_000);
  unsubscribe[1]?.();
  await pass(1_000);
  expect(asked()).toEqual([['bob', 'eve'], ['bob', 'eve'], ['bob']]);
});

test('the application receives events, and one that throws stops no other', async () => {
  const client = stage.client('ada');
  client.connect();
  client.room(1).open();
  const seen: number[] = [];
  client.on('newMessage', () => {
    throw new Error('broken listener');
  });
  const off = client.on('newMessage', ({ seq }) => seen.push(seq));
  await pass(1_000);
  stage.gateway.post(1, 'bot', 'x');
  await pass(1_000);
  off();
  stage.gateway.post(1, 'bot', 'y');
  await pass(1_000);
  expect(seen).toEqual([1]);
  expect(stage.errors.map(String)).toEqual(['Error: broken listener', 'Error: broken listener']);
});

test('what is sent is what was given, whatever becomes of the object', async () => {
  const client = stage.client('ada');
  client.connect();
  const metadata = { file: 'a' };
  client.room(1).send('x', { metadata });
  metadata.file = 'b';
  await pass(3_000);
  expect(stage.gateway.log.find(({ event }) => event === 'sendMessage')?.payload).toMatchObject({ metadata: { file: 'a' } });
});
