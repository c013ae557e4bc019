// What this user may do in the open room: roles, mutes, and a frozen room.

import type { Member, Role, RoomSettings } from 'chat-gateway-client';
import { me } from './session';
import { until } from './words';

/** Each may do what those before it may. */
export const ROLES: readonly Role[] = ['reader', 'member', 'moderator', 'owner'];

/** The members of the open room, and its settings, as far as they are known. */
export interface Standing { members: ReadonlyMap<string, Member>; room?: RoomSettings | undefined }

/** The rank of a user; -1 without membership. */
export function rank({ members }: Standing, userId = me.id): number {
  const role = members.get(userId)?.role;
  return role ? ROLES.indexOf(role) : -1;
}

export const moderates = (standing: Standing): boolean => rank(standing) >= ROLES.indexOf('moderator');
export const owns = (standing: Standing): boolean => rank(standing) >= ROLES.indexOf('owner');

export const isMuted = <M extends { readonly mutedUntil?: string }>(member: M | undefined): member is M & { readonly mutedUntil: string } =>
  Date.parse(member?.mutedUntil ?? '') > Date.now();

/** Returns why this user cannot write, or "". */
export function gag(standing: Standing): string {
  const own = standing.members.get(me.id);
  if (own?.role === 'reader') return 'You are a reader here: you cannot write.';
  if (isMuted(own)) return `You are muted ${until(own.mutedUntil)}.`;
  if (standing.room?.frozen && !moderates(standing)) return 'The room is frozen: only moderators and owners can write.';
  return '';
}
