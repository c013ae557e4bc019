// Installs the built package into a project of its own, and uses it as its users do: imported and
// required, in TypeScript and in Node.js, and as the code in README.md shows.

import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildPackage, compile } from './build.mjs';
import { PACKAGE } from './entries.mjs';

/** What each entry point exports at run time. */
const EXPORTS = {
  'chat-gateway-client': ['ChatError', 'createClient'],
  'chat-gateway-client/react': [
    'ChatProvider',
    'messageKey',
    'useClient',
    'useConnection',
    'useInbox',
    'useMessages',
    'usePresence',
    'useRoom',
    'useStore',
    'useTyping',
  ],
  'chat-gateway-client/indexeddb': ['indexedDbStorage'],
  'chat-gateway-client/node': ['fileStorage'],
};

/** What the code of the README takes as given. */
const GIVEN = `
declare const client: import('chat-gateway-client').ChatClient;
declare function fetchToken(): Promise<string>;
`;

// Below node_modules, so that the peers are found, and nothing is committed.
const project = await mkdtemp(join(PACKAGE, 'node_modules/.consumer-'));
try {
  await install();
  await run();
  await typeCheck();
} finally {
  await rm(project, { recursive: true, force: true });
}

async function install() {
  const folder = join(project, 'node_modules/chat-gateway-client');
  await mkdir(folder, { recursive: true });
  await cp(join(PACKAGE, 'package.json'), join(folder, 'package.json'));
  await buildPackage(join(folder, 'dist'));
  await writeFile(join(project, 'package.json'), '{ "type": "module" }\n');
}

async function run() {
  const expected = JSON.stringify(Object.values(EXPORTS));
  const names = JSON.stringify(Object.keys(EXPORTS));
  const assert = `if (JSON.stringify(found) !== '${expected}') throw new Error(JSON.stringify(found));\n`;
  await node('import.mjs', `
    const modules = await Promise.all(${names}.map((name) => import(name)));
    const found = modules.map((each) => Object.keys(each).sort());
    ${assert}`);
  await node('require.cjs', `
    const found = ${names}.map((name) => Object.keys(require(name)).sort());
    ${assert}`);
}

async function node(file, program) {
  await writeFile(join(project, file), program);
  const { status } = spawnSync(process.execPath, [file], { cwd: project, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${file} failed`);
}

async function typeCheck() {
  const uses = Object.entries(EXPORTS).map(([name, exports]) => [name, exports.join(', ')]);
  const list = uses.map(([, exports]) => `${exports},`).join(' ');
  const imports = uses.map(([name, exports]) => `import { ${exports} } from '${name}';\n`).join('');
  const use = `const found: object[] = [${list}];\nconst count: number = found.length;\nconsole.log(count);\n`;
  await writeFile(join(project, 'import.mts'), `${imports}${use}`);
  // In a .cts file this is a call of \`require\`, and the types are those of CommonJS.
  await writeFile(join(project, 'require.cts'), `${imports}${use}`);
  await writeFile(join(project, 'given.d.ts'), GIVEN);
  await readme();
  const options = {
    lib: ['es2022', 'dom'],
    target: 'es2022',
    jsx: 'react-jsx',
    types: [],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
  };
  for (const [name, resolution] of Object.entries({
    node16: { module: 'node16', moduleResolution: 'node16' },
    bundler: { module: 'preserve', moduleResolution: 'bundler' },
  })) {
    const config = { compilerOptions: { ...options, ...resolution }, include: ['*'] };
    await writeFile(join(project, `tsconfig.${name}.json`), JSON.stringify(config));
    compile(['-p', `tsconfig.${name}.json`], project);
  }
}

/** Writes each block of TypeScript in the README to a file whose name has the block's line. */
async function readme() {
  const text = await readFile(join(PACKAGE, 'README.md'), 'utf8');
  const blocks = [...text.matchAll(/^```(tsx?)\n(.*?)^```$/gms)];
  if (blocks.length === 0) throw new Error('README.md shows no TypeScript');
  for (const { 1: language, 2: code, index } of blocks) {
    const line = text.slice(0, index).split('\n').length;
    await writeFile(join(project, `README-line-${line}.${language}`), `${code}\nexport {};\n`);
  }
}
