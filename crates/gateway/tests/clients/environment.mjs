// The environment variables through which the Rust tests configure these programs.

import assert from 'node:assert/strict';

export const ada = { id: '1', name: 'Ada', token: variable('TOKEN_ADA') };
export const grace = { id: '2', name: 'Grace', token: variable('TOKEN_GRACE') };

export function variable(name) {
  return process.env[name] ?? assert.fail(`${name} is not set: run \`cargo xtask test\``);
}
