// The rooms in which the user has membership, the newest activity first.

import type { Connection } from './connection.js';
import type { Result, ServerEvent, Summary } from './contract.js';
import { quiet } from './errors.js';
import type { Handlers } from './managed.js';
import { reuse, type Stores } from './store.js';
import type { Timers } from './timers.js';
import type { Inbox, InboxSnapshot } from './types.js';

const PAGE = 50;
/** The gateway reports changes of so many rooms, the most recent. More are not kept. */
const MOST = 1_000;
/** In ms. */
const LINGER = 5_000;
const RETRY = 5_000;
/** Between rooms that were active at the same time. */
const TICK = 2 ** -10;

export interface ManagedInbox extends Inbox {
  online(): void;
  changed(): void;
  received(name: ServerEvent, payload: unknown): void;
  reset(): void;
}

interface Row {
  readonly summary: Summary;
  /** When the room was last active, in ms since the epoch, as far as it is known. */
  readonly activity: number;
}

export function createInbox(
  { batch, source }: Stores,
  timers: Timers,
  connection: Connection,
  report: (error: unknown) => void,
): ManagedInbox {
  let rows: Row[] = [];
  let order: readonly Summary[] = []; // of `rows`
  let next: string | undefined;
  let readTotal = 0; // as the gateway counted, and what has changed since
  let unreadTotal = 0;
  let watching = 0; // the epoch in which it is watched
  let loaded = 0; // the epoch in which the list was read
  let loading: Promise<void> | undefined;
  let cancelLinger: (() => void) | undefined;
  let cancelTotal: (() => void) | undefined;
  /** What arrives while a page is under way; null is a room that was removed. */
  let early: Map<number, Summary | null> | undefined;

  const store = source<InboxSnapshot>(
    (previous) => {
      const status = !connection.epoch ? 'offline' : loaded === connection.epoch ? 'live' : 'loading';
      return reuse(previous, { rooms: order, unreadTotal, hasMore: next !== undefined, status });
    },
    (used) => {
      cancelLinger?.();
      cancelLinger = used ? undefined : timers.after(LINGER, () => (cancelLinger = undefined));
      if (used) start();
    },
  );

  function show(): void {
    order = rows.map(({ summary }) => summary);
    count();
    store.changed();
  }

  /** What the gateway counted may include what it reports later. The rooms here are exact, if they are all. */
  function count(): void {
    const isWhole = loaded > 0 && next === undefined && rows.length < MOST;
    unreadTotal = isWhole ? rows.reduce((sum, { summary }) => sum + summary.unread, 0) : readTotal;
  }

  const isUsed = () => store.used() || cancelLinger !== undefined;

  /** Watches on this connection, and reads what was loaded before. */
  function start(): void {
    const own = connection.epoch;
    if (!own || watching === own || !isUsed()) return;
    watching = own;
    connection
      .ask('watchRooms', {})
      .then(() => load(true))
      .catch((error) => {
        if (own !== connection.epoch) return; // the next connection starts anew
        watching = 0;
        report(error);
        load(true).catch(() => {}); // without events, it is read again with each attempt
        timers.after(RETRY, start);
      });
  }

  function load(isReload: boolean): Promise<void> {
    loading ??= read(isReload).finally(() => {
      loading = early = undefined;
    });
    return loading;
  }

  async function read(isReload: boolean): Promise<void> {
    const own = connection.epoch;
    const arrived = (early = new Map<number, Summary | null>());
    const read = new Map<number, Row>();
    let last = (isReload ? undefined : rows.at(-1)?.activity) ?? Date.now();
    const most = isReload ? rows.length : 0;
    let after = isReload ? undefined : next;
    let page: Result<'listRooms'>;
    do {
      page = await connection.ask('listRooms', { limit: PAGE, ...(after !== undefined && { after }) });
      for (const summary of page.rooms) {
        // The page's order decides between equals, and about rooms without messages.
        const row = rowOf(summary, last);
        last = row.activity < last ? row.activity : last - TICK;
        read.set(summary.roomId, { summary, activity: last });
      }
      after = page.next;
    } while (isReload && after !== undefined && read.size < most);
    batch(() => {
      if (isReload) rows = [];
      loaded = own;
      next = rows.length + read.size < MOST ? after : undefined;
      for (const [roomId, row] of read) {
        const event = arrived.get(roomId);
        // What changes after the page was read is reported later still, so an event may win.
        if (event !== null) place(event && !isOlder(event, row.summary) ? rowOf(event, row.activity) : row);
        arrived.delete(roomId);
      }
      for (const summary of arrived.values()) if (summary) update(summary);
      readTotal = page.unreadTotal;
      if (next !== undefined) askTotal();
      show();
    });
  }

  /** The newest activity first; the room's number decides between equals, as in the gateway. */
  function place(row: Row): void {
    rows = rows.filter(({ summary }) => summary.roomId !== row.summary.roomId);
    const before = rows.findIndex(({ activity, summary }) =>
      activity === row.activity ? summary.roomId < row.summary.roomId : activity < row.activity,
    );
    rows.splice(before < 0 ? rows.length : before, 0, row);
    rows.length = Math.min(rows.length, MOST);
  }

  function update(summary: Summary): void {
    early?.set(summary.roomId, summary);
    if (!loaded) return; // the first page is newer, or meets it in `early`
    const old = rows.find((row) => row.summary.roomId === summary.roomId);
    // Of a room that is not loaded, it is not known how many messages were unread before.
    if (old) readTotal += summary.unread - old.summary.unread;
    if (!old || next !== undefined) askTotal();
    if (old && JSON.stringify(old.summary) === JSON.stringify(summary)) return;
    const row = rowOf(summary, old?.activity);
    // One behind the last page comes with its own page.
    if (old || next === undefined || row.activity > (rows.at(-1)?.activity ?? 0)) place(row);
    show();
  }

  function remove(roomId: number): void {
    early?.set(roomId, null);
    if (!loaded) return;
    rows = rows.filter(({ summary }) => summary.roomId !== roomId);
    askTotal();
    show();
  }

  function askTotal(): void {
    cancelTotal ??= timers.after(1_000, () => {
      cancelTotal = undefined;
      const own = connection.epoch;
      connection.ask('listRooms', { limit: 1 }).then(
        (page) => {
          if (own !== connection.epoch) return;
          readTotal = page.unreadTotal;
          count();
          store.changed();
        },
        () => {}, // the next connection reads it
      );
    });
  }

  const handlers: Handlers = {
    roomUpdated: update,
    roomAdded: ({ summary }) => update(summary),
    roomRemoved: ({ roomId }) => remove(roomId),
  };

  return {
    ...store,
    loadMore: () => quiet(loading ?? (next !== undefined && loaded === connection.epoch ? load(false) : Promise.resolve())),
    // What it changes in the summary is reported, as to the user's other devices.
    setNotify: (roomId, notify) => quiet(connection.ask('setNotify', { roomId, notify }).then(() => {})),
    online() {
      store.changed();
      start();
    },
    changed: store.changed,
    received(name, payload) {
      if (watching) handlers[name]?.(payload as never);
    },
    reset() {
      rows = [];
      next = undefined;
      readTotal = watching = loaded = 0;
      show();
    },
  };
}

/** A room without messages is as active as it was, or else came just now. */
function rowOf(summary: Summary, known = Date.now()): Row {
  const { lastMessage } = summary;
  return { summary, activity: lastMessage ? Date.parse(lastMessage.createdAt) : known };
}

/** Its numbers only grow. */
function isOlder(summary: Summary, other: Summary): boolean {
  return summary.seq < other.seq || summary.rev < other.rev || summary.readSeq < other.readSeq;
}
