// The messages of the open room: what is listed, how the keyboard moves through it, and jumps.

import type { MessagesSnapshot, Member, Message, Room, ShownMessage, User } from 'chat-gateway-client';
import { el, listOf, part, setText } from './dom';
import { createMessage, fillMessage, type MessageEntry, type MessageHost } from './message';
import { announce, say } from './notice';
import { isAtEnd, keepingThePlace, startScroller, toTheEnd, toTheMiddle } from './scroller';
import { me } from './session';
import type { Standing } from './standing';
import { day, goneText, listed, nameOf, sentence } from './words';

const TOGETHER_MS = 5 * 60_000; // messages of one author within this time share their heading

type Entry = MessageEntry | { kind: 'line'; key: string; text: string; look: Look };
type Look = 'day' | 'event' | 'new';

export interface TimelineView {
  room: Room;
  snapshot: MessagesSnapshot;
  standing: Standing;
  isOnline: boolean;
  reads: ReadonlyMap<string, number>;
}

let view: TimelineView | undefined;
let entries = new Map<string, Entry>();
let events: { key: string; after: number; text: string }[] = []; // what happened to members, after which message
let newestSeen = 0;    // the newest message that was before the user's eyes
let firstUnread = 0;   // the first message that was unread when the room was opened
let newestKnown = -1;  // the newest message so far; -1 until the first page is there
let active: HTMLElement | undefined; // the message in the order of focus
let whenSeen: () => void = () => {};
let eventCount = 0;

const list = part('messages');
const jump = part('jump');

let host: MessageHost;
let show: (items: readonly Entry[]) => void;

export function startTimeline(aim: MessageHost['aim'], onSeen: () => void): void {
  whenSeen = onSeen;
  host = {
    room: () => view?.room,
    standing: () => view?.standing ?? { members: new Map() },
    entry: key => { const entry = entries.get(key); return entry?.kind === 'message' ? entry : undefined; },
    aim,
    jumpTo: seq => void jumpTo(seq),
  };
  show = listOf<Entry>(list, {
    key: ({ key }) => key,
    create: entry => entry.kind === 'message' ? createMessage(entry.key, host) : el('li', entry.look),
    update(node, entry) {
      if (entry.kind === 'message') fillMessage(node, entry, host);
      else setText(node, entry.text);
    },
    focusLost: () => part('scroll').focus(),
  });
  startScroller({ nearTop: () => void loadOlder(), nearEnd: () => void loadNewer(), moved: seen });
  part('earlier').onclick = () => void loadOlder();
  jump.onclick = () => void jumpToLatest();
  list.addEventListener('focusin', ({ target }) => activate((target as HTMLElement).closest('li') ?? undefined));
  list.addEventListener('keydown', moveByKey);
  // Without a pointer that hovers, touching a message brings its tools.
  list.addEventListener('click', ({ target }) => {
    const node = target as HTMLElement;
    if (matchMedia('(hover: none)').matches && !node.closest('button')) node.closest('article')?.focus({ preventScroll: true });
  });
}

/** Forgets the room that was open. */
export function clearTimeline(): void {
  view = undefined;
  entries = new Map();
  events = [];
  [newestSeen, newestKnown, firstUnread] = [0, -1, 0];
  show([]);
  toTheEnd();
  jump.hidden = part('earlier').hidden = true;
}

/** Adds a line about what happened in the room. */
export function tell(text: string): void {
  events.push({ key: `event ${eventCount++}`, after: newestStored(view?.snapshot.messages ?? []), text });
  if (view) showTimeline(view);
}

export function showTimeline(next: TimelineView): void {
  const isLive = !view?.snapshot.hasNewer;
  view = next;
  const { snapshot } = next;
  const isFirst = newestKnown < 0 && snapshot.status === 'live';
  if (isFirst) firstUnread = firstUnreadOf(next);
  keepingThePlace(isLive, () => {
    show(entriesOf(next));
    part('earlier').hidden = !snapshot.hasOlder;
    part<HTMLButtonElement>('earlier').disabled = snapshot.loading === 'older';
    setText(part('earlier'), snapshot.loading === 'older' ? 'Loading…' : 'Earlier messages');
  });
  if (isFirst) {
    newestKnown = newestStored(snapshot.messages);
    toTheEnd();
  } else if (newestKnown >= 0) {
    announceNew(snapshot.messages);
  }
  if (!active?.isConnected || (isAtEnd() && !list.contains(document.activeElement))) activate(undefined);
  setActivity(active);
  seen();
}

