// Keeps the outbox in a file, for Node. Each operation appends a line and is on the disk before it
// resolves; those that wait share a write. A line that a crash has cut short is skipped, as if its
// operation had not begun.

import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { OutboxStorage, StoredSend } from '../types.js';

/** Lines that state nothing any more, before the file is written anew. */
const SLACK = 200;

/** An entry, or the id of one that was removed. */
type Line = StoredSend | string;

/** Returns a storage in the file at `path`. Only one client may use a file at a time. */
export function fileStorage(path: string): OutboxStorage {
  const entries = new Map<string, StoredSend>();
  let lines = 0;
  let waiting: Line[] = [];
  let next: Promise<void> | undefined; // the write that they share
  let tail: Promise<unknown> = Promise.resolve();

  /** One after another. */
  function run<T>(operation: () => Promise<T>): Promise<T> {
    const done = tail.then(operation);
    tail = done.catch(() => {});
    return done;
  }

  async function read(): Promise<void> {
    if (lines) return;
    await mkdir(dirname(path), { recursive: true });
    const text = await readFile(path, 'utf8').catch((error) => {
      if (error.code !== 'ENOENT') throw error;
      return '';
    });
    for (const line of text.split('\n')) {
      try {
        apply(JSON.parse(line));
      } catch {
        // Cut short, or the end.
      }
    }
    await rewrite();
  }

  function apply(line: Line): void {
    if (typeof line === 'string') entries.delete(line);
    else entries.set(line.clientMessageId, line);
  }

  /** The new file replaces the old one at once, or not at all. */
  async function rewrite(): Promise<void> {
    const next = `${path}.new`;
    const text = [...entries.values()].map((entry) => `${JSON.stringify(entry)}\n`).join('');
    await writeFile(next, text, { mode: 0o600, flush: true });
    await rename(next, path);
    lines = entries.size + 1;
  }

  function append(line: Line): Promise<void> {
    waiting.push(line);
    next ??= run(async () => {
      next = undefined;
      const taken = waiting;
      waiting = [];
      await read();
      await write(taken);
    });
    return next;
  }

  async function write(taken: Line[]): Promise<void> {
    const file = await open(path, 'a', 0o600);
    try {
      await file.appendFile(taken.map((line) => `${JSON.stringify(line)}\n`).join(''));
      await file.datasync();
    } catch (error) {
      lines = 0; // it may end within a line: it is read and written anew
      throw error;
    } finally {
      await file.close();
    }
    taken.forEach(apply);
    lines += taken.length;
    if (lines > entries.size + SLACK) await rewrite();
  }

  return {
    load: () =>
      run(async () => {
        await read();
        return [...entries.values()].sort((a, b) => a.position - b.position);
      }),
    put: append,
    remove: append,
  };
}
