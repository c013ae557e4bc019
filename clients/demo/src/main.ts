// The demo page: starts its parts and connects.

import type { ConnectionState } from 'chat-gateway-client';
import { startConversation } from './conversation';
import { el, follow, part, setText } from './dom';
import { startInbox } from './inbox';
import { say } from './notice';
import { client, me, users } from './session';
import { startWireLog } from './wire';

/** Whether the user wants to be connected: a refusal ends that. */
let isWanted = true;

function start(): void {
  showUsers();
  startWireLog();
  part('dismiss').onclick = () => {
    say();
    [part('title'), document.querySelector<HTMLElement>('#rooms')].find(heading => heading?.offsetParent)?.focus();
  };
  part('join').onsubmit = event => {
    event.preventDefault();
    const field = part('join').querySelector('input') as HTMLInputElement;
    if (!/^[1-9]\d*$/.test(field.value) || !Number.isSafeInteger(Number(field.value))) return say('A room has a number from 1 on.');
    location.hash = field.value;
    field.value = '';
  };
  part('connection').onclick = () => {
    isWanted = !isWanted;
    if (isWanted) client.connect(); else void client.close();
    showConnection(client.connection.getSnapshot());
  };
  const chat = (): void => { document.body.dataset.view = 'chat'; };
  part('show-members').onclick = () => { document.body.dataset.view = 'members'; document.querySelector<HTMLElement>('#members')?.focus(); };
  part('hide-members').onclick = () => { chat(); part('show-members').focus(); };
  document.querySelector<HTMLElement>('.members')?.addEventListener('keydown', ({ key }) => {
    if (key === 'Escape' && document.body.dataset.view === 'members') { chat(); part('show-members').focus(); }
  });
  startInbox();
  startConversation();
  follow(client.connection, showConnection);
  client.connect();
}

function showUsers(): void {
  part('users').append(...users.map(({ id, name }) => {
    const link = el('a', { href: `?user=${encodeURIComponent(id)}` }, name);
    if (id === me.id) link.ariaCurrent = 'page';
    return link;
  }));
  const other = users[(users.indexOf(me) + 1) % users.length] ?? me;
  part<HTMLAnchorElement>('second').href = `?user=${encodeURIComponent(other.id)}`;
  part('second').textContent = `Open a window as ${other.name}`;
}

function showConnection(state: ConnectionState): void {
  if (state.status === 'refused') {
    isWanted = false;
    say(`The gateway refuses the connection (${state.code}).${state.code.startsWith('token_') ? ' Reload the page for a fresh token.' : ''}`);
  }
  const [text, look] = {
    online: ['connected', 'up'],
    connecting: ['connecting…', 'waiting'],
    offline: ['offline', 'down'],
    refused: ['refused', 'down'],
  }[state.status] as [string, string];
  setText(part('state'), text);
  part('state').dataset.state = look;
  part('connection').textContent = isWanted ? 'Disconnect' : 'Connect';
}

if (users.length > 0) start();
else say('This page needs the tokens of its users: run chat-gateway dev and open the address that it prints.');
