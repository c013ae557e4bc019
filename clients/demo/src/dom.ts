// Small tools for the document: elements, lists with stable nodes, and stores that are rendered.
// Content is only ever inserted as text nodes or attributes, never parsed as markup.

import type { Store } from 'chat-gateway-client';

export type Child = Node | string;

type Properties<T> = Omit<Partial<T>, 'dataset' | 'style'> & { data?: Record<string, string> };

/** Returns an element with these properties (or this class) and children. Strings become text nodes. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: string | Properties<HTMLElementTagNameMap[K]> = '',
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  const { data = {}, ...rest } = typeof properties === 'string' ? { className: properties } : properties;
  Object.assign(node, rest);
  Object.assign(node.dataset, data);
  node.append(...children);
  return node;
}

/** Returns a button that shows an icon and has this label. */
export function iconButton(icon: string, label: string, onclick: (button: HTMLButtonElement) => void, className = 'icon'): HTMLButtonElement {
  const button = el('button', { type: 'button', className, ariaLabel: label, title: label },
    el('span', { className: `i i-${icon}`, ariaHidden: 'true' }));
  button.onclick = () => onclick(button);
  return button;
}

/** Returns the element of the page that has this `data-role`. */
export function part<T extends HTMLElement = HTMLElement>(role: string): T {
  const node = document.querySelector<T>(`[data-role="${role}"]`);
  if (!node) throw new Error(`the page has no ${role}`);
  return node;
}

/** Changes a text only if it differs: live regions announce every change. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** How the entries of a list become nodes. */
export interface ListOptions<T> {
  key(item: T): string;
  create(item: T): HTMLElement;
  /** Brings a node up to date. It is called once after `create`, and whenever the entry is another object. */
  update(node: HTMLElement, item: T): void;
  /** Is called when the focus was in a node that is no longer there. */
  focusLost?(): void;
}

/** A list whose nodes stay the same as long as their keys do: focus, hover and selection survive. */
export function listOf<T>(parent: HTMLElement, options: ListOptions<T>): (items: readonly T[]) => void {
  let shown = new Map<string, { item: T; node: HTMLElement }>();
  return items => {
    const next = new Map<string, { item: T; node: HTMLElement }>();
    for (const item of items) {
      const key = options.key(item);
      const before = shown.get(key);
      const node = before?.node ?? options.create(item);
      if (before?.item !== item) options.update(node, item);
      next.set(key, { item, node });
    }
    const hadFocus = parent.contains(document.activeElement);
    for (const [key, { node }] of shown) if (!next.has(key)) node.remove();
    let at = parent.firstElementChild;
    for (const { node } of next.values()) {
      if (node === at) at = at.nextElementSibling;
      else parent.insertBefore(node, at);
    }
    shown = next;
    if (hadFocus && !parent.contains(document.activeElement)) options.focusLost?.();
  };
}

/** Renders a store now and after each change. Returns the function that stops it. */
export function follow<T>(store: Store<T>, render: (value: T) => void): () => void {
  const stop = store.subscribe(() => render(store.getSnapshot()));
  render(store.getSnapshot());
  return stop;
}

/** Returns a function that runs `run` once after everything that happens in one turn. */
export function soon(run: () => void): () => void {
  let isAwaited = false;
  return () => {
    if (isAwaited) return;
    isAwaited = true;
    queueMicrotask(() => {
      isAwaited = false;
      run();
    });
  };
}

/** Whether the page is as narrow as a phone and shows one pane at a time. */
export const isPhone = (): boolean => matchMedia('(max-width: 649px)').matches;
