// Notices when the network or the machine comes back.

import type { Timers } from './timers.js';

/** A machine that slept goes on with the rest of this, in ms. */
const TICK = 500;
/** A timer that is this late, in ms, means that the machine slept. */
const SLEPT = 10_000;

/** Calls `check` when the connection may have broken unnoticed, until the returned function is called. */
export function watchWakeUps(timers: Timers, check: () => void): () => void {
  const global = globalThis as Partial<Pick<Window, 'addEventListener' | 'removeEventListener' | 'document' | 'navigator'>>;
  const isOnline = () => global.navigator?.onLine !== false;
  let wasOnline = isOnline();
  const network = () => {
    wasOnline = isOnline();
    check();
  };
  const shown = () => global.document?.visibilityState === 'visible' && check();
  // Neither a worker nor Node has a document. Node has no events of the network, and Chromium fires none in
  // workers, where only `onLine` changes.
  const listen = (how: 'addEventListener' | 'removeEventListener') => {
    global[how]?.('online', network);
    global[how]?.('offline', network);
    global.document?.[how]('visibilitychange', shown);
  };
  listen('addEventListener');

  let last = Date.now();
  let cancel: () => void;
  const tick = () => {
    const now = Date.now();
    if (isOnline() !== wasOnline) network();
    else if (now - last > SLEPT) check();
    last = now;
    cancel = timers.after(TICK, tick);
  };
  tick();

  return () => {
    cancel();
    listen('removeEventListener');
  };
}
