import { expect, test, vi } from 'vitest';
import type { ConnectionState } from '../src/index.js';
import { tokenOf } from './model/network.js';
import { io, pass, stage, useStage } from './model/setup.js';

vi.mock('socket.io-client', () => ({ io: (...args: [string, never]) => io(...args) }));
useStage();

function states(store: { getSnapshot(): ConnectionState; subscribe(listener: () => void): unknown }): string[] {
  const seen = [store.getSnapshot().status as string];
  store.subscribe(() => seen.push(store.getSnapshot().status));
  return seen;
}

test('a client connects when it is told to, and its user comes from the token', async () => {
  const client = stage.client('ada');
  await pass(1_000);
  expect(client.connection.getSnapshot()).toEqual({ status: 'offline' });
  client.connect();
  await pass(1_000);
  expect(client.connection.getSnapshot()).toEqual({ status: 'online', userId: 'ada' });
});

test('while the gateway is away, attempts are spread over half a second to thirty seconds', async () => {
  stage.gateway.isUp = false;
  const open = vi.spyOn(stage.network, 'open');
  const client = stage.client('ada');
  client.connect();
  const waits: number[] = [];
  client.connection.subscribe(() => {
    const state = client.connection.getSnapshot();
    if (state.status === 'connecting' && state.retryAt) waits.push(state.retryAt - Date.now());
  });
  vi.spyOn(Math, 'random').mockReturnValue(0.999);
  await pass(300_000);
  expect(waits.slice(0, 8).map((ms) => Math.round(ms / 100) / 10)).toEqual([1, 2, 4, 8, 16, 30, 30, 30]);
  expect(open.mock.calls.length).toBeLessThan(20);
  stage.gateway.isUp = true;
  await pass(31_000);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('a token that has expired is asked for once more, then the state is refused', async () => {
  stage.gateway.expiredBefore = Date.now() + 3_600_000;
  const token = vi.fn(() => tokenOf('ada'));
  const client = stage.client('ada', { token });
  client.connect();
  await pass(60_000);
  expect(client.connection.getSnapshot()).toEqual({ status: 'refused', code: 'token_expired' });
  expect(token).toHaveBeenCalledTimes(2);
  stage.gateway.expiredBefore = 0;
  client.connect();
  await pass(1_000);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('a token that cannot be had is asked for again, and the error is reported', async () => {
  let isDown = true;
  const client = stage.client('ada', {
    token: async () => {
      if (isDown) throw new Error('no session');
      return tokenOf('ada');
    },
  });
  client.connect();
  await pass(5_000);
  expect(String(stage.errors[0])).toBe('Error: no session');
  isDown = false;
  await pass(31_000);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('a token that never comes has a deadline', async () => {
  const client = stage.client('ada', { token: () => new Promise(() => {}) });
  client.connect();
  await pass(31_000);
  expect(String(stage.errors[0])).toContain('the token took longer than 30000 ms');
});

test('a token is renewed before it expires, on the same connection', async () => {
  const token = vi.fn((_: string) => tokenOf('ada', { exp: Date.now() / 1000 + 600 }));
  const client = stage.client('ada', { token });
  const seen = states(client.connection);
  client.connect();
  await pass(539_000);
  expect(token.mock.calls).toEqual([['connect']]);
  await pass(5_000);
  expect(token.mock.calls).toEqual([['connect'], ['renew']]);
  expect(stage.gateway.log.map(({ event }) => event)).toEqual(['renewToken']);
  expect(seen).toEqual(['offline', 'connecting', 'online']);
});

test('a renewed token of another user switches the user: rooms begin anew, and messages stay with who wrote them', async () => {
  let user = 'ada';
  const client = stage.client('', { token: () => tokenOf(user, { exp: Date.now() / 1000 + 600 }) });
  const room = client.room(1);
  room.messages.subscribe(() => {});
  client.connect();
  stage.gateway.post(1, 'bot', 'hello');
  await pass(1_000);
  Object.assign(stage.gateway.faults, { refusals: 1, code: 'unavailable' });
  room.send('of ada');
  user = 'bob';
  await pass(545_000);
  stage.gateway.faults.refusals = 0;
  await pass(10_000);
  expect(client.connection.getSnapshot()).toEqual({ status: 'online', userId: 'bob' });
  expect(room.messages.getSnapshot().messages.map(({ content }) => content)).toEqual(['hello']);
  user = 'ada';
  await pass(600_000);
  expect(stage.gateway.room(1).messages.map((m) => [m.userId, m.content])).toEqual([['bot', 'hello'], ['ada', 'of ada']]);
});

test('a request that is never answered ends the connection, and is repeated on the next', async () => {
  const client = stage.client('ada');
  const room = client.room(1);
  room.messages.subscribe(() => {});
  client.connect();
  await pass(1_000);
  stage.gateway.faults.silence = 1;
  const open = vi.spyOn(stage.network, 'open');
  const edit = room.edit(1, 'x').catch((error) => error);
  await pass(19_000);
  expect(open).not.toHaveBeenCalled();
  stage.gateway.faults.silence = 0;
  await pass(5_000);
  expect(open).toHaveBeenCalledTimes(1);
  expect(stage.gateway.log.filter(({ event }) => event === 'editMessage').length).toBeGreaterThan(1);
  expect(await edit).toMatchObject({ code: 'forbidden' });
});

test('a page that is shown again tests the connection, and replaces one that is dead', async () => {
  const page = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  vi.stubGlobal('document', page);
  const client = stage.client('ada');
  client.connect();
  await pass(1_000);
  const seen = states(client.connection);
  page.dispatchEvent(new Event('visibilitychange'));
  await pass(3_000);
  expect(seen).toEqual(['online']);
  stage.network.cutAll(false);
  page.dispatchEvent(new Event('visibilitychange'));
  await pass(2_500);
  expect(seen).toEqual(['online', 'connecting', 'online']);
});

test('a machine that slept tests the connection', async () => {
  const client = stage.client('ada');
  client.connect();
  await pass(1_000);
  stage.network.cutAll(false);
  const open = vi.spyOn(stage.network, 'open');
  vi.setSystemTime(Date.now() + 60_000);
  await pass(10_000);
  expect(open).toHaveBeenCalledTimes(1);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('a network that is back ends the wait for the next attempt', async () => {
  vi.stubGlobal('addEventListener', vi.fn());
  vi.stubGlobal('removeEventListener', vi.fn());
  stage.gateway.isUp = false;
  const client = stage.client('ada');
  client.connect();
  vi.spyOn(Math, 'random').mockReturnValue(0.999);
  await pass(50_000);
  stage.gateway.isUp = true;
  const online = vi.mocked(addEventListener).mock.calls.find(([name]) => name === 'online')?.[1] as () => void;
  online();
  await pass(1_000);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('a closed client has no timer, and connects again', async () => {
  const client = stage.client('ada');
  const room = client.room(1);
  const unsubscribe = room.messages.subscribe(() => {});
  client.inbox.subscribe(() => {});
  room.presence.subscribe(() => {});
  client.connect();
  await pass(2_000);
  unsubscribe();
  const edit = room.edit(1, 'x').catch((error) => error);
  await client.close();
  expect(vi.getTimerCount()).toBe(0);
  expect(await edit).toMatchObject({ code: 'disconnected', retryable: true });
  expect(client.connection.getSnapshot()).toEqual({ status: 'offline' });
  client.connect();
  await pass(1_000);
  expect(client.connection.getSnapshot().status).toBe('online');
});

test('call sends any event once, and rejects without a connection', async () => {
  const client = stage.client('ada');
  await expect(client.call('leaveRoom', { roomId: 1 })).rejects.toMatchObject({ code: 'disconnected', retryable: true });
  client.connect();
  await pass(1_000);
  const answers = Promise.all([
    client.call('leaveRoom', { roomId: 1 }),
    client.call('sendMessage', { roomId: 1, content: 'x' }).catch((error) => error.code),
  ]);
  await pass(1_000);
  expect(await answers).toEqual([{ ok: true, roomId: 1 }, 'not_in_room']);
});
