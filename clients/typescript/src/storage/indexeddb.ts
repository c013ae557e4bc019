// Keeps the outbox in IndexedDB, for browsers and web workers. The tabs of an origin share it, and
// each sends what it finds: a message is stored once, because all use the same id.

import type { OutboxStorage, StoredSend } from '../types.js';

const STORE = 'outbox';

/** Returns a storage in the database `name`. */
export function indexedDbStorage(name = 'chat-gateway-client'): OutboxStorage {
  let opened: Promise<IDBDatabase> | undefined;

  function open(): Promise<IDBDatabase> {
    opened ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'clientMessageId' });
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const database = request.result;
        // The browser may close it, and another tab may delete it: the next operation opens it again.
        database.onclose = () => (opened = undefined);
        database.onversionchange = () => {
          database.close();
          opened = undefined;
        };
        resolve(database);
      };
    });
    opened.catch(() => (opened = undefined));
    return opened;
  }

  /** Resolves when the transaction is committed. */
  async function run<T>(mode: IDBTransactionMode, operation: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    const database = await open();
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = operation(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }

  return {
    async load() {
      const entries = await run<StoredSend[]>('readonly', (store) => store.getAll());
      return entries.sort((a, b) => a.position - b.position);
    },
    async put(entry) {
      await run('readwrite', (store) => store.put(entry));
    },
    async remove(clientMessageId) {
      await run('readwrite', (store) => store.delete(clientMessageId));
    },
  };
}
