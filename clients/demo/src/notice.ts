// What the page tells its user: a notice above the panes, and announcements for screen readers.

import { el, part, type Child } from './dom';

/** How long announcements are collected, so that many messages at once become one sentence. */
const COLLECT_MS = 800;

/** Shows a notice, and announces it; without text, hides it. */
export function say(...text: Child[]): void {
  const notice = part('notice');
  notice.hidden = text.length === 0;
  part('notice-text').replaceChildren(...(text.length ? [el('span', '', ...text)] : []));
}

let collected: string[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;

/** Announces a new message politely. Several within a moment are announced as their number and the last one. */
export function announce(text: string): void {
  collected.push(text);
  timer ??= setTimeout(() => {
    const last = collected.at(-1) ?? '';
    part('announcer').textContent = collected.length === 1 ? last : `${collected.length} new messages. The last: ${last}`;
    collected = [];
    timer = undefined;
  }, COLLECT_MS);
}
