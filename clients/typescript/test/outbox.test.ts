import { expect, test, vi } from 'vitest';
import type { StoredSend } from '../src/index.js';
import { io, pass, stage, useStage } from './model/setup.js';

vi.mock('socket.io-client', () => ({ io: (...args: [string, never]) => io(...args) }));
useStage();

const kept = (position: number): StoredSend => ({
  userId: 'ada', roomId: 1, clientMessageId: `kept-${position}`, content: `kept ${position}`,
  createdAt: '2026-01-31T12:00:00.000Z', position,
});

/** A storage with messages that the gateway has already. */
function storageOfStored(ms: number, ...entries: StoredSend[]) {
  for (const { content, clientMessageId } of entries) stage.gateway.room(1).store('ada', content, clientMessageId);
  const load = () => new Promise<readonly StoredSend[]>((done) => setTimeout(() => done(entries), ms));
  return { load, put: async () => {}, remove: async () => {} };
}

test('a message is shown once, whether its storage or the history comes first', async () => {
  for (const ms of [0, 1_000]) {
    const client = stage.client('ada', { storage: storageOfStored(ms, kept(1), kept(2)) });
    client.connect();
    const room = client.room(1);
    room.messages.subscribe(() => {
      const ids = room.messages.getSnapshot().messages.map(({ clientMessageId }) => clientMessageId);
      expect(new Set(ids).size).toBe(ids.length);
    });
    await pass(5_000);
    expect(room.messages.getSnapshot().messages.map(({ state, content }) => [state, content])).toEqual([
      ['stored', 'kept 1'],
      ['stored', 'kept 2'],
    ]);
    expect(stage.errors).toEqual([]);
  }
});
