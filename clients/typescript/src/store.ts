// Stores whose snapshots are computed when they are read, and listeners that are notified once after
// everything that a packet has changed.

import type { Store } from './types.js';

export interface Source<T> extends Store<T> {
  /** Notes that the value may have changed. */
  changed(): void;
  used(): boolean;
}

export interface Stores {
  /** Notifies after `run`, and after the batch that it may be a part of. */
  batch<T>(run: () => T): T;
  /**
   * `read` returns the value, and the previous one if nothing has changed. `onUse` is called when
   * the first subscriber comes, and when the last has gone.
   */
  source<T>(read: (previous: T | undefined) => T, onUse?: (used: boolean) => void): Source<T>;
}

/** Returns the previous object if the next one has the same fields: then its readers see no change. */
export function reuse<T extends object>(previous: T | undefined, next: T): T {
  if (!previous) return next;
  const keys = Object.keys(next) as (keyof T)[];
  const isSame = keys.length === Object.keys(previous).length && keys.every((key) => next[key] === previous[key]);
  return isSame ? previous : next;
}

/** `guard` runs a listener, and keeps what it throws from others. */
export function createStores(guard: (run: () => void) => void): Stores {
  let depth = 0;
  const dirty = new Set<() => void>();

  function batch<T>(run: () => T): T {
    depth++;
    try {
      return run();
    } finally {
      if (--depth === 0) {
        for (const notify of dirty) {
          dirty.delete(notify);
          notify();
        }
      }
    }
  }

  function source<T>(read: (previous: T | undefined) => T, onUse?: (used: boolean) => void): Source<T> {
    const listeners = new Set<{ readonly listener: () => void }>();
    let stale = true;
    let snapshot: T | undefined;
    let notified: T | undefined;

    function getSnapshot(): T {
      if (stale) {
        stale = false;
        snapshot = read(snapshot);
      }
      return snapshot as T;
    }

    function notify(): void {
      if (!listeners.size) return;
      const current = getSnapshot();
      if (current === notified) return;
      notified = current;
      for (const entry of [...listeners]) if (listeners.has(entry)) guard(entry.listener);
    }

    return {
      getSnapshot,
      subscribe(listener) {
        const entry = { listener };
        batch(() => {
          if (!listeners.size) notified = getSnapshot();
          if (listeners.add(entry).size === 1) onUse?.(true);
        });
        return () => {
          if (listeners.delete(entry) && !listeners.size) batch(() => onUse?.(false));
        };
      },
      changed() {
        stale = true;
        if (listeners.size) batch(() => dirty.add(notify));
      },
      used: () => listeners.size > 0,
    };
  }

  return { batch, source };
}
