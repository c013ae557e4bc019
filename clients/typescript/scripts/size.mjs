// Prints the size of each entry point, minified and compressed, and fails if all of them together
// reach the limit. Peers are not counted.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { BUNDLE } from './entries.mjs';

/** In bytes. */
const LIMIT = 12 * 1024;

const { outputFiles } = await build({
  ...BUNDLE,
  format: 'esm',
  minify: true,
  outdir: 'dist',
  write: false,
});

let total = 0;
for (const { path, contents } of outputFiles) {
  const size = gzipSync(contents, { level: 9 }).length;
  total += size;
  print(path.slice(path.indexOf('/dist/') + '/dist/'.length), size);
}
print('total', total);
if (total >= LIMIT) {
  console.error(`the package must stay below ${LIMIT} bytes`);
  process.exit(1);
}

function print(name, size) {
  console.log(`${name.padEnd(24)} ${String(size).padStart(6)} bytes, minified and compressed`);
}
