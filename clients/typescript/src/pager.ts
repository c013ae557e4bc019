// Reads history into a room's window: one page at a time, so that no page meets a window that
// another has moved.

import type { Message, Payload, Result } from './contract.js';
import { quiet } from './errors.js';
import type { Timeline } from './timeline.js';
import type { Messages } from './types.js';

/** A screenful or two. */
export const PAGE = 50;
const LARGEST_PAGE = 200;

type Bounds = Omit<Payload<'listMessages'>, 'roomId'>;

/** What the pager needs of its room. */
export interface Library {
  list(bounds: Bounds): Promise<Result<'listMessages'>>;
  /** Uses a page, before what arrives next. */
  use(messages: readonly Message[], how: () => void): void;
  /** Repeats `run` on the next connection if this one ends, up to a deadline. */
  perform(run: () => Promise<void>): Promise<void>;
  changed(): void;
}

export interface Pager {
  /** What an application asks for. */
  readonly actions: Omit<Messages, 'getSnapshot' | 'subscribe'>;
  readonly loading: 'older' | 'newer' | undefined;
  /** Every change up to this is in the window. The next join resumes here. */
  readonly rev: number;
  /** A change was received, or is known to precede what is received next. */
  sawRev(rev: number): void;
  /** Changes were missed: the window's states have to be read again. */
  missedChanges(): void;
  /** Closes what a join left open: the first page, missed messages, missed changes. */
  settle(): Promise<void>;
  /** Reads messages again whose reactions this user may have changed elsewhere. */
  readMine(): Promise<void>;
  reset(rev: number): void;
}

export function createPager(timeline: Timeline, { list, use, perform, changed }: Library): Pager {
  let tail: Promise<unknown> = Promise.resolve();
  let rev = 0;
  let seenRev = 0;
  let isBehind = false;
  let hasOverflown = false;
  const loads = new Map<'older' | 'newer', Promise<void>>();

  async function page(bounds: Bounds, how: (messages: readonly Message[]) => void): Promise<number> {
    timeline.beginPage();
    try {
      const { messages } = await list(bounds);
      use(messages, () => how(messages));
      return messages.at(-1)?.seq ?? 0;
    } finally {
      if (!timeline.endPage()) isBehind = hasOverflown = true;
    }
  }

  /** The whole window was read, and nothing was lost meanwhile. */
  function renewed(): void {
    isBehind = hasOverflown;
    if (!isBehind) rev = seenRev;
  }

  async function restart(): Promise<void> {
    hasOverflown = false;
    await page({ limit: PAGE }, (messages) => {
      timeline.follow = true;
      timeline.restart(messages);
    });
    renewed();
  }

  async function refresh(): Promise<void> {
    hasOverflown = false;
    for (let after = timeline.oldest - 1; after < timeline.newest; ) {
      const last = await page({ afterSeq: after, limit: LARGEST_PAGE }, timeline.renew);
      if (last <= after) break;
      after = last;
    }
    renewed();
  }

  /** Leaves nothing open: a first page, states that may be out of date, messages up to the live end. */
  async function close(): Promise<void> {
    for (;;) {
      const behind = timeline.follow ? timeline.seq - timeline.newest : 0;
      // Nobody scrolls through more than the window holds: it begins anew at the newest page.
      if (!timeline.loaded || timeline.foreign || behind > 2 * LARGEST_PAGE) await restart();
      else if (isBehind) await refresh();
      else if (behind > 0) {
        const { newest } = timeline;
        await page({ afterSeq: newest, limit: LARGEST_PAGE }, timeline.append);
        if (timeline.newest === newest) timeline.seq = newest; // there is no more
      } else return;
    }
  }

  /** One after another, each leaving the window whole. */
  function work(run: () => Promise<unknown>): Promise<void> {
    const done = tail.then(async () => {
      await run();
      await close();
    });
    tail = done.catch(() => {});
    return done;
  }

  const act = (run: () => Promise<unknown>) => quiet(perform(() => work(run)));

  function load(kind: 'older' | 'newer', run: () => Promise<unknown>): Promise<void> {
    const running = loads.get(kind);
    if (running) return running;
    const done = act(run).finally(() => {
      loads.delete(kind);
      changed();
    });
    loads.set(kind, done);
    changed();
    return quiet(done);
  }

  return {
    get loading() {
      return loads.keys().next().value;
    },
    get rev() {
      return rev;
    },
    sawRev(seen) {
      seenRev = Math.max(seenRev, seen);
      if (!isBehind) rev = seenRev;
    },
    missedChanges() {
      isBehind = true;
    },
    settle: () => work(async () => {}),
    readMine: () =>
      work(async () => {
        for (const seq of [...timeline.stale.keys()]) {
          if (seq < timeline.oldest || seq > timeline.newest) timeline.stale.delete(seq);
          else if (timeline.stale.has(seq)) await page({ afterSeq: seq - 1, limit: PAGE }, timeline.renew);
        }
      }),
    actions: {
      loadOlder: () =>
        load('older', async () => {
          if (timeline.oldest <= 1) return;
          await page({ beforeSeq: timeline.oldest, limit: PAGE }, (messages) => {
            timeline.follow = false;
            timeline.prepend(messages);
          });
        }),
      loadNewer: () =>
        load('newer', async () => {
          if (timeline.newest < timeline.seq) await page({ afterSeq: timeline.newest, limit: PAGE }, timeline.append);
          if (timeline.newest >= timeline.seq) timeline.follow = true;
        }),
      jumpTo: (seq) =>
        act(async () => {
          timeline.follow = false;
          if (seq >= timeline.oldest && seq <= timeline.newest) return;
          const beforeSeq = Math.min(seq + PAGE / 2, Number.MAX_SAFE_INTEGER);
          hasOverflown = false;
          await page({ beforeSeq, limit: PAGE }, (messages) => {
            if (!messages.length) return;
            timeline.follow = false;
            timeline.restart(messages);
          });
          renewed();
        }),
      jumpToLatest: () =>
        act(async () => {
          if (timeline.newest < timeline.seq) await restart();
          timeline.follow = true;
        }),
    },
    reset(known) {
      rev = seenRev = known;
      isBehind = false;
    },
  };
}
