// Who uses this window: the demo's users with their tokens, and the client of the chosen one.

import { createClient, type ChatClient } from 'chat-gateway-client';
import { indexedDbStorage } from 'chat-gateway-client/indexeddb';
import { LoggedWebSocket } from './wire';

export interface DemoUser { id: string; name: string; token: string }

/** The gateway writes its users into the page. */
export const users = JSON.parse(document.querySelector('#users')?.textContent ?? '[]') as readonly DemoUser[];

/** The user that the address names, otherwise the first one. */
export const me = (users.find(({ id }) => id === new URLSearchParams(location.search).get('user')) ?? users[0]) as DemoUser;

/** Returns the page's token, and a fresh one when that is about to expire: the page is fetched again for it. */
async function token(reason: 'connect' | 'renew'): Promise<string> {
  if (reason === 'connect' && !expires(me.token)) return me.token;
  const page = await (await fetch(location.pathname)).text();
  const fresh = JSON.parse(/id="users">([^<]*)</.exec(page)?.[1] ?? '[]') as DemoUser[];
  me.token = fresh.find(({ id }) => id === me.id)?.token ?? me.token;
  return me.token;
}

function expires(jwt: string): boolean {
  try {
    const { exp } = JSON.parse(atob((jwt.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/'))) as { exp: number };
    return exp * 1000 < Date.now() + 60_000;
  } catch {
    return false;
  }
}

export const client: ChatClient = createClient({
  url: location.origin,
  token,
  storage: indexedDbStorage('chat-gateway-demo'),
  socket: { transports: [LoggedWebSocket] },
  onError: error => console.error(error),
});
