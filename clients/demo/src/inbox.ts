// The list of rooms, with what is unread in each.

import type { InboxSnapshot, Summary } from 'chat-gateway-client';
import { el, follow, listOf, part } from './dom';
import { say } from './notice';
import { client, me } from './session';
import { brief, goneText, nameOf, roomName, sentence } from './words';

interface Entry { summary: Summary; unread: number; isOpen: boolean }

let snapshot: InboxSnapshot | undefined;
let openRoomId: number | undefined;
let sees = false; // whether the newest messages of the open room are before the user's eyes
let shown = new Map<number, Entry>();

const show = listOf<Entry>(part('rooms'), {
  key: ({ summary }) => `${summary.roomId}`,
  create: () => el('li', '', el('a')),
  update: (node, entry) => fill(node.firstElementChild as HTMLAnchorElement, entry),
  focusLost: () => part('rooms').closest('nav')?.querySelector('h2')?.focus(),
});

export function startInbox(): void {
  follow(client.inbox, next => {
    snapshot = next;
    render();
  });
  client.on('roomAdded', ({ summary }) => say(`You are now a member of ${roomName(summary)}.`));
  part('rooms').closest('.body')?.addEventListener('scroll', ({ target }) => {
    const { scrollHeight, scrollTop, clientHeight } = target as HTMLElement;
    if (snapshot?.hasMore && scrollHeight - scrollTop - clientHeight < 200) {
      client.inbox.loadMore().catch(error => say(...sentence('Your rooms cannot be listed', error)));
    }
  });
}

/** Tells the list which room is open, and whether its newest messages are visible. */
export function setOpenRoom(roomId: number | undefined, isSeen: boolean): void {
  if (roomId === openRoomId && isSeen === sees) return;
  [openRoomId, sees] = [roomId, isSeen];
  render();
}

export const summaryOf = (roomId: number): Summary | undefined => snapshot?.rooms.find(room => room.roomId === roomId);

function render(): void {
  if (!snapshot) return;
  const before = shown;
  shown = new Map();
  // What the user sees is read; the gateway is told at the same time.
  for (const summary of snapshot.rooms) {
    const isOpen = summary.roomId === openRoomId;
    const entry = { summary, isOpen, unread: isOpen && sees ? 0 : summary.unread };
    const same = before.get(summary.roomId);
    shown.set(summary.roomId, same && same.summary === summary && same.isOpen === isOpen && same.unread === entry.unread ? same : entry);
  }
  show([...shown.values()]);
  const hidden = [...shown.values()].reduce((sum, { summary, unread }) => sum + summary.unread - unread, 0);
  const total = Math.max(0, snapshot.unreadTotal - hidden);
  part('no-rooms').hidden = shown.size > 0 || snapshot.status !== 'live';
  part('unread').textContent = total ? `${total} unread` : snapshot.status === 'loading' ? '' : 'nothing unread';
  document.title = `${total ? `(${total}) ` : ''}${me.name} · chat-gateway`;
}

function fill(link: HTMLAnchorElement, { summary, unread, isOpen }: Entry): void {
  const { roomId, kind, lastMessage, mentions } = summary;
  const name = roomName(summary);
  const last = lastMessage ? `${nameOf(lastMessage.user)}: ${goneText(lastMessage) || lastMessage.content}` : 'No messages yet';
  const mentioned = unread > 0 && mentions > 0;
  link.href = `#${roomId}`;
  link.replaceChildren(
    el('span', { className: `sign i i-${kind === 'private' ? 'lock' : 'hash'}`, ariaHidden: 'true' }),
    el('b', '', name, ...(kind === 'private' ? [el('span', 'unseen', ', private')] : [])),
    el('time', 'quiet', lastMessage ? brief(lastMessage.createdAt) : ''),
    el('span', 'last quiet', last),
    ...(unread ? [el('span', 'badge', mentioned ? '@ ' : '', `${unread}`), el('span', 'unseen', ' unread')] : []),
  );
  link.classList.toggle('unread', unread > 0);
  link.ariaCurrent = isOpen ? 'page' : null;
}
