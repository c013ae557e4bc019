// When this connection is in a room, and what may be asked there. A room is joined while it is used,
// or while something waits to be sent to it.

import type { Connection } from './connection.js';
import type { ClientEvent, Payload, Result } from './contract.js';
import { ChatError, disconnected } from './errors.js';
import type { Stores } from './store.js';
import type { Timers } from './timers.js';

/** In ms, for which a room that nobody uses any more stays joined. */
const LINGER = 5_000;
/** In ms, within which an action succeeds, on whatever connection, or fails. */
const PATIENCE = 30_000;

export type Phase = 'out' | 'joining' | 'in' | 'leaving' | 'refused';

/** What the membership needs of its room. */
export interface Host {
  /** Where a join resumes. */
  resume(): { readonly afterSeq?: number; readonly afterRev?: number };
  /** Whether something waits to be sent. */
  isWaiting(): boolean;
  /** The connection is in the room, and its requests succeed. */
  send(): void;
  /** The connection is not in the room any more; with `refusal`, because it had to leave. */
  left(refusal?: ChatError): void;
  /** Nobody uses the room any more. */
  idle(): void;
  /** Somebody uses it again. */
  wake(): void;
  changed(): void;
}

/** For whom an action is, and until when it may be tried. */
export interface Ticket {
  readonly user: string | undefined;
  readonly until: number;
}

export interface Membership {
  readonly phase: Phase;
  readonly refusal: ChatError | undefined;
  isIn(): boolean;
  isWanted(): boolean;
  /** One more user, or one less. */
  use(isUsed: boolean): void;
  open(): () => void;
  /** Begins what is needed for the room to be where it is wanted. */
  sync(): void;
  entered(): void;
  /** The gateway says so. */
  leftFor(reason: string | undefined): void;
  offline(): void;
  /** Joins, even if the last join was refused. */
  retry(): void;
  /** Another user is signed in, who was not refused. */
  forget(): void;
  ticket(): Ticket;
  /** Asks on this connection, as one that has joined the room. */
  ask<E extends ClientEvent>(event: E, payload: Payload<E>, wanted?: () => boolean): Promise<Result<E>>;
  /** Repeats `run` in this room, on the next connection if this one ends. */
  perform<T>(run: (wanted: () => boolean) => Promise<T>, ticket?: Ticket): Promise<T>;
}

export function createMembership(
  roomId: number,
  { batch }: Stores,
  timers: Timers,
  connection: Connection,
  host: Host,
): Membership {
  let phase: Phase = 'out';
  let uses = 0;
  let cancelLinger: (() => void) | undefined;
  let refusal: ChatError | undefined;
  const waiting = new Set<(error?: ChatError) => void>(); // for the connection to be in the room

  const user = () => connection.identity?.user.id;
  const isIn = () => phase === 'in' && connection.epoch > 0;
  const isWanted = () => uses > 0 || cancelLinger !== undefined || host.isWaiting();

  function use(isUsed: boolean): void {
    uses += isUsed ? 1 : -1;
    cancelLinger?.();
    cancelLinger = uses ? undefined : timers.after(LINGER, unused);
    if (isUsed) host.wake();
    sync();
  }

  function unused(): void {
    cancelLinger = undefined;
    forgive(); // to use it again is to try again
    if (phase === 'out' && !isWanted()) host.idle();
    sync();
  }

  function forgive(): void {
    if (phase === 'refused') phase = 'out';
  }

  function sync(): void {
    if (!connection.epoch) return;
    if (!isWanted()) {
      if (phase === 'in') leave();
    } else if (phase === 'out') join();
    else if (phase === 'in') host.send();
  }

  function join(): void {
    const own = connection.epoch;
    phase = 'joining';
    refusal = undefined; // until it is answered, nothing is known
    host.changed();
    connection.ask('joinRoom', { roomId, ...host.resume() }, isWanted).catch((error: ChatError) =>
      batch(() => {
        if (own !== connection.epoch || phase !== 'joining') return;
        if (!error.retryable) return refuse(error);
        phase = 'out';
        host.changed();
      }),
    );
  }

  function leave(): void {
    const own = connection.epoch;
    phase = 'leaving';
    // What arrives until it is answered still belongs to the room.
    const left = () => batch(() => own === connection.epoch && phase === 'leaving' && gone());
    connection.ask('leaveRoom', { roomId }).then(left, left);
  }

  function gone(): void {
    phase = 'out';
    if (!isWanted()) host.idle();
    host.left();
  }

  function refuse(error: ChatError): void {
    phase = 'refused';
    refusal = error;
    for (const proceed of waiting) proceed(error);
    host.left(error);
  }

  async function ask<E extends ClientEvent>(event: E, payload: Payload<E>, wanted?: () => boolean): Promise<Result<E>> {
    const own = connection.epoch;
    try {
      return await connection.ask(event, payload, wanted);
    } catch (error) {
      if (!(error instanceof ChatError && error.code === 'not_in_room')) throw error;
      // The gateway has removed the connection: it joins again, or learns why not.
      if (own === connection.epoch && phase === 'in') batch(gone);
      throw disconnected();
    }
  }

  async function perform<T>(run: (wanted: () => boolean) => Promise<T>, { user: owner, until } = ticket()): Promise<T> {
    const isValid = () => Date.now() < until && (!owner || owner === user());
    const close = open();
    try {
      for (;;) {
        await entry(until - Date.now());
        if (!isValid()) throw disconnected();
        try {
          return await run(isValid);
        } catch (error) {
          if (!(error instanceof ChatError && error.retryable && isValid())) throw error;
        }
      }
    } finally {
      close();
    }
  }

  /** Resolves when the connection is in the room. */
  function entry(ms: number): Promise<void> {
    if (isIn()) return Promise.resolve();
    if (phase === 'refused') return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      const proceed = (error?: ChatError) => {
        cancel();
        waiting.delete(proceed);
        if (error) reject(error);
        else resolve();
      };
      const cancel = timers.after(ms, () => proceed(disconnected()));
      waiting.add(proceed);
    });
  }

  const ticket = (): Ticket => ({ user: user(), until: Date.now() + PATIENCE });

  function open(): () => void {
    let isOpen = true;
    batch(() => use(true));
    return () => {
      if (isOpen) batch(() => use(false));
      isOpen = false;
    };
  }

  return {
    get phase() {
      return phase;
    },
    get refusal() {
      return refusal;
    },
    isIn,
    isWanted,
    use,
    open,
    sync,
    entered() {
      phase = 'in';
      refusal = undefined;
      for (const proceed of waiting) proceed();
    },
    leftFor(reason) {
      if (reason) {
        const message = `had to leave the room: ${reason}`;
        refuse(new ChatError({ code: 'not_found', message, retryable: false, reason }));
      } else if (phase === 'in') gone();
    },
    offline() {
      phase = 'out';
      host.left();
    },
    retry() {
      // It stays joined for a while: what follows may need it too.
      const close = open();
      forgive();
      close();
    },
    forget() {
      refusal = undefined;
      for (const proceed of waiting) proceed(disconnected());
    },
    ticket,
    ask,
    perform,
  };
}
