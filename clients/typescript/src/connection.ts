// The connection: token, attempts, and requests with their deadlines. Every attempt has a socket of
// its own, so nothing of an earlier one is ever taken for the current one's.

import { io, type Socket } from 'socket.io-client';
import type { ClientEvent, Payload, Result } from './contract.js';
import { ChatError, disconnected } from './errors.js';
import type { Source, Stores } from './store.js';
import { type Timers, within } from './timers.js';
import { type Identity, readToken } from './token.js';
import type { ClientOptions, ConnectionState } from './types.js';
import { watchWakeUps } from './wakeup.js';

/** In ms. Without an answer by then, the connection has broken: the gateway answers every request. */
const DEADLINE = 20_000;
const TOKEN_DEADLINE = 30_000;
const CHECK_DEADLINE = 1_000;
const FIRST_BACKOFF = 500;
const LAST_BACKOFF = 30_000;
/** A connection that lasted this long, in ms, was a good one: the backoff begins anew. */
const STABLE = 5_000;
/** Leaving a room that was never joined succeeds, and costs the gateway nothing. */
const NO_ROOM = Number.MAX_SAFE_INTEGER;

export interface Hooks {
  /** A token was read: of the same user, or of another. */
  identified(identity: Identity, switched: boolean): void;
  online(): void;
  offline(): void;
  event(name: string, payload: unknown): void;
}

export interface Connection {
  readonly store: Source<ConnectionState>;
  /** The number of the current connection, or 0. */
  readonly epoch: number;
  readonly identity: Identity | undefined;
  connect(): void;
  close(): void;
  /** Sends an event once. */
  request<E extends ClientEvent>(event: E, payload: Payload<E>): Promise<Result<E>>;
  /** Repeats a request while it is retryable, on this connection, and while `wanted` returns true. */
  ask<E extends ClientEvent>(event: E, payload: Payload<E>, wanted?: () => boolean): Promise<Result<E>>;
}

export const jitter = (failures: number, first: number, last: number): number =>
  Math.random() * Math.min(last, first * 2 ** failures);

