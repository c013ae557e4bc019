// One gateway and its network for a test, in virtual time.

import { afterEach, beforeEach, vi } from 'vitest';
import { createClient } from '../../src/client.js';
import type { ChatClient, ClientOptions } from '../../src/index.js';
import { Gateway } from './gateway.js';
import { Network, tokenOf } from './network.js';
import { createRandom } from './random.js';

export interface Stage {
  gateway: Gateway;
  network: Network;
  errors: unknown[];
  client(user: string, options?: Partial<ClientOptions>): ChatClient;
}

/** For `vi.mock('socket.io-client')`. */
export const io = (_: string, options: never) => stage.network.open(options);

export const stage: Stage = {
  gateway: undefined as never,
  network: undefined as never,
  errors: [],
  client: (user, options) =>
    createClient({
      url: 'fake:',
      token: () => tokenOf(user),
      onError: (error) => stage.errors.push(error),
      ...options,
    }),
};

export function useStage(): void {
  beforeEach(() => {
    vi.useFakeTimers({ now: Date.parse('2026-01-31T12:00:00.000Z') });
    stage.gateway = new Gateway(createRandom(1));
    stage.network = new Network(stage.gateway);
    stage.errors = [];
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
  });
}

export const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
