// One message as it is listed: author, time, what it replies to, text, reactions, status and tools.

import type { Message, Room, ShownMessage } from 'chat-gateway-client';
import { el, iconButton, setText } from './dom';
import { confirms, toggleMenu, type MenuItem } from './menu';
import { say } from './notice';
import { me } from './session';
import { moderates, type Standing } from './standing';
import { goneText, nameOf, sentence, time, why } from './words';

const EMOJI = ['👍', '❤️', '😂'];

/** A message with everything on which its look depends. A changed entry is another object. */
export interface MessageEntry {
  kind: 'message';
  key: string;
  message: ShownMessage;
  follows: boolean;      // the author's name and time are those of the message above
  quoted?: Message | undefined; // the message to which it replies, if it is known
  isWaiting: boolean;    // there is no connection over which it could be sent
  readBy: string;        // who has read it, on the newest message of this user
  members: ReadonlyMap<string, { user: { id: string; name: string } }>;
}

/** What a message needs from the conversation around it. */
export interface MessageHost {
  room(): Room | undefined;
  standing(): Standing;
  entry(key: string): MessageEntry | undefined;
  aim(aim: { kind: 'reply' | 'edit'; message: Message }): void;
  jumpTo(seq: number): void;
}

let ids = 0;

export function createMessage(key: string, host: MessageHost): HTMLElement {
  const id = `m${ids++}`;
  const current = (): Message | undefined => {
    const message = host.entry(key)?.message;
    return message?.state === 'stored' ? message : undefined;
  };
  const quote = el('button', { type: 'button', className: 'quote', tabIndex: -1, hidden: true }, el('span'));
  quote.onclick = () => { const { replyTo } = current() ?? {}; if (replyTo) host.jumpTo(replyTo); };
  const more = iconButton('more', 'More actions', button => {
    const message = current();
    if (message) toggleMenu(button, 'Actions for the message', itemsFor(message, host));
  });
  more.ariaHasPopup = 'menu';
  more.ariaExpanded = 'false';
  more.tabIndex = -1;
  const reply = iconButton('reply', 'Reply', () => { const message = current(); if (message) host.aim({ kind: 'reply', message }); });
  reply.tabIndex = -1;
  const tools = el('div', { className: 'tools', role: 'group', ariaLabel: 'Actions' },
    ...EMOJI.map(emoji => {
      const button = el('button', { type: 'button', className: 'icon', tabIndex: -1, ariaLabel: `React with ${emoji}`, title: `React with ${emoji}` }, emoji);
      button.onclick = () => toggleReaction(current(), emoji, host);
      return button;
    }),
    reply,
    more);
  return el('li', '', el('article', { className: 'message', tabIndex: -1 },
    el('span', { className: 'avatar', ariaHidden: 'true' }),
    el('div', { className: 'meta', id: `${id}-meta` }, el('b'), ' ', el('time'), el('span', { className: 'seq', ariaHidden: 'true' })),
    quote,
    el('p', { className: 'content', id: `${id}-content`, dir: 'auto' }),
    el('span', { className: 'edited', id: `${id}-edited` }),
    el('div', { className: 'reactions', role: 'group', ariaLabel: 'Reactions', hidden: true }),
    el('div', { className: 'status', id: `${id}-status` }),
    tools));
}

export function fillMessage(node: HTMLElement, entry: MessageEntry, host: MessageHost): void {
  const { message, follows, quoted } = entry;
  const find = <T extends HTMLElement>(selector: string): T => node.querySelector(selector) as T;
  const stored = message.state === 'stored' ? message : undefined;
  const gone = stored ? goneText(stored) : '';
  const isOwn = message.user.id === me.id;
  const name = nameOf(message.user);
  const article = find('article');

  node.className = [isOwn ? 'own' : '', message.state, follows ? 'follows' : '', gone ? 'gone' : '', stored?.mentions?.includes(me.id) ? 'for-me' : ''].filter(Boolean).join(' ');
  node.dataset.user = message.user.id;
  if (stored) node.dataset.seq = `${stored.seq}`;
  const prefix = find('.content').id.split('-')[0];
  article.setAttribute('aria-labelledby', `${prefix}-meta ${prefix}-content ${prefix}-edited ${prefix}-status`);

  setText(find('.avatar'), name.slice(0, 1));
  setText(find('.meta b'), name);
  find<HTMLTimeElement>('time').dateTime = message.createdAt;
  find('time').title = `${new Date(message.createdAt).toLocaleString()}`;
  setText(find('.seq'), stored ? `#${stored.seq}` : '');
  setText(find('time'), time(message.createdAt));
  setText(find('.edited'), stored?.editedAt && !gone ? 'edited' : '');
  fillContent(find('.content'), entry, gone);
  showQuote(find<HTMLButtonElement>('.quote'), message.replyTo, quoted);
  showReactions(find('.reactions'), stored, host);
  showStatus(find('.status'), entry, host);

  const tools = find('.tools');
  const hadFocus = tools.contains(document.activeElement);
  tools.hidden = !stored || gone !== '';
  if (hadFocus && tools.hidden) article.focus();
}

