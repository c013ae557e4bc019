// A gateway of one room and one connection, in place of socket.io-client: what the hooks show is
// then what a client makes of its events.

import type { Message, Payload, ServerEvent, ServerEvents, User } from '../../src/contract.js';
import { ADA, GRACE } from './fake.js';

const SETTINGS = {
  kind: 'open',
  name: null,
  frozen: false,
  slowModeSeconds: 0,
  metadata: {},
  createdAt: null,
  memberCount: 0,
};

type Listener = (...args: never[]) => void;
type Ack = (answer: unknown) => void;

export class Gateway {
  readonly roomId = 1;
  readonly messages: Message[] = [];
  readonly present: User[] = [ADA];
  /** The events that it has received. */
  readonly received: string[] = [];
  #rev = 0;
  #socket: FakeSocket | undefined;

  /** What socket.io-client exports as `io`. */
  readonly io = (): FakeSocket => {
    this.#socket = new FakeSocket(this);
    return this.#socket;
  };

  emit<E extends ServerEvent>(event: E, payload: ServerEvents[E]): void {
    this.#socket?.receive(event, payload);
  }

  /** Stores a message, and broadcasts it. */
  store(user: User, content: string, more: Partial<Message> = {}): Message {
    const seq = this.messages.length + 1;
    const createdAt = '2026-01-31T12:00:00.000Z';
    const message = { id: seq, roomId: this.roomId, seq, content, createdAt, userId: user.id, user, ...more };
    this.messages.push(message);
    this.emit('newMessage', message);
    return message;
  }

  edit(seq: number, content: string): void {
    const rev = (this.#rev += 1);
    const message = { ...(this.messages[seq - 1] as Message), content, rev };
    this.messages[seq - 1] = message;
    this.emit('messageChanged', { roomId: this.roomId, rev, change: 'edited', message, by: GRACE.id });
  }

  answer(event: string, payload: Payload<'listMessages'> & Payload<'sendMessage'>): object {
    this.received.push(event);
    const { roomId } = this;
    switch (event) {
      case 'joinRoom': {
        const joined = { roomId, seq: this.messages.length, readSeq: 0, unread: 0, rev: this.#rev };
        this.emit('joinedRoom', joined);
        return joined;
      }
      case 'listMessages': {
        const { afterSeq = 0, beforeSeq = Infinity, limit = 50 } = payload;
        const asked = this.messages.filter(({ seq }) => seq > afterSeq && seq < beforeSeq);
        const messages = payload.afterSeq === undefined ? asked.slice(-limit) : asked.slice(0, limit);
        return { messages, hasMore: messages.length < asked.length };
      }
      case 'sendMessage':
        return { message: this.store(ADA, payload.content, { clientMessageId: payload.clientMessageId ?? '' }) };
      case 'getRoom':
        return { room: { roomId, ...SETTINGS } };
      case 'listPresent':
        return { users: this.present, count: this.present.length, complete: true };
      case 'watchRooms':
        return { unreadTotal: 0 };
      case 'listRooms':
        return { rooms: [], unreadTotal: 0 };
      case 'watchUsers':
        return { users: [] };
      case 'leaveRoom':
        return { roomId };
      default:
        throw new Error(`unexpected event: ${event}`);
    }
  }
}

class FakeSocket {
  active = true;
  readonly #listeners = new Map<string, Listener>();
  #any: ((event: string, payload: unknown) => void) | undefined;

  constructor(readonly gateway: Gateway) {}

  on(event: string, listener: Listener): void {
    this.#listeners.set(event, listener);
  }

  onAny(listener: (event: string, payload: unknown) => void): void {
    this.#any = listener;
  }

  off(): void {
    this.#listeners.clear();
  }

  offAny(): void {
    this.#any = undefined;
  }

  connect(): void {
    setTimeout(() => this.#listeners.get('connect')?.());
  }

  disconnect(): void {}

  emit(event: string, payload: never, ack: Ack): void {
    setTimeout(() => ack({ ok: true, ...this.gateway.answer(event, payload) }));
  }

  receive(event: string, payload: unknown): void {
    this.#any?.(event, payload);
  }
}
