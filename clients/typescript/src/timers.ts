// Timers that have an owner, which ends them all at once.

export interface Timers {
  /**
   * Calls `run` once. Returns a function that cancels it. Only with `ref` does the timer keep Node
   * from exiting.
   */
  after(ms: number, run: () => void, ref?: boolean): () => void;
  /** Ends all waiting: what would happen later happens now. */
  end(): void;
}

/** The longest that a timer of JavaScript can take, in ms. */
const LONGEST = 2 ** 31 - 1;

export function createTimers(): Timers {
  const running = new Map<ReturnType<typeof setTimeout>, () => void>();
  return {
    after(ms, run, ref) {
      const timer = setTimeout(() => {
        running.delete(timer);
        run();
      }, Math.min(ms, LONGEST));
      running.set(timer, run);
      if (!ref) (timer as { unref?: () => void }).unref?.();
      return () => {
        clearTimeout(timer);
        running.delete(timer);
      };
    },
    end() {
      const ended = [...running];
      ended.forEach(([timer]) => clearTimeout(timer));
      running.clear();
      ended.forEach(([, run]) => run());
    },
  };
}

/** Settles as `promise` does, and rejects if that takes longer than `ms`. */
export function within<T>(timers: Timers, ms: number, what: string, promise: T | PromiseLike<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = timers.after(ms, () => reject(new Error(`${what} took longer than ${ms} ms`)));
    Promise.resolve(promise).finally(cancel).then(resolve, reject);
  });
}
