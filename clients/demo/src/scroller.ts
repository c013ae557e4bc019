// Where the reader is in the messages: at the end, which is kept, or further up, which stays where it is.

import { part } from './dom';

const END_PX = 48;      // this close to the end counts as at the end
const FETCH_PX = 300;   // this close to an edge, the next page is fetched

const scroll = part('scroll');
const list = part('messages');

let atEnd = true;

export const isAtEnd = (): boolean => atEnd;

export interface Edges { nearTop(): void; nearEnd(): void; moved(): void }

export function startScroller({ nearTop, nearEnd, moved }: Edges): void {
  scroll.addEventListener('scroll', () => {
    measure();
    if (scroll.scrollTop < FETCH_PX && scroll.scrollHeight > scroll.clientHeight) nearTop();
    if (toEnd() < FETCH_PX) nearEnd();
    moved();
  }, { passive: true });
  // A phone's keyboard, the composer's growth and the wire log change the height.
  new ResizeObserver(() => { if (atEnd) scroll.scrollTop = scroll.scrollHeight; }).observe(scroll);
}

const toEnd = (): number => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
const measure = (): void => { atEnd = toEnd() < END_PX; };

/** Changes the list. The reader stays at the end, if it is the live one; or else keeps the same message at the same height. */
export function keepingThePlace(isLive: boolean, change: () => void): void {
  const wasAtEnd = atEnd && isLive;
  const anchor = wasAtEnd ? undefined : firstVisible();
  const before = anchor?.getBoundingClientRect().top ?? 0;
  change();
  if (wasAtEnd) scroll.scrollTop = scroll.scrollHeight;
  else if (anchor?.isConnected) scroll.scrollTop += anchor.getBoundingClientRect().top - before;
  measure();
}

/** Returns the text of the first message in view. Headings between messages come and go, a text stays. */
function firstVisible(): Element | undefined {
  const { top } = scroll.getBoundingClientRect();
  let low = 0, high = list.children.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((list.children[middle] as Element).getBoundingClientRect().bottom > top) high = middle;
    else low = middle + 1;
  }
  for (; low < list.children.length; low++) {
    const text = list.children[low]?.querySelector('.content');
    if (text) return text;
  }
  return undefined;
}

export function toTheEnd(): void {
  atEnd = true;
  scroll.scrollTop = scroll.scrollHeight;
}

/** Shows this element in the middle, and the reader is no longer at the end unless it is there. */
export function toTheMiddle(node: HTMLElement): void {
  node.scrollIntoView({ block: 'center' });
  measure();
}
