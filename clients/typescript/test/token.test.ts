import { expect, test } from 'vitest';
import { readToken } from '../src/token.js';

const token = (claims: object) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;

test('the name is the first of name, username, preferred_username and sub', () => {
  const claims = { sub: 42, preferred_username: 'p', username: 'u', name: 'Ädä 👍', exp: 10 };
  expect(readToken(token(claims))).toEqual({ user: { id: '42', name: 'Ädä 👍' }, expiresAt: 10_000 });
  expect(readToken(token({ ...claims, name: undefined }))?.user.name).toBe('u');
  expect(readToken(token({ ...claims, name: undefined, username: undefined }))?.user.name).toBe('p');
  expect(readToken(`Bearer ${token({ sub: '7' })}`)).toEqual({ user: { id: '7', name: '7' } });
});

test('what is not a token has no identity', () => {
  for (const text of ['', 'x', 'a.b.c', token({}), token({ sub: null })]) expect(readToken(text)).toBe(undefined);
});
