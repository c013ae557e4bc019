// How times, people, rooms and refusals are put into words.

import type { ChatError, Message, User } from 'chat-gateway-client';
import { el, type Child } from './dom';
import { users } from './session';

export const time = (at: string | number | Date): string =>
  new Date(at).toLocaleTimeString([], { hour: 'numeric', minute: '2-digit' });

const sameDay = (a: Date, b: Date): boolean => a.toDateString() === b.toDateString();

export function day(at: string): string {
  const date = new Date(at), today = new Date(), yesterday = new Date();
  yesterday.setDate(today.getDate() - 1);
  if (sameDay(date, today)) return 'Today';
  if (sameDay(date, yesterday)) return 'Yesterday';
  return date.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
}

/** The time today, otherwise the day. */
export const brief = (at: string): string =>
  sameDay(new Date(at), new Date()) ? time(at) : new Date(at).toLocaleDateString([], { day: 'numeric', month: 'short' });

export function until(at: string): string {
  const end = new Date(at);
  if (end.getFullYear() === 9999) return 'until a moderator lifts it'; // the wire's "forever"
  return `until ${sameDay(end, new Date()) ? time(end) : end.toLocaleString()}`;
}

/** The gateway learns a name when its user writes; until then the demo's own list has it. */
export const nameOf = ({ id, name = id }: { id: string; name?: string }): string =>
  (name === id && users.find(user => user.id === id)?.name) || name;

export const roomName = ({ roomId, name }: { roomId: number; name?: string | null }): string => name || `Room ${roomId}`;

/** Says that a message has no text any more, or returns "". */
export const goneText = ({ deletedAt, erasedAt }: Pick<Message, 'deletedAt' | 'erasedAt'>): string =>
  erasedAt ? 'This message was erased.' : deletedAt ? 'This message was deleted.' : '';

export const listed = (people: readonly User[]): string =>
  new Intl.ListFormat('en', { type: 'conjunction' }).format(people.map(nameOf));

type Refusal = Pick<ChatError, 'code' | 'message' | 'reason' | 'until' | 'retryAfterMs'>;

/** Says why something was refused. */
export function why({ code, message, reason, until: end, retryAfterMs }: Refusal): string {
  if (code === 'forbidden') {
    if (reason === 'muted' && end) return `you are muted ${until(end)}`;
    if (reason === 'frozen') return 'the room is frozen';
    if (reason === 'role') return 'your role does not allow it';
    if (reason === 'author') return 'it is not yours';
  }
  if (code === 'not_found') return 'it does not exist for you';
  if (code === 'rate_limited' && retryAfterMs) return `too fast, you can try again in ${Math.ceil(retryAfterMs / 1000)} s`;
  return message;
}

/** Says in plain words what was refused and why, with the code for developers. */
export function sentence(what: string, error: unknown): Child[] {
  const refusal = asRefusal(error);
  return [`${what}: ${why(refusal)}. `, el('code', '', refusal.code)];
}

/** Returns the error as a refusal, also if it is not one by the gateway. */
function asRefusal(error: unknown): Refusal {
  if (error instanceof Error && 'code' in error) return error as Error & Refusal;
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) };
}
