// Suggests members while a name is written after an @.

import type { Member } from 'chat-gateway-client';
import { el, part } from './dom';
import { me } from './session';
import { nameOf } from './words';

const MOST = 6;

const input = part<HTMLTextAreaElement>('input');
const list = part('suggestions');

let names: string[] = []; // what is suggested
let chosen = 0;
let start = 0;            // where the name begins, behind its @

/** Suggests members whose names begin with what is written behind an @ at the cursor. */
export function suggest(members: ReadonlyMap<string, Member>): void {
  const written = /(?:^|\s)@([^@\n]*)$/.exec(input.value.slice(0, input.selectionStart))?.[1];
  start = input.selectionStart - (written?.length ?? 0);
  names = written === undefined ? [] : [...members.values()].filter(({ userId }) => userId !== me.id).map(({ user }) => nameOf(user))
    .filter(name => name.toLowerCase().startsWith(written.toLowerCase()) && name !== written).slice(0, MOST);
  chosen = 0;
  show();
}

export function endSuggestions(): void {
  names = [];
  show();
}

/** Takes a key if it belongs to the suggestions. Returns whether it did. */
export function takesKey({ key }: KeyboardEvent): boolean {
  if (names.length === 0) return false;
  if (key === 'ArrowDown') chosen = (chosen + 1) % names.length;
  else if (key === 'ArrowUp') chosen = (chosen + names.length - 1) % names.length;
  else if (key === 'Escape') names = [];
  else if (key === 'Enter' || key === 'Tab') return accept(chosen);
  else return false;
  show();
  return true;
}

function accept(at: number): true {
  input.setRangeText(`${names[at] ?? ''} `, start, input.selectionStart, 'end');
  endSuggestions();
  return true;
}

function show(): void {
  list.hidden = names.length === 0;
  list.replaceChildren(...names.map((name, at) => {
    const option = el('li', { id: `suggestion-${at}`, role: 'option', ariaSelected: `${at === chosen}` }, `@${name}`);
    // The focus stays in the field.
    option.onpointerdown = event => { event.preventDefault(); accept(at); };
    return option;
  }));
  if (names.length) input.setAttribute('aria-activedescendant', `suggestion-${chosen}`);
  else input.removeAttribute('aria-activedescendant');
}