export function createConnection(
  options: ClientOptions,
  { batch, source }: Stores,
  timers: Timers,
  report: (error: unknown) => void,
  hooks: Hooks,
): Connection {
  let state: ConnectionState = { status: 'offline' };
  let attempts = 0;
  let current = 0; // the number of the attempt under way or, if it is online, of the connection
  let epoch = 0;
  let failures = 0;
  let began = 0;
  let identity: Identity | undefined;
  let socket: Socket | undefined;
  let cancelTimer = () => {}; // of the next attempt, of the current one's deadline, or of the renewal
  let stopWatching: (() => void) | undefined;
  const aborts = new Set<() => void>(); // of what waits for something on this connection

  const store = source<ConnectionState>(() => state);
  function enter(next: ConnectionState): void {
    state = next;
    store.changed();
  }

  /** Ends the attempt or connection, whatever its state. */
  function drop(): void {
    current = 0;
    cancelTimer();
    const old = socket;
    socket = undefined;
    if (old) {
      old.off();
      old.offAny();
      old.disconnect();
    }
    if (!epoch) return;
    epoch = 0;
    aborts.forEach((abort) => abort());
    hooks.offline();
  }

  function lost(now = false): void {
    batch(() => {
      if (epoch && Date.now() - began > STABLE) failures = 0;
      drop();
      const delay = now ? 0 : jitter(failures, FIRST_BACKOFF, LAST_BACKOFF);
      failures++;
      if (now) return void attempt();
      const noNetwork = (globalThis as { navigator?: { onLine?: boolean } }).navigator?.onLine === false;
      enter(noNetwork ? { status: 'offline' } : { status: 'connecting', retryAt: Date.now() + delay });
      cancelTimer = timers.after(delay, attempt, true);
    });
  }

  /** No attempt follows. */
  function stop(next: ConnectionState): void {
    batch(() => {
      drop();
      stopWatching?.();
      stopWatching = undefined;
      enter(next);
    });
  }

  async function attempt(isFresh = false): Promise<void> {
    const own = (current = ++attempts);
    const isCurrent = () => own === current;
    began = Date.now();
    enter({ status: 'connecting' });
    try {
      const token = await within(timers, TOKEN_DEADLINE, 'the token', options.token('connect'));
      if (!isCurrent()) return;
      identify(readToken(token));
      cancelTimer = timers.after(DEADLINE, lost, true);
      const next = io(options.url, {
        // Long-polling first could wait for a pooled connection that broke while the machine slept.
        transports: ['websocket', 'polling'],
        tryAllTransports: true,
        ...options.socket,
        auth: { token },
        autoConnect: false,
        reconnection: false,
        forceNew: true,
      });
      socket = next;
      next.on('connect', () => batch(connected));
      next.on('disconnect', () => isCurrent() && lost());
      next.on('connect_error', (error) => {
        if (!isCurrent()) return;
        // The socket stays active if the transport failed, and does not if the gateway refused it.
        const code = error.message;
        if (next.active || code === 'unavailable') lost();
        else if (code === 'token_expired' && !isFresh) {
          drop();
          void attempt(true);
        } else stop({ status: 'refused', code });
      });
      next.onAny((name: string, payload: unknown) => isCurrent() && batch(() => hooks.event(name, payload)));
      next.connect();
    } catch (error) {
      if (!isCurrent()) return;
      report(error);
      lost();
    }

    function connected(): void {
      if (!isCurrent()) return;
      epoch = own;
      began = Date.now();
      cancelTimer();
      renewAt(identity?.expiresAt);
      enter({ status: 'online', userId: identity?.user.id ?? '' });
      hooks.online();
    }
  }

  function identify(next: Identity | undefined): void {
    if (!next) return;
    const switched = identity !== undefined && identity.user.id !== next.user.id;
    identity = next;
    batch(() => hooks.identified(next, switched));
  }

  function renewAt(expiresAt: number | undefined): void {
    if (!expiresAt) return;
    const left = expiresAt - Date.now();
    // An accepted token that seems to have expired means that the clocks differ.
    const delay = left > 0 ? left - Math.min(60_000, left / 3) : 30_000;
    cancelTimer = timers.after(delay, renew);
  }

  async function renew(): Promise<void> {
    const own = epoch;
    try {
      const token = await within(timers, TOKEN_DEADLINE, 'the token', options.token('renew'));
      if (own !== epoch) return;
      const next = readToken(token);
      // A connection belongs to one user.
      if (next && next.user.id !== identity?.user.id) return lost(true);
      const { expiresAt } = await ask('renewToken', { token });
      if (own !== epoch) return;
      identify(next);
      renewAt(Date.parse(expiresAt));
    } catch (error) {
      if (own !== epoch) return;
      // If none comes in time, the gateway disconnects, and the next attempt decides.
      report(error);
      cancelTimer = timers.after(10_000, renew);
    }
  }

  function request<E extends ClientEvent>(event: E, payload: Payload<E>): Promise<Result<E>> {
    const own = epoch;
    return new Promise((resolve, reject) => {
      if (!own || !socket) return reject(disconnected());
      const abort = () => settle(() => reject(disconnected()));
      const cancel = timers.after(DEADLINE, () => own === epoch && lost());
      const settle = (how: () => void) => {
        cancel();
        aborts.delete(abort);
        how();
      };
      aborts.add(abort);
      try {
        socket.emit(event, payload, (answer: Answer<E>) => {
          if (own !== epoch) return;
          if (answer.ok) return settle(() => resolve(answer));
          // The token ends, and with it the connection.
          if (answer.error.code.startsWith('token_') && event !== 'renewToken') return lost();
          settle(() => reject(new ChatError(answer.error)));
        });
      } catch (error) {
        settle(() => reject(error)); // a payload that is not JSON
      }
    });
  }

  async function ask<E extends ClientEvent>(
    event: E,
    payload: Payload<E>,
    wanted: () => boolean = () => true,
  ): Promise<Result<E>> {
    const own = epoch;
    for (let tries = 0; ; tries++) {
      try {
        return await request(event, payload);
      } catch (error) {
        const goesOn = () => own && own === epoch && wanted();
        if (!(error instanceof ChatError && error.retryable && goesOn())) throw error;
        await pause(Math.max(error.retryAfterMs ?? 0, 100 + jitter(tries, 200, 5_000)));
        if (!goesOn()) throw error;
      }
    }
  }

  /** Waits, at most until the connection ends. */
  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        cancel();
        aborts.delete(done);
        resolve();
      };
      const cancel = timers.after(ms, done);
      aborts.add(done);
    });
  }

  /** Finds out whether the connection is alive, or begins at once what waits. */
  function check(): void {
    if (epoch) {
      const own = epoch;
      const cancel = timers.after(CHECK_DEADLINE, () => own === epoch && lost(true));
      request('leaveRoom', { roomId: NO_ROOM }).then(cancel, cancel);
      return;
    }
    failures = 0;
    const own = current;
    const again = () => own === current && !epoch && lost(true);
    const age = own ? Date.now() - began : Infinity;
    // An attempt that began before the network was back may hang, and not fail.
    if (age > CHECK_DEADLINE) again();
    else timers.after(CHECK_DEADLINE - age, again);
  }

  return {
    store,
    get epoch() {
      return epoch;
    },
    get identity() {
      return identity;
    },
    connect() {
      if (stopWatching) return;
      stopWatching = watchWakeUps(timers, check);
      failures = 0;
      lost(true);
    },
    close: () => stop({ status: 'offline' }),
    request,
    ask,
  };
}

type Answer<E extends ClientEvent> =
  | ({ ok: true } & Result<E>)
  | { ok: false; error: ConstructorParameters<typeof ChatError>[0] };
