import { expect, test } from 'vitest';
import type { Member } from '../src/contract.js';
import { createMembers } from '../src/members.js';
import { createStores } from '../src/store.js';

const member = (userId: string, role: Member['role'] = 'member'): Member => ({
  userId,
  user: { id: userId, name: userId },
  role,
  joinedAt: '2026-01-31T12:00:00.000Z',
});

function listOf(ids: string[]) {
  const waiting: (() => void)[] = [];
  const list = createMembers(createStores((run) => run()), () => {}, async ({ after = '', limit }) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    const rest = ids.filter((id) => id > after);
    return { members: rest.slice(0, limit).map((id) => member(id)), hasMore: rest.length > limit };
  });
  const answer = async () => {
    for (const resolve of waiting.splice(0)) resolve();
    await new Promise((resolve) => setTimeout(resolve));
  };
  const shown = () => list.store.getSnapshot().members.map(({ userId, role }) => `${userId} ${role}`);
  return { list, answer, shown };
}

test('members are read when they are used, and changes keep the order of their ids', async () => {
  const { list, answer, shown } = listOf(['b', 'd']);
  expect(list.store.getSnapshot().members).toEqual([]);
  list.store.subscribe(() => {});
  await answer();
  list.received(member('c', 'owner'));
  list.received(member('e'));
  list.received({ ...member('b'), role: null });
  expect(shown()).toEqual(['c owner', 'd member', 'e member']);
});

test('a change that arrives before its page wins', async () => {
  const { list, answer, shown } = listOf(['b', 'd']);
  list.store.subscribe(() => {});
  list.received(member('b', 'owner'));
  list.received({ ...member('d'), role: null });
  await answer();
  expect(shown()).toEqual(['b owner']);
});

test('pages follow each other, and what lies behind them is not shown before', async () => {
  const { list, answer } = listOf(Array.from({ length: 150 }, (_, index) => `m${1_000 + index}`));
  list.store.subscribe(() => {});
  await answer();
  list.received(member('z'));
  expect(list.store.getSnapshot()).toMatchObject({ hasMore: true, members: { length: 100 } });
  const more = list.loadMore();
  await answer();
  await more;
  expect(list.store.getSnapshot()).toMatchObject({ hasMore: false, members: { length: 150 } });
});
