// A menu that a button opens, and a dialog that asks before something cannot be taken back.
// Both take the focus, close with Escape, and give the focus back.

import { el, part } from './dom';

export interface MenuItem { label: string; icon: string; isHarsh?: boolean; choose(): void }

let close: ((focusesButton: boolean) => void) | undefined;

/** Opens a menu at its button, or closes it if it is open. */
export function toggleMenu(button: HTMLButtonElement, label: string, items: readonly MenuItem[]): void {
  const wasOpen = button.ariaExpanded === 'true';
  close?.(false);
  if (!wasOpen && items.length > 0) open(button, label, items);
}

function open(button: HTMLButtonElement, label: string, items: readonly MenuItem[]): void {
  const entries = items.map(item => {
    const entry = el('button', { type: 'button', role: 'menuitem', tabIndex: -1, className: item.isHarsh ? 'harsh' : '' },
      el('span', { className: `i i-${item.icon}`, ariaHidden: 'true' }), item.label);
    entry.onclick = () => { finish(true); item.choose(); };
    return entry;
  });
  const menu = el('div', { className: 'menu', role: 'menu', ariaLabel: label, tabIndex: -1 }, ...entries);
  const outside = (event: Event): void => {
    const target = event.target as Node;
    if (!menu.contains(target) && !button.contains(target)) finish(false);
  };
  const dismissed = (): void => finish(menu.contains(document.activeElement));
  const finish = (focusesButton: boolean): void => {
    if (close !== finish) return;
    close = undefined;
    removeEventListener('pointerdown', outside, true);
    removeEventListener('resize', dismissed);
    menu.remove();
    button.ariaExpanded = 'false';
    if (focusesButton) button.focus();
  };
  menu.onkeydown = event => {
    const at = entries.indexOf(document.activeElement as HTMLButtonElement);
    const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 }[event.key]
      ?? (event.key.length === 1 && event.key !== ' ' ? startingWith(entries, event.key, at) : undefined);
    if (target !== undefined) {
      event.preventDefault();
      entries[(target + entries.length) % entries.length]?.focus();
    } else if (event.key === 'Escape' || event.key === 'Tab') {
      event.preventDefault();
      event.stopPropagation();
      finish(true);
    }
  };
  close = finish;
  button.ariaExpanded = 'true';
  part('menus').append(menu);
  place(menu, button);
  addEventListener('pointerdown', outside, true);
  addEventListener('resize', dismissed);
  entries[0]?.focus({ preventScroll: true });
}

function startingWith(entries: readonly HTMLElement[], letter: string, from: number): number | undefined {
  const order = entries.map((_, n) => (from + 1 + n) % entries.length);
  return order.find(n => entries[n]?.textContent?.toLowerCase().startsWith(letter.toLowerCase()));
}

/** Places the menu below its button, or above it, within the window. A phone's menu is at the bottom, by CSS. */
function place(menu: HTMLElement, button: HTMLElement): void {
  const at = button.getBoundingClientRect(), { offsetWidth: width, offsetHeight: height } = menu;
  const top = at.bottom + 4 + height <= innerHeight ? at.bottom + 4 : Math.max(8, at.top - 4 - height);
  menu.style.top = `${top}px`;
  menu.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - width - 8))}px`;
}

/** Asks in a dialog. Resolves to whether the user agreed. */
export function confirms(question: string, more: string, agree: string): Promise<boolean> {
  const dialog = part<HTMLDialogElement>('dialog');
  const [cancel, agreed] = [el('button', { type: 'button' }, 'Cancel'), el('button', { type: 'button', className: 'harsh filled' }, agree)];
  dialog.replaceChildren(
    el('h2', { id: 'question' }, question),
    el('p', { id: 'question-more' }, more),
    el('div', 'choices', cancel, agreed));
  return new Promise(resolve => {
    cancel.onclick = () => dialog.close();
    agreed.onclick = () => dialog.close('yes');
    dialog.onclick = event => { if (event.target === dialog) dialog.close(); };
    dialog.onclose = () => resolve(dialog.returnValue === 'yes');
    dialog.returnValue = '';
    dialog.showModal();
    cancel.focus();
  });
}
