import { expect, test } from 'vitest';
import type { Message } from '../src/contract.js';
import { createTimeline, type Timeline } from '../src/timeline.js';

const message = (seq: number, more: Partial<Message> = {}): Message => ({
  id: 1_000 + seq,
  roomId: 1,
  seq,
  content: `${seq}`,
  createdAt: '2026-01-31T12:00:00.000Z',
  userId: 'ada',
  user: { id: 'ada', name: 'Ada' },
  ...more,
});
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => message(from + index));
const bounds = ({ oldest, newest, messages }: Timeline) => [oldest, newest, messages.length];

function at(from: number, to: number, seq = to): Timeline {
  const timeline = createTimeline();
  timeline.restart(range(from, to));
  timeline.seq = seq;
  return timeline;
}
const live = (timeline: Timeline, ...messages: Message[]) => messages.forEach((it) => timeline.take({ message: it, own: false }));

test('at the live end, the oldest messages make place for new ones', () => {
  const timeline = at(1, 500);
  live(timeline, ...range(501, 503));
  expect(bounds(timeline)).toEqual([4, 503, 500]);
});

test('a window that stays in place takes new messages while there is room', () => {
  const timeline = at(2, 500);
  timeline.follow = false;
  live(timeline, ...range(501, 503));
  expect(bounds(timeline)).toEqual([2, 501, 500]);
  expect(timeline.seq).toBe(503);
});

test('older messages make the newest leave, newer ones the oldest', () => {
  const timeline = at(101, 600);
  timeline.prepend(range(51, 100));
  expect(bounds(timeline)).toEqual([51, 550, 500]);
  timeline.append(range(551, 600));
  expect(bounds(timeline)).toEqual([101, 600, 500]);
});

test('a jump right before a full window keeps what touches, up to the bound', () => {
  const timeline = at(51, 550);
  timeline.follow = false;
  timeline.restart(range(1, 50));
  expect(bounds(timeline)).toEqual([1, 500, 500]);
});

test('a page that does not touch the window is not taken', () => {
  const timeline = at(101, 110, 200);
  timeline.prepend(range(51, 99));
  timeline.append(range(112, 130));
  expect(bounds(timeline)).toEqual([101, 110, 10]);
});

test('what arrives before the page that it belongs to is merged with it', () => {
  const timeline = at(101, 110);
  timeline.beginPage();
  live(timeline, message(95, { rev: 4, content: 'newest' }), message(96, { rev: 5, content: 'newer' }));
  timeline.prepend([...range(91, 95), message(96, { rev: 6, content: 'newest' }), ...range(97, 100)]);
  timeline.endPage();
  expect(timeline.messages.slice(4, 6).map(({ content }) => content)).toEqual(['newest', 'newest']);
});

test('a page that was read to renew the window, and reaches beyond it, meets what arrived before it', () => {
  const timeline = at(1, 2, 4);
  timeline.beginPage();
  live(timeline, message(4, { rev: 3, content: 'newest' }));
  timeline.renew(range(1, 4));
  timeline.endPage();
  expect(timeline.messages.map(({ content }) => content)).toEqual(['1', '2', '3', 'newest']);
});

test('new messages that arrive during the first page are appended to it', () => {
  const timeline = createTimeline();
  timeline.beginPage();
  live(timeline, ...range(11, 14));
  timeline.restart(range(1, 12));
  timeline.endPage();
  expect(bounds(timeline)).toEqual([1, 14, 14]);
});

test('what is kept for a page is bounded, and the page is known to be incomplete', () => {
  const timeline = at(2_000, 2_010);
  timeline.beginPage();
  live(timeline, ...range(1, 501));
  expect(timeline.endPage()).toBe(false);
  timeline.beginPage();
  expect(timeline.endPage()).toBe(true);
});

test('an older state never replaces a newer one, from wherever it comes', () => {
  const timeline = at(1, 3);
  live(timeline, message(2, { rev: 7, content: 'seven' }));
  live(timeline, message(2, { rev: 6, content: 'six' }));
  timeline.take({ message: message(2, { rev: 5, content: 'five' }), own: true });
  timeline.beginPage();
  timeline.restart([message(1), message(2, { rev: 6, content: 'six' })]);
  timeline.endPage();
  expect(timeline.messages.map(({ content }) => content)).toEqual(['1', 'seven', '3']);
});

