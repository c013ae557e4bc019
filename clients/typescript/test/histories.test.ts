// Whatever happens, the screen never lies, and in the end shows what the gateway has.

import fc from 'fast-check';
import { afterEach, beforeEach, test, vi } from 'vitest';
import type { Network } from './model/network.js';
import { ROOMS, type Step, USERS, World } from './model/world.js';

let network: Network;
vi.mock('socket.io-client', () => ({ io: (_: string, options: never) => network.open(options) }));

// HISTORIES is how many are run; SEED repeats those of a report; SHRINK looks for a shorter one that fails.
const { HISTORIES = 100, SEED, SHRINK } = process.env;
const who = fc.integer({ min: 0, max: USERS.length - 1 });
const room = fc.constantFrom(...ROOMS);
const back = fc.nat({ max: 12 });
const on = fc.boolean();
const one = <T extends Step['do']>(...names: T[]) => fc.constantFrom(...names);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: one('send'), who, room }) },
  { weight: 2, arbitrary: fc.record({ do: one('send'), who, room, text: fc.constant('refuse') }) },
  { weight: 5, arbitrary: fc.record({ do: one('post'), room, count: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ do: one('post'), room, count: fc.integer({ min: 100, max: 700 }) }) },
  { weight: 6, arbitrary: fc.record({ do: one('react', 'reactElsewhere'), who, room, back, on }) },
  { weight: 3, arbitrary: fc.record({ do: one('edit', 'delete'), who, room, back }) },
  { weight: 4, arbitrary: fc.record({ do: one('editByAuthor', 'deleteByProduct', 'erase'), room, back }) },
  { weight: 5, arbitrary: fc.record({ do: one('cut'), who, noticed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: one('kill'), ms: fc.nat({ max: 5_000 }) }) },
  { weight: 1, arbitrary: fc.record({ do: one('expire') }) },
  { weight: 2, arbitrary: fc.record({ do: one('faults'), refusals: fc.constantFrom(0, 0.2, 0.5), silence: fc.constantFrom(0, 0.1) }) },
  { weight: 2, arbitrary: fc.record({ do: one('latency'), ms: fc.constantFrom(10, 100, 3_000) }) },
  { weight: 6, arbitrary: fc.record({ do: one('older', 'newer', 'latest'), who, room }) },
  { weight: 2, arbitrary: fc.record({ do: one('jump'), who, room, share: fc.double({ min: 0, max: 1, noNaN: true }) }) },
  { weight: 4, arbitrary: fc.record({ do: one('hide', 'show'), who, room }) },
  { weight: 2, arbitrary: fc.record({ do: one('read'), who, room }) },
  { weight: 1, arbitrary: fc.record({ do: one('ban', 'unban'), room }) },
  { weight: 1, arbitrary: fc.record({ do: one('close'), room }) },
  { weight: 3, arbitrary: fc.record({ do: one('member', 'nonmember'), who, room }) },
  { weight: 1, arbitrary: fc.record({ do: one('restart'), who }) },
  { weight: 6, arbitrary: fc.record({ do: one('wait'), ms: fc.nat({ max: 8_000 }) }) },
);

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse('2026-01-31T12:00:00.000Z') });
});
afterEach(() => {
  vi.useRealTimers();
});

test(
  'after any history the screens and inboxes equal the gateway, and none has ever lied',
  async () => {
    const property = fc.asyncProperty(
      fc.integer(),
      fc.constantFrom(0, 3, 20, 1000),
      fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }),
      async (seed, replay, steps) => {
        vi.clearAllTimers();
        const world = new World(seed, replay);
        network = world.network;
        await world.run(steps);
        await world.close();
      },
    );
    await fc.assert(property, { numRuns: Number(HISTORIES), ...(SEED && { seed: Number(SEED) }), endOnFailure: !SHRINK });
  },
  600_000,
);
