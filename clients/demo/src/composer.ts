// The field in which messages are written: new ones, replies and edits.

import type { Member, Message, Room } from 'chat-gateway-client';
import { part, setText } from './dom';
import { endSuggestions, suggest, takesKey } from './mentioning';
import { attempt } from './message';
import { me } from './session';
import { jumpToLatest } from './timeline';
import { nameOf } from './words';

export type Aim = { kind: 'reply' | 'edit'; message: Message };

const input = part<HTMLTextAreaElement>('input');
const drafts = new Map<number, string>(); // what is not sent yet, by room

let room: Room | undefined;
let aim: Aim | undefined; // what the field is for, unless it is for a new message
let members: ReadonlyMap<string, Member> = new Map();

export function startComposer(): void {
  part('compose-form').onsubmit = event => {
    event.preventDefault();
    submit();
  };
  input.oninput = () => {
    grow();
    suggest(members);
    room?.setTyping(input.value !== '' && aim?.kind !== 'edit');
  };
  input.onkeydown = event => {
    if (event.isComposing) return;
    if (takesKey(event)) return event.preventDefault();
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === 'Escape' && aim) {
      aimAt(undefined);
    } else if (event.key === 'ArrowUp' && input.value === '' && !aim) {
      const own = room?.messages.getSnapshot().messages.findLast(message => message.state === 'stored' && message.userId === me.id && !message.deletedAt);
      if (own?.state !== 'stored') return;
      event.preventDefault();
      aimAt({ kind: 'edit', message: own });
    }
  };
  input.onblur = endSuggestions;
  part('aim-cancel').onclick = () => aimAt(undefined);
}

/** Writes to this room from now on. What was not sent to the previous one is kept for it. */
export function composeFor(next: Room | undefined): void {
  if (room && aim?.kind !== 'edit') drafts.set(room.roomId, input.value);
  room = next;
  members = new Map();
  setAim(undefined);
  input.value = (next && drafts.get(next.roomId)) ?? '';
  part('compose').hidden = next === undefined;
  grow();
}

/** Shows why this user cannot write; or, without a reason, lets the user write. */
export function setGag(reason: string, who: ReadonlyMap<string, Member>): void {
  members = who;
  setText(part('gag'), reason);
  // A field that is read-only keeps the focus; a disabled one loses it.
  input.readOnly = part<HTMLButtonElement>('send').disabled = reason !== '';
  input.placeholder = reason ? 'You cannot write now' : 'Write a message';
}

/** Uses the field to reply to a message or to edit it; without an aim, to write. */
export function aimAt(next: Aim | undefined): void {
  setAim(next);
  input.focus();
  input.setSelectionRange(input.value.length, input.value.length);
}

function setAim(next: Aim | undefined): void {
  if (aim?.kind === 'edit') input.value = (room && drafts.get(room.roomId)) ?? '';
  if (next?.kind === 'edit' && room) drafts.set(room.roomId, input.value);
  aim = next;
  part('aim').hidden = next === undefined;
  if (next?.kind === 'edit') input.value = next.message.content;
  setText(part('aim-text'), !next ? '' : next.kind === 'edit' ? `Editing #${next.message.seq}` : `Replying to ${nameOf(next.message.user)}: ${next.message.content}`);
  grow();
}

function submit(): void {
  endSuggestions();
  const content = input.value;
  if (!room || input.readOnly || content === '') return;
  if (aim?.kind === 'edit') return void edit(room, aim, content);
  const mentions = mentionsIn(content);
  room.send(content, { ...(aim ? { replyTo: aim.message.seq } : {}), ...(mentions.length ? { mentions } : {}) });
  drafts.delete(room.roomId);
  input.value = '';
  room.setTyping(false);
  aimAt(undefined);
  void jumpToLatest();
}

async function edit(room: Room, { message }: Aim, content: string): Promise<void> {
  const isDone = await attempt('The message cannot be edited', room.edit(message.seq, content));
  if (isDone && aim?.message.seq === message.seq) aimAt(undefined);
}

/** Returns the ids of the members whose names are written after an @. */
function mentionsIn(content: string): string[] {
  return [...members.values()].filter(({ user }) => content.includes(`@${nameOf(user)}`)).map(({ userId }) => userId).slice(0, 50);
}

/** The field is as high as its text, up to a limit that CSS sets. */
function grow(): void {
  input.style.height = 'auto';
  input.style.height = `${input.scrollHeight + 2}px`;
}