test('messages that are the same stay the same objects', () => {
  const timeline = at(1, 5);
  const before = [...timeline.messages];
  live(timeline, message(3, { rev: 1, content: 'changed' }));
  timeline.take({ message: message(2), own: true });
  timeline.restart([message(1), message(2), message(3, { rev: 1, content: 'changed' }), message(4)]);
  expect(timeline.messages.map((it, index) => it === before[index])).toEqual([true, true, false, true, true]);
});

const reactions = (count: number, mine?: true) => [{ key: 'x', count, ...(mine && { mine }) }];

test('broadcasts of others keep what this user has set', () => {
  const timeline = at(1, 1);
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1, true) }), own: true });
  live(timeline, message(1, { rev: 2, reactions: reactions(2) }));
  expect(timeline.messages[0]?.reactions).toEqual(reactions(2, true));
  expect(timeline.stale.size).toBe(0);
});

test('an answer tells what this user has set, before and after the broadcast of it', () => {
  const timeline = at(1, 2);
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1) }), own: false, reacted: { key: 'x', on: true } });
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1) }), own: false, by: 'me' });
  timeline.take({ message: message(2, { rev: 2, reactions: reactions(1) }), own: false, by: 'me' });
  live(timeline, message(2, { rev: 3, reactions: reactions(2) }));
  timeline.take({ message: message(2, { rev: 2, reactions: reactions(1) }), own: false, reacted: { key: 'x', on: true } });
  expect(timeline.messages.map((it) => it.reactions)).toEqual([reactions(1, true), reactions(2, true)]);
  expect(timeline.stale.size).toBe(0);
});

test('what this user may have set elsewhere is in doubt until it is read', () => {
  const timeline = at(1, 2);
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1) }), own: false, by: 'me' });
  timeline.take({ message: message(2, { rev: 3, reactions: reactions(2) }), own: false, by: 'several' });
  expect([...timeline.stale.keys()]).toEqual([1, 2]);
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1, true) }), own: true });
  timeline.take({ message: message(2, { rev: 3, reactions: reactions(2) }), own: true });
  expect(timeline.stale.size).toBe(0);
  expect(timeline.messages[0]?.reactions).toEqual(reactions(1, true));
});

test('an answer that changed nothing leaves in doubt what was set elsewhere', () => {
  const timeline = at(1, 1);
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1) }), own: false, by: 'me' });
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1) }), own: false, reacted: { key: 'y', on: false } });
  expect([...timeline.stale.keys()]).toEqual([1]);
});

test('a doubt outlives the page that it came before', () => {
  const timeline = createTimeline();
  timeline.beginPage();
  live(timeline, message(1, { rev: 1, reactions: reactions(1) }));
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1) }), own: false, by: 'me' });
  timeline.restart([message(1)]);
  timeline.endPage();
  expect([...timeline.stale.keys()]).toEqual([1]);
});

test('another message under a number that is shown means another room', () => {
  const timeline = at(1, 5);
  live(timeline, { ...message(5), id: 9_999 }, message(6));
  expect(timeline.foreign).toBe(true);
  expect(bounds(timeline)).toEqual([1, 5, 5]);
  timeline.restart([{ ...message(1), id: 9_995 }]);
  expect(timeline.foreign).toBe(false);
  expect(bounds(timeline)).toEqual([1, 1, 1]);
});

test('changes of a room that was begun anew are not those that were answered before', () => {
  const timeline = at(1, 1);
  timeline.take({ message: message(1, { rev: 1, reactions: reactions(1) }), own: false, reacted: { key: 'x', on: true } });
  timeline.foreign = true;
  timeline.restart([{ ...message(1), id: 9_995 }]);
  timeline.take({ message: { ...message(1, { rev: 1, reactions: reactions(1) }), id: 9_995 }, own: false, by: 'me' });
  expect([...timeline.stale.keys()]).toEqual([1]);
});

test('a window that nobody looks at keeps its newest page, if it is at the live end', () => {
  const timeline = at(1, 200);
  timeline.shrink(50);
  expect(bounds(timeline)).toEqual([151, 200, 50]);
  timeline.seq = 300;
  timeline.shrink(50);
  expect([timeline.loaded, ...bounds(timeline)]).toEqual([false, 1, 0, 0]);
});