function entriesOf({ snapshot, standing, isOnline, reads }: TimelineView): Entry[] {
  const { messages } = snapshot;
  const bySeq = new Map<number, Message>();
  for (const message of messages) if (message.state === 'stored') bySeq.set(message.seq, message);
  const lastOwn = messages.findLast(message => message.state === 'stored' && message.userId === me.id) as Message | undefined;
  const next: Entry[] = [];
  let above: ShownMessage | undefined, lastDay = '';
  let waiting = events.filter(({ after }) => after >= (bySeq.keys().next().value ?? 0) - 1);
  const line = (key: string, text: string, look: Look): void => {
    const before = entries.get(key);
    next.push(before?.kind === 'line' && before.text === text ? before : { kind: 'line', key, text, look });
    above = undefined;
  };
  const flush = (upTo: number): void => {
    for (const { key, text } of waiting.filter(({ after }) => after < upTo)) line(key, text, 'event');
    waiting = waiting.filter(({ after }) => after >= upTo);
  };
  for (const message of messages) {
    flush(message.state === 'stored' ? message.seq : Infinity);
    const onDay = day(message.createdAt);
    if (onDay !== lastDay) line(`day ${onDay}`, onDay, 'day');
    lastDay = onDay;
    if (message.state === 'stored' && message.seq === firstUnread) line('new', 'New', 'new');
    const entry: MessageEntry = {
      kind: 'message', message,
      key: message.clientMessageId ? `${message.user.id}/${message.clientMessageId}` : `#${message.state === 'stored' ? message.seq : ''}`,
      follows: above !== undefined && above.user.id === message.user.id && !message.replyTo
        && Date.parse(message.createdAt) - Date.parse(above.createdAt) < TOGETHER_MS,
      quoted: message.replyTo ? bySeq.get(message.replyTo) : undefined,
      isWaiting: message.state === 'pending' && !isOnline,
      readBy: message === lastOwn ? readersOf(lastOwn, reads, standing.members) : '',
      members: message.mentions?.length ? standing.members : NO_MEMBERS,
    };
    const before = entries.get(entry.key);
    next.push(before?.kind === 'message' && isSame(before, entry) ? before : entry);
    above = message;
  }
  flush(Infinity);
  entries = new Map(next.map(entry => [entry.key, entry]));
  return next;
}

/** Returns the number of the first unread message, unless only this user's own are unread, or all. */
function firstUnreadOf({ room, snapshot }: TimelineView): number {
  const { readSeq } = room.info.getSnapshot();
  const first = snapshot.messages.find(message => message.state === 'stored' && message.seq > readSeq && message.userId !== me.id);
  return readSeq > 0 && first?.state === 'stored' ? first.seq : 0;
}

const NO_MEMBERS: ReadonlyMap<string, Member> = new Map();

const isSame = (a: MessageEntry, b: MessageEntry): boolean =>
  (Object.keys(b) as (keyof MessageEntry)[]).every(key => a[key] === b[key]);

/** Says that an own message is stored, and by whom it has been read. */
function readersOf({ seq }: Message, reads: ReadonlyMap<string, number>, members: ReadonlyMap<string, { user: User }>): string {
  const readers = [...reads].filter(([userId, read]) => userId !== me.id && read >= seq).map(([id]) => members.get(id)?.user ?? { id, name: id });
  if (readers.length === 0) return '✓ stored';
  return `✓ read by ${readers.length > 3 ? `${readers.length} people` : listed(readers)}`;
}

function newestStored(messages: readonly ShownMessage[]): number {
  const last = messages.findLast(({ state }) => state === 'stored');
  return last?.state === 'stored' ? last.seq : 0;
}

