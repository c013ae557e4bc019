// What the client tells its rooms and its inbox.

import type { ServerEvent, ServerEvents } from './contract.js';
import type { Room } from './types.js';

/** What is done with each event. */
export type Handlers = { [E in ServerEvent]?: (payload: ServerEvents[E]) => void };

export interface ManagedRoom extends Room {
  /** Whether something uses it, or did just now. */
  inUse(): boolean;
  online(): void;
  offline(): void;
  received(name: ServerEvent, payload: unknown): void;
  /** The outbox, the user's name, or the connection's state has changed. */
  changed(): void;
  /** The user may be allowed to join again. */
  admitted(): void;
  /** Another user is signed in. */
  reset(): void;
}
