// The package's entry points, and how they are bundled.

import { fileURLToPath } from 'node:url';

/** The folder of the package. */
export const PACKAGE = fileURLToPath(new URL('..', import.meta.url));

export const ENTRIES = ['index', 'react', 'storage/indexeddb', 'storage/file'];

/** esbuild's options for all entry points. Peers and Node's own modules stay imports. */
export const BUNDLE = {
  absWorkingDir: PACKAGE,
  entryPoints: ENTRIES.map((entry) => `src/${entry}.ts`),
  outbase: 'src',
  bundle: true,
  packages: 'external',
  external: ['node:*'],
  platform: 'neutral',
  target: 'es2022',
  logLevel: 'warning',
};
