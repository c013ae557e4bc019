import { expect, test, vi } from 'vitest';
import { tokenOf } from './model/network.js';
import { io, pass, stage, useStage } from './model/setup.js';

vi.mock('socket.io-client', () => ({ io: (...args: [string, never]) => io(...args) }));
useStage();

test('where no event tells that the network is back, as in a worker, the wait ends nevertheless', async () => {
  const network = { onLine: true };
  vi.stubGlobal('navigator', network);
  const client = stage.client('ada');
  client.connect();
  await pass(1_000);
  network.onLine = false;
  stage.gateway.isUp = false;
  stage.network.cutAll();
  vi.spyOn(Math, 'random').mockReturnValue(0.999);
  await pass(60_000);
  expect(client.connection.getSnapshot().status).toBe('offline');
  network.onLine = true;
  stage.gateway.isUp = true;
  await pass(1_500);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('an attempt that began before the network was back, and hangs, begins anew', async () => {
  vi.stubGlobal('addEventListener', vi.fn());
  vi.stubGlobal('removeEventListener', vi.fn());
  let asked = 0;
  const client = stage.client('ada', { token: () => (++asked === 1 ? new Promise<string>(() => {}) : tokenOf('ada')) });
  client.connect();
  await pass(500);
  const online = vi.mocked(addEventListener).mock.calls.find(([name]) => name === 'online')?.[1] as () => void;
  online();
  await pass(1_500);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('a machine that wakes up with a dead connection is online again within two seconds', async () => {
  const client = stage.client('ada');
  client.connect();
  await pass(1_300);
  stage.network.cutAll(false);
  const open = vi.spyOn(stage.network, 'open');
  vi.setSystemTime(Date.now() + 60_000);
  await pass(2_000);
  expect(open).toHaveBeenCalledTimes(1);
  expect(client.connection.getSnapshot().status).toBe('online');
});
