// How far the users of a room have read.

import type { Result } from './contract.js';
import type { Source, Stores } from './store.js';

/** Pointers of other users are kept for so many, those that moved last. */
const MOST = 1_000;

export interface Reads {
  readonly store: Source<ReadonlyMap<string, number>>;
  /** How far this user has read. */
  readonly own: number;
  joined(readSeq: number): void;
  received(userId: string, seq: number): void;
  mark(seq: number): Promise<void>;
  /** Forgets the others; and this user's own pointer, if another one is signed in. */
  clear(isAnother?: boolean): void;
}

export function createReads(
  { source }: Stores,
  onUse: (used: boolean) => void,
  me: () => string | undefined,
  send: (seq: number) => Promise<Result<'markRead'>>,
  changed: () => void,
): Reads {
  let own = 0;
  let wanted = 0;
  let marking: Promise<void> | undefined;
  const others = new Map<string, number>();
  const store = source<ReadonlyMap<string, number>>(() => new Map(others), onUse);

  function moveTo(seq: number): void {
    own = Math.max(own, seq);
    changed();
  }

  /** One request at a time: those for messages in between are left out. */
  async function run(): Promise<void> {
    for (let seq = 0; wanted > own && wanted > seq; ) {
      seq = wanted;
      moveTo((await send(seq)).seq); // never beyond the newest message
    }
  }

  function mark(seq: number): Promise<void> {
    wanted = Math.max(wanted, seq);
    if (wanted <= own) return Promise.resolve();
    return (marking ??= run().finally(() => (marking = undefined)));
  }

  return {
    store,
    get own() {
      return own;
    },
    joined(readSeq) {
      own = readSeq;
      if (wanted > own) mark(wanted).catch(() => {}); // what an earlier connection did not answer
    },
    received(userId, seq) {
      if (userId === me()) return moveTo(seq);
      if ((others.get(userId) ?? 0) >= seq) return;
      others.delete(userId);
      others.set(userId, seq);
      if (others.size > MOST) others.delete(others.keys().next().value as string);
      store.changed();
    },
    mark,
    clear(isAnother) {
      others.clear();
      if (isAnother) own = wanted = 0;
      store.changed();
    },
  };
}
