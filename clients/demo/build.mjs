// Builds the demo page into the gateway's sources, so that the gateway's build needs no npm.
// The same sources and the pinned packages give the same bytes. With a folder as its argument,
// it builds there instead.

import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const folder = path => fileURLToPath(new URL(path, import.meta.url));
const out = process.argv[2] ?? folder('../../crates/gateway/src/http/demo');

/** The client is built from its sources, and packages always come from this folder, whatever is installed elsewhere. */
const resolve = {
  name: 'resolve',
  setup(build) {
    const client = { '': 'index.ts', '/indexeddb': 'storage/indexeddb.ts' };
    build.onResolve({ filter: /^chat-gateway-client(\/|$)/ }, ({ path }) =>
      ({ path: folder(`../typescript/src/${client[path.slice('chat-gateway-client'.length)]}`) }));
    build.onResolve({ filter: /^(socket|engine)\.io-client$/ }, ({ path, kind, pluginData }) =>
      pluginData?.isResolved ? undefined : build.resolve(path, { kind, resolveDir: folder('.'), pluginData: { isResolved: true } }));
  },
};

await mkdir(out, { recursive: true });
const { metafile } = await build({
  absWorkingDir: folder('.'),
  entryPoints: [{ in: 'src/main.ts', out: 'demo' }, { in: 'styles/main.css', out: 'demo' }],
  outdir: out,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  charset: 'utf8',
  legalComments: 'eof',
  metafile: true,
  logLevel: 'warning',
  plugins: [resolve],
});
await copyFile(folder('index.html'), `${out}/demo.html`);
await writeFile(`${out}/demo.js`, (await readFile(`${out}/demo.js`, 'utf8')) + (await licences(metafile)));

/** Returns the licences of the packages in the bundle, as comments. */
async function licences({ inputs }) {
  const packages = new Set(Object.keys(inputs).map(path => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[0]).filter(Boolean));
  const texts = await Promise.all([...packages].sort().map(async path => {
    const { name, version } = JSON.parse(await readFile(folder(`${path}/package.json`), 'utf8'));
    const file = (await readdir(folder(path))).find(name => /^licen[cs]e/i.test(name));
    if (!file) throw new Error(`${name} has no licence`);
    return `/*!\n${name} ${version}\n\n${(await readFile(folder(`${path}/${file}`), 'utf8')).trim()}\n*/\n`;
  }));
  return texts.join('');
}
