// Builds the package: ES modules in esm/, CommonJS in cjs/, each with its declarations, so that
// both `import` and `require` find types of their own kind. Run as a program, it builds dist/.

import { spawnSync } from 'node:child_process';
import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { BUNDLE, PACKAGE } from './entries.mjs';

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await buildPackage(join(PACKAGE, 'dist'));
}

/** Replaces this folder by the built package. */
export async function buildPackage(folder) {
  const esm = join(folder, 'esm');
  const cjs = join(folder, 'cjs');
  await rm(folder, { recursive: true, force: true });
  compile(['-p', 'tsconfig.build.json', '--outDir', esm], PACKAGE);
  await cp(esm, cjs, { recursive: true });
  // Entry points share chunks. CommonJS cannot, and has no need to: no entry point uses the state
  // of another.
  await build({ ...BUNDLE, format: 'esm', splitting: true, outdir: esm });
  await build({ ...BUNDLE, format: 'cjs', outdir: cjs });
  await writeFile(join(cjs, 'package.json'), '{ "type": "commonjs" }\n');
}

/** Runs the TypeScript compiler in this folder; its output is shown. */
export function compile(args, cwd) {
  const program = join(PACKAGE, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [program, ...args], { cwd, stdio: 'inherit' });
  if (status !== 0) throw new Error('tsc failed');
}
