import { appendFile, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { StoredSend } from '../src/index.js';
import { fileStorage } from '../src/storage/file.js';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'outbox-'));
  path = join(folder, 'below', 'outbox');
});
afterEach(() => rm(folder, { recursive: true }));

const entry = (position: number): StoredSend => ({
  userId: 'ada',
  roomId: 1,
  clientMessageId: `id-${position}`,
  content: `line\n${position}`,
  createdAt: '2026-01-31T12:00:00.000Z',
  position,
});

test('what was put and not removed is loaded after a restart, in the order of sending', async () => {
  const storage = fileStorage(path);
  expect(await storage.load()).toEqual([]);
  await Promise.all([storage.put(entry(2)), storage.put(entry(1)), storage.put(entry(3)), storage.remove('id-3')]);
  await storage.put({ ...entry(2), content: 'again' });
  expect(await fileStorage(path).load()).toEqual([entry(1), { ...entry(2), content: 'again' }]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test('a line that a crash has cut short loses only itself', async () => {
  await fileStorage(path).put(entry(1));
  await appendFile(path, JSON.stringify(entry(2)).slice(0, 30));
  const storage = fileStorage(path);
  await storage.put(entry(3));
  expect(await storage.load()).toEqual([entry(1), entry(3)]);
  expect(await fileStorage(path).load()).toEqual([entry(1), entry(3)]);
});

test('the file does not grow with what was sent', async () => {
  const storage = fileStorage(path);
  for (let position = 1; position <= 300; position++) {
    await storage.put(entry(position));
    await storage.remove(`id-${position}`);
  }
  expect((await readFile(path, 'utf8')).split('\n').length).toBeLessThan(210);
  expect(await storage.load()).toEqual([]);
});

test('what waits shares a write, and keeps its order', async () => {
  const storage = fileStorage(path);
  await storage.load();
  const done: number[] = [];
  const puts = Array.from({ length: 100 }, (_, index) => storage.put(entry(index)).then(() => done.push(index)));
  const removed = storage.remove('id-50');
  await Promise.all([...puts, removed]);
  expect(done).toEqual(Array.from({ length: 100 }, (_, index) => index));
  expect((await fileStorage(path).load()).map(({ position }) => position)).not.toContain(50);
});

test('a file that cannot be written rejects, and works once it can be', async () => {
  await mkdir(path, { recursive: true }); // a folder has its name
  const storage = fileStorage(path);
  await expect(storage.put(entry(1))).rejects.toThrow();
  await rm(path, { recursive: true });
  await storage.put(entry(2));
  expect(await fileStorage(path).load()).toEqual([entry(2)]);
});
