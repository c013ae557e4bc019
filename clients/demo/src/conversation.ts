// The open room: which one it is, its heading, and how its parts are kept up to date.

import type { Member, RemovalReason, Room, ServerEvents, Store, UserStatus } from 'chat-gateway-client';
import { aimAt, composeFor, setGag, startComposer } from './composer';
import { el, follow, isPhone, part, setText, soon, type Child } from './dom';
import { setOpenRoom, summaryOf } from './inbox';
import { changeOf, showMembers, startMembers } from './members';
import { say } from './notice';
import { client } from './session';
import { gag, isMuted, type Standing } from './standing';
import { clearTimeline, seesTheEnd, showTimeline, startTimeline, tell } from './timeline';
import { listed, nameOf, roomName, sentence } from './words';

let room: Room | undefined;
let stops: (() => void)[] = [];
let members: ReadonlyMap<string, Member> = new Map();
let watched = new Map<string, { store: Store<UserStatus>; stop(): void }>();
let nextUnmute: ReturnType<typeof setTimeout> | undefined; // fires when a mute ends: no event reports that

const refresh = soon(showRoom);
const refreshMessages = soon(showMessages);

const standing = (): Standing => ({ members, room: room?.info.getSnapshot().room });

export function startConversation(): void {
  startMembers(refresh);
  startTimeline(aimAt, markRead);
  startComposer();
  document.addEventListener('visibilitychange', () => { markRead(); refreshMessages(); });
  addEventListener('hashchange', () => {
    say();
    openRoom(roomOfAddress());
    // On a phone, the focus in the field would open the keyboard.
    if (room) (isPhone() ? part('title') : part('input')).focus();
    else document.querySelector<HTMLElement>('#rooms')?.focus();
  });
  client.connection.subscribe(refresh);
  client.inbox.subscribe(refresh);
  client.on('memberChanged', memberChanged);
  client.on('leftRoom', ({ roomId, reason }) => { if (reason) excluded(roomId, reason); });
  client.on('roomRemoved', ({ roomId, reason }) => excluded(roomId, reason));
  openRoom(roomOfAddress());
  refresh();
}

/** Whether all members are listed. An empty list may not have been read yet. */
const isListed = (): boolean =>
  room !== undefined && !room.members.getSnapshot().hasMore && (members.size > 0 || room.info.getSnapshot().room?.memberCount === 0);

const roomOfAddress = (): number | undefined => Number(location.hash.slice(1)) || undefined;

/** Opens this room instead of the one that is open; without a number, none. */
function openRoom(roomId: number | undefined): void {
  if (roomId === room?.roomId) return;
  close();
  document.body.dataset.view = roomId === undefined ? 'rooms' : 'chat';
  if (roomId !== undefined) {
    try {
      room = client.room(roomId);
    } catch (error) {
      return closeRoom(...sentence(`Room ${roomId} cannot be opened`, error));
    }
  }
  composeFor(room);
  if (room) attach(room);
  refresh();
}

function close(): void {
  for (const stop of stops.splice(0)) stop();
  for (const { stop } of watched.values()) stop();
  watched = new Map();
  clearTimeout(nextUnmute);
  room = undefined;
  members = new Map();
  clearTimeline();
}

function attach(opened: Room): void {
  stops = [
    opened.open(),
    follow(opened.members, snapshot => {
      members = new Map(snapshot.members.map(member => [member.userId, member]));
      refresh();
    }),
    follow(opened.info, ({ refusal }) => {
      if (refusal && room === opened) return closeRoom(...sentence(`Room ${opened.roomId} cannot be opened`, refusal));
      refresh();
    }),
    ...[opened.messages, opened.reads].map(store => store.subscribe(refreshMessages)),
    opened.presence.subscribe(refresh),
    follow(opened.typing, who => setText(part('typing'), who.length === 0 ? '' : who.length > 3 ? 'Several people are typing…' : `${listed(who)} ${who.length === 1 ? 'is' : 'are'} typing…`)),
  ];
}

/** Closes the room that is open, and says why. */
function closeRoom(...why: Child[]): void {
  history.replaceState(null, '', location.pathname + location.search);
  openRoom(undefined);
  say(...why);
  [part('title'), document.querySelector<HTMLElement>('#rooms')].find(heading => heading?.offsetParent)?.focus();
}

