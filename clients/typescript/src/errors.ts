// What a request fails with.

/**
 * A refusal by the gateway, with its code; or `disconnected`, if the connection ended before the
 * answer.
 */
export class ChatError extends Error {
  declare readonly code: string;
  declare readonly retryable: boolean;
  /** Why it is `forbidden`; or why the connection had to leave the room. */
  declare readonly reason?: string;
  /** Until when the user is muted. */
  declare readonly until?: string;
  declare readonly retryAfterMs?: number;

  constructor(failure: Pick<ChatError, 'code' | 'message' | 'retryable' | 'reason' | 'until' | 'retryAfterMs'>) {
    super();
    Object.assign(this, failure, { name: 'ChatError' });
  }
}

export const disconnected = (): ChatError =>
  new ChatError({ code: 'disconnected', message: 'the connection ended', retryable: true });

export function toChatError(error: unknown): ChatError {
  return error instanceof ChatError
    ? error
    : new ChatError({ code: 'internal', message: String(error), retryable: false });
}

/** Keeps a rejection that a caller does not await from being reported as unhandled. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