/** The text, with the mentioned names marked. */
function fillContent(node: HTMLElement, { message, members }: MessageEntry, gone: string): void {
  const text = gone || (message.content.trim() ? message.content : '(blank)');
  const names = (message.mentions ?? []).map(id => `@${nameOf(members.get(`${id}`)?.user ?? { id: `${id}` })}`);
  const pieces: (Node | string)[] = [];
  let rest = text;
  while (names.length && rest) {
    const [at, name] = names.map(name => [rest.indexOf(name), name] as const).filter(([at]) => at >= 0).sort(([a], [b]) => a - b)[0] ?? [-1, ''];
    if (at < 0) break;
    pieces.push(rest.slice(0, at), el('mark', name === `@${nameOf(me)}` ? 'me' : '', name));
    rest = rest.slice(at + name.length);
  }
  node.replaceChildren(...pieces, rest);
}

/** Shows to what a message replies. A quotation does not keep what was deleted. */
function showQuote(node: HTMLButtonElement, replyTo: number | undefined, quoted: Message | undefined): void {
  node.hidden = !replyTo;
  if (!replyTo) return;
  setText(node.firstElementChild as HTMLElement, `↩ #${replyTo}${quoted?.content ? ` ${nameOf(quoted.user)}: ${quoted.content.slice(0, 120)}` : ''}`);
  node.title = 'Go to the message to which this replies';
}

function showReactions(node: HTMLElement, message: Message | undefined, host: MessageHost): void {
  const reactions = message?.reactions ?? [];
  const had = document.activeElement instanceof HTMLElement && node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.hidden = reactions.length === 0;
  node.replaceChildren(...reactions.map(({ key, count, mine = false }) => {
    const chip = el('button', { type: 'button', className: 'chip', tabIndex: -1, ariaPressed: `${mine}`, data: { key } },
      el('span', '', key), ` ${count}`);
    chip.onclick = () => toggleReaction(message, key, host);
    return chip;
  }));
  if (had !== undefined) ([...node.children].find(chip => (chip as HTMLElement).dataset.key === had) as HTMLElement | undefined ?? node.closest('article'))?.focus();
}

function showStatus(node: HTMLElement, { message, isWaiting, readBy }: MessageEntry, host: MessageHost): void {
  if (node.contains(document.activeElement)) node.closest('article')?.focus(); // its buttons go
  if (message.state === 'stored') {
    setText(node, goneText(message) ? '' : readBy);
  } else if (message.state === 'pending') {
    setText(node, isWaiting ? 'waiting for the connection…' : 'sending…');
  } else {
    const { clientMessageId, error } = message;
    const again = el('button', { type: 'button', className: 'small' }, 'Send again');
    again.onclick = () => host.room()?.retry(clientMessageId);
    const discard = el('button', { type: 'button', className: 'small' }, 'Discard');
    discard.onclick = () => host.room()?.discard(clientMessageId);
    node.replaceChildren(
      el('span', '', `Not sent${error ? `: ${why(error)}. ` : '. '}`, ...(error ? [el('code', '', error.code)] : [])),
      el('span', 'choices', again, discard));
  }
}

function itemsFor(message: Message, host: MessageHost): MenuItem[] {
  const items: MenuItem[] = [{ label: 'Reply', icon: 'reply', choose: () => host.aim({ kind: 'reply', message }) }];
  if (message.userId === me.id) items.push({ label: 'Edit', icon: 'edit', choose: () => host.aim({ kind: 'edit', message }) });
  items.push({ label: 'Copy text', icon: 'copy', choose: () => void navigator.clipboard?.writeText(message.content).catch(() => say('The text cannot be copied.')) });
  if (message.userId === me.id || moderates(host.standing())) {
    items.push({ label: 'Delete', icon: 'delete', isHarsh: true, choose: () => void askToDelete(message, host) });
  }
  return items;
}

async function askToDelete(message: Message, host: MessageHost): Promise<void> {
  const room = host.room();
  const isOwn = message.userId === me.id;
  const agreed = await confirms('Delete this message?', `${isOwn ? 'Your message' : `The message of ${nameOf(message.user)}`} loses its text for everyone. This cannot be undone.`, 'Delete');
  if (agreed) await attempt('The message cannot be deleted', room?.delete(message.seq));
}

function toggleReaction(message: Message | undefined, key: string, host: MessageHost): void {
  if (!message) return;
  const mine = message.reactions?.find(reaction => reaction.key === key)?.mine ?? false;
  void attempt('You cannot react', host.room()?.react(message.seq, key, !mine));
}

/** Waits for a change, and tells its user if it is refused. Returns whether it was made. */
export async function attempt(what: string, change: Promise<unknown> | undefined): Promise<boolean> {
  say();
  try {
    await change;
    return change !== undefined;
  } catch (error) {
    say(...sentence(what, error));
    return false;
  }
}
