// The client under test: built from its sources as the package is, for this run alone.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { BUNDLE, PACKAGE } from '../scripts/entries.mjs';

/** Returns the exports of the package's entry points for Node. */
export async function buildClient() {
  // Within the package, where its dependencies are found.
  const cache = join(PACKAGE, 'node_modules/.cache');
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'chaos-'));
  try {
    await build({ ...BUNDLE, format: 'esm', splitting: true, outdir: folder, outExtension: { '.js': '.mjs' } });
    const load = entry => import(pathToFileURL(join(folder, `${entry}.mjs`)));
    const [{ createClient }, { fileStorage }] = [await load('index'), await load('storage/file')];
    return { createClient, fileStorage };
  } finally {
    await rm(folder, { recursive: true });
  }
}
