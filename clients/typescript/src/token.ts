// What a client reads from its own token, unverified: the gateway verifies it.

import type { User } from './contract.js';

export interface Identity {
  readonly user: User;
  /** In ms since the epoch. */
  readonly expiresAt?: number;
}

/** Returns undefined if it is not a JWT with a subject. */
export function readToken(token: string): Identity | undefined {
  try {
    const payload = token.split('.')[1] ?? '';
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
    const { sub, name, username, preferred_username, exp } = JSON.parse(new TextDecoder().decode(bytes));
    if (sub === undefined || sub === null) return undefined;
    const id = String(sub);
    return {
      user: { id, name: String(name ?? username ?? preferred_username ?? id) },
      ...(typeof exp === 'number' && { expiresAt: exp * 1000 }),
    };
  } catch {
    return undefined;
  }
}
