// Renders into a document of jsdom, and removes what a test leaves behind.

import { act } from 'react';
import type { ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import type { Root } from 'react-dom/client';
import { afterEach, beforeEach } from 'vitest';

declare global {
  var IS_REACT_ACT_ENVIRONMENT: boolean;
}

const roots = new Set<Root>();

export interface Screen {
  readonly element: HTMLElement;
  render(node: ReactNode): void;
  unmount(): void;
}

export function screen(): Screen {
  const element = document.createElement('div');
  document.body.append(element);
  const root = createRoot(element);
  roots.add(root);
  return {
    element,
    render: (node) => act(() => root.render(node)),
    unmount: () => {
      roots.delete(root);
      act(() => root.unmount());
    },
  };
}

/** Lets React render by itself, in slices, instead of all at once in `act`. */
export function withoutAct(): void {
  globalThis.IS_REACT_ACT_ENVIRONMENT = false;
}

beforeEach(() => {
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
});

afterEach(() => {
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
  for (const root of roots) act(() => root.unmount());
  roots.clear();
  document.body.replaceChildren();
});