/** Says in the list of messages what has happened to a member. */
function memberChanged({ roomId, member, by }: ServerEvents['memberChanged']): void {
  if (roomId !== room?.roomId || !isListed()) return;
  const before = members.get(member.userId); // the store tells of the change after this
  const what = changeOf(before, member);
  const author = by && by !== member.userId ? ` (by ${nameOf(members.get(by)?.user ?? { id: by })})` : '';
  if (what) tell(`${nameOf(before?.user ?? member.user)} ${what}${author}`);
}

/** The gateway has ended this user's stay in a room, which may be the open one. */
function excluded(roomId: number, reason: RemovalReason): void {
  const known = summaryOf(roomId) ?? (roomId === room?.roomId ? room.info.getSnapshot().room ?? { roomId } : undefined);
  if (!known) return; // already said
  const name = roomName(known);
  const why = { banned: `You were banned from ${name}.`, removed: `You are no longer a member of ${name}.`, closed: `${name} was closed.` }[reason];
  if (roomId === room?.roomId) closeRoom(why); else say(why);
}

/** Marks what is visible as read. */
function markRead(): void {
  const sees = seesTheEnd();
  setOpenRoom(room?.roomId, sees);
  if (!room || !sees || client.connection.getSnapshot().status !== 'online') return;
  const { seq, readSeq } = room.info.getSnapshot();
  if (seq > readSeq) room.markRead().catch(() => {}); // it is marked again with the next message
}

function showMessages(): void {
  if (!room) return;
  showTimeline({
    room,
    snapshot: room.messages.getSnapshot(),
    standing: standing(),
    isOnline: client.connection.getSnapshot().status === 'online',
    reads: room.reads.getSnapshot(),
  });
  showEmpty();
}

/** Shows what depends on the connection, the open room and this user's standing there. */
function showRoom(): void {
  const { status } = client.connection.getSnapshot();
  const info = room?.info.getSnapshot();
  const presence = room?.presence.getSnapshot();
  const count = isListed() ? members.size : info?.room?.memberCount; // the number of members that the gateway gave may be old
  setText(part('title'), room ? roomName(info?.room ?? summaryOf(room.roomId) ?? { roomId: room.roomId }) : 'No room is open');
  setText(part('facts'), !room ? '' : !info?.room || (status === 'online' && info.status !== 'live') ? (status === 'online' ? 'joining…' : '') : [
    `room ${room.roomId}`, info.room.kind, `${count} member${count === 1 ? '' : 's'}`,
    ...(presence?.count ? [`${presence.count} here now`] : []),
    ...(info.room.frozen ? ['frozen'] : []), ...(info.room.slowModeSeconds ? [`slow mode ${info.room.slowModeSeconds} s`] : []),
  ].join(' · '));
  part('show-members').hidden = !room;
  part('back').hidden = !room;
  setGag(gag(standing()), members);
  showMessages();
  refreshMembers();
  markRead();
  showEmpty();
}

function refreshMembers(): void {
  watchMembers();
  showMembers(room, {
    standing: standing(),
    isComplete: isListed(),
    present: new Set(room?.presence.getSnapshot().users.map(({ id }) => id)),
    seen: userId => watched.get(userId)?.store.getSnapshot(),
  });
  clearTimeout(nextUnmute);
  const ends = [...members.values()].filter(isMuted).map(({ mutedUntil }) => Date.parse(mutedUntil) - Date.now());
  if (ends.length) nextUnmute = setTimeout(refresh, Math.min(...ends, 2 ** 31 - 2) + 1);
}

/** Watches whether the listed members are online; the gateway allows 200 at a time. */
function watchMembers(): void {
  const ids = new Set([...members.keys()].slice(0, 200));
  for (const [id, { stop }] of watched) {
    if (ids.has(id)) continue;
    stop();
    watched.delete(id);
  }
  for (const id of ids) {
    if (watched.has(id)) continue;
    const store = client.watchUser(id);
    watched.set(id, { store, stop: store.subscribe(refreshMembers) });
  }
}

function showEmpty(): void {
  const empty = part('empty');
  const snapshot = room?.messages.getSnapshot();
  const isBlank = !snapshot || snapshot.messages.length === 0;
  empty.hidden = !isBlank;
  if (!isBlank) return;
  const [head, more] = !room ? ['Choose a room', 'Open a second window as another user, and write to each other.']
    : snapshot?.status === 'live' && !snapshot.loading ? ['Nothing here yet', 'Say something.']
    : client.connection.getSnapshot().status === 'online' ? ['', 'Loading…'] : ['', 'There is no connection. What you write is sent when it is back.'];
  if (empty.textContent !== head + more) empty.replaceChildren(...(head ? [el('strong', '', head)] : []), el('p', '', more));
}
