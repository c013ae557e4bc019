// The members of a room, page by page, and what changes among them.

import type { Member, MemberChange, Result } from './contract.js';
import type { Source, Stores } from './store.js';
import type { MembersSnapshot } from './types.js';

const PAGE = 100;
/** More are not kept. */
const MOST = 5_000;

export interface MemberList {
  readonly store: Source<MembersSnapshot>;
  /** Reads what was loaded before, at least a page, if it is used. */
  reload(): Promise<void>;
  loadMore(): Promise<void>;
  received(change: MemberChange): void;
  reset(): void;
}

export function createMembers(
  { source }: Stores,
  onUse: (used: boolean) => void,
  list: (page: { after?: string; limit: number }) => Promise<Result<'listMembers'>>,
): MemberList {
  let members: readonly Member[] = [];
  let hasMore = false;
  let changes: MemberChange[] | undefined; // that arrive while a page is under way
  let loading: Promise<void> | undefined;

  const store = source<MembersSnapshot>(
    () => ({ members, hasMore }),
    (used) => {
      onUse(used);
      if (used) void reload().catch(() => {}); // it is read again after the next join
    },
  );

  function load(isReload: boolean): Promise<void> {
    loading ??= read(isReload).finally(() => {
      loading = changes = undefined;
    });
    return loading;
  }

  async function read(isReload: boolean): Promise<void> {
    const own: MemberChange[] = (changes = []);
    const count = isReload ? members.length : 0;
    let read: Member[] = isReload ? [] : [...members];
    let page: Result<'listMembers'>;
    do {
      const after = read.at(-1)?.userId;
      page = await list({ limit: PAGE, ...(after !== undefined && { after }) });
      read = [...read, ...page.members];
    } while (page.hasMore && isReload && read.length < count);
    members = read;
    hasMore = page.hasMore && read.length < MOST;
    own.forEach(apply);
    store.changed();
  }

  function apply({ role, joinedAt, ...rest }: MemberChange): void {
    const others = members.filter(({ userId }) => userId !== rest.userId);
    const found = others.findIndex(({ userId }) => userId > rest.userId);
    const place = found < 0 ? others.length : found;
    members = others;
    // One behind the last page comes with its own page.
    if (!role || !joinedAt || (found < 0 && hasMore)) return;
    members = [...others.slice(0, place), { ...rest, role, joinedAt }, ...others.slice(place)];
  }

  const reload = async () => {
    if (store.used()) await load(true);
  };

  return {
    store,
    reload,
    loadMore: async () => {
      if (hasMore || loading) await load(false);
    },
    received(change) {
      changes?.push(change);
      apply(change);
      store.changed();
    },
    reset() {
      members = [];
      hasMore = false;
      store.changed();
    },
  };
}