/** Announces what others have written since the last time. */
function announceNew(messages: readonly ShownMessage[]): void {
  for (const message of messages.slice(-20)) {
    if (message.state !== 'stored' || message.seq <= newestKnown || message.userId === me.id || goneText(message)) continue;
    announce(`${nameOf(message.user)}: ${message.content.slice(0, 200)}`);
  }
  newestKnown = Math.max(newestKnown, newestStored(messages));
}

/** Notes what the user has seen, and shows how much is below. */
function seen(): void {
  if (!view) return;
  const { messages, hasNewer } = view.snapshot;
  if (isAtEnd() && !hasNewer && !document.hidden) newestSeen = newestStored(messages);
  const below = messages.filter(message => message.state === 'stored' && message.seq > newestSeen && message.userId !== me.id).length;
  const had = document.activeElement === jump;
  jump.hidden = messages.length === 0 || (isAtEnd() && !hasNewer);
  setText(jump, newestSeen > 0 && below > 0 ? `${below} new message${below === 1 ? '' : 's'} ↓` : 'Latest messages ↓');
  jump.classList.toggle('new', newestSeen > 0 && below > 0);
  if (had && jump.hidden) (active?.querySelector('article') ?? part('scroll')).focus({ preventScroll: true });
  whenSeen();
}

/** Whether the newest messages of the room are before the user's eyes. */
export const seesTheEnd = (): boolean => view !== undefined && !document.hidden && isAtEnd() && !view.snapshot.hasNewer;

async function loadOlder(): Promise<void> {
  if (!view?.snapshot.hasOlder || view.snapshot.loading || view.snapshot.status !== 'live') return;
  await view.room.messages.loadOlder().catch(error => say(...sentence('The history cannot be read', error)));
}

async function loadNewer(): Promise<void> {
  if (!view?.snapshot.hasNewer || view.snapshot.loading || view.snapshot.status !== 'live') return;
  await view.room.messages.loadNewer().catch(error => say(...sentence('The messages cannot be read', error)));
}

export async function jumpToLatest(): Promise<void> {
  if (!view) return;
  const { room, snapshot } = view;
  if (snapshot.hasNewer) {
    try {
      await room.messages.jumpToLatest();
    } catch (error) {
      return say(...sentence('The newest messages cannot be read', error));
    }
  }
  if (view?.room !== room) return;
  activate(undefined);
  toTheEnd();
  seen();
}

const nodeAt = (seq: number): HTMLElement | null => list.querySelector(`[data-seq="${Number(seq)}"]`);

async function jumpTo(seq: number): Promise<void> {
  if (!view) return;
  if (!nodeAt(seq)) {
    try {
      await view.room.messages.jumpTo(seq);
    } catch (error) {
      return say(...sentence('The message cannot be read', error));
    }
  }
  const node = nodeAt(seq);
  if (!node) return;
  toTheMiddle(node);
  node.querySelector('article')?.focus({ preventScroll: true });
}

/** Puts one message into the order of focus; without one, the newest. */
function activate(item: HTMLElement | undefined): void {
  const next = item?.querySelector('article') ? item : [...list.querySelectorAll<HTMLElement>('li:has(> article)')].at(-1);
  if (next === active) return;
  setActivity(active, false);
  active = next;
  setActivity(active);
}

/** In the list, the Tab key reaches the active message and its buttons only, and the buttons of what was not sent. */
function setActivity(item: HTMLElement | undefined, isActive = true): void {
  item?.querySelectorAll<HTMLElement>('article, article > :not(.status) button, .quote').forEach(node => { node.tabIndex = isActive ? 0 : -1; });
}

function moveByKey(event: KeyboardEvent): void {
  const item = (event.target as HTMLElement).closest('li');
  const items = [...list.querySelectorAll<HTMLElement>('li:has(> article)')];
  const at = items.findIndex(other => other === item);
  if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === 'Escape') {
    if (event.target instanceof HTMLButtonElement) item?.querySelector('article')?.focus();
    else part('input').focus();
    return event.preventDefault();
  }
  const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: items.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (to < 0) return void loadOlder();
  items[to]?.querySelector('article')?.focus();
}
