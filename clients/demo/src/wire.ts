// The wire log: the packets of the connection, with the tokens hidden.

import { WebSocket as WebSocketTransport } from 'engine.io-client';
import { el, part } from './dom';

const LINES = 200;
const KINDS: Record<string, string> = {
  0: 'open', 1: 'close', 2: 'ping', 3: 'pong', 40: 'connect', 41: 'disconnect', 42: 'event', 43: 'ack', 44: 'connect_error',
};

let packets = 0;

/** The transport of socket.io-client that the page uses: a WebSocket whose packets are logged. */
export class LoggedWebSocket extends WebSocketTransport {
  override doWrite(packet: unknown, data: unknown): void {
    log('→', data);
    super.doWrite(packet as never, data as never);
  }

  override onData(data: unknown): void {
    log('←', data);
    super.onData(data as never);
  }
}

function log(way: '→' | '←', data: unknown): void {
  const packet = typeof data === 'string' ? data : '(binary)';
  const kind = KINDS[packet.slice(0, packet[0] === '4' ? 2 : 1)] ?? '';
  const lines = part('wire-lines');
  const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
  lines.append(el('li', '', ...[new Date().toTimeString().slice(0, 8), way, kind, withoutTokens(packet)].map(text => el('span', '', text))));
  if (lines.childElementCount > LINES) lines.firstElementChild?.remove();
  if (atEnd) lines.scrollTop = lines.scrollHeight;
  packets += 1;
  part('wire-count').textContent = packets === 1 ? '1 packet' : `${packets} packets`;
}

/** A token is a credential, even here: what follows its header is hidden. */
const withoutTokens = (packet: string): string =>
  packet.replace(/("token":"(?:Bearer )?[^".]{0,8})[^"]*/gi, '$1…').replace(/(eyJ[\w-]{0,5})[\w-]*\.[\w-]+\.[\w-]*/g, '$1…');

export function startWireLog(): void {
  const details = part<HTMLDetailsElement>('wire');
  details.ontoggle = () => { part('wire-lines').scrollTop = part('wire-lines').scrollHeight; };
}
