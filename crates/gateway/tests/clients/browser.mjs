// Starts the tests' browser and collects what a page must not do.

import { chromium } from 'playwright-core';
import { variable } from './environment.mjs';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

export function launch() {
  return chromium.launch({ executablePath: variable('TEST_CHROMIUM'), args: FLAGS });
}

/** Opens a page. Returns it with the list of its problems: errors, console warnings, requests to other hosts. */
export async function open(browser, url, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const problems = [];
  const host = new URL(url).host;
  const check = address => {
    const { protocol, host: requested } = new URL(address);
    if (protocol !== 'data:' && requested !== host) problems.push(`a request to ${address}`);
  };
  page.on('pageerror', error => problems.push(`an error: ${error.message}`));
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) problems.push(`in the console: ${message.text()}`);
  });
  page.on('request', request => check(request.url()));
  page.on('websocket', socket => check(socket.url()));
  await page.goto(url);
  return { page, problems };
}
