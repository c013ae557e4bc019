// The log of the model: rooms, their messages in their newest states, and who has read how far.

import type { Message, Summary } from '../../src/contract.js';

export interface LoggedMessage extends Omit<Message, 'reactions' | 'rev'> {
  rev: number;
  content: string;
  userId: string;
  reacted: Map<string, Set<string>>;
  /** Who made each change, by its `rev`. */
  by: Map<number, string | null>;
}

let ids = 0;

export class RoomModel {
  readonly messages: LoggedMessage[] = [];
  readonly members = new Set<string>();
  readonly banned = new Set<string>();
  readonly read = new Map<string, number>();
  readonly joinedAt = new Map<string, string>();
  readonly notify = new Map<string, Summary['notify']>();
  rev = 0;

  constructor(readonly roomId: number) {}

  get seq(): number {
    return this.messages.length;
  }

  /** Returns the stored message, and whether it is a repeat; or undefined if the content differs. */
  store(userId: string, content: string, clientMessageId?: string): { message: LoggedMessage; isRepeat: boolean } {
    const known = clientMessageId && this.messages.find((m) => m.userId === userId && m.clientMessageId === clientMessageId);
    if (known) return { message: known, isRepeat: true };
    const message: LoggedMessage = {
      id: ++ids,
      roomId: this.roomId,
      seq: this.seq + 1,
      content,
      createdAt: new Date().toISOString(),
      userId,
      user: { id: userId, name: userId },
      ...(clientMessageId && { clientMessageId }),
      rev: 0,
      reacted: new Map(),
      by: new Map(),
    };
    this.messages.push(message);
    this.read.set(userId, message.seq);
    return { message, isRepeat: false };
  }

  change(seq: number, by: string | null, how: (message: LoggedMessage) => boolean): LoggedMessage | undefined {
    const message = this.messages[seq - 1];
    if (!message || !how(message)) return message;
    message.rev = ++this.rev;
    message.by.set(message.rev, by);
    return message;
  }

  react(seq: number, userId: string, key: string, on: boolean): LoggedMessage | undefined {
    return this.change(seq, userId, (message) => {
      if ('deletedAt' in message || 'erasedAt' in message) return false;
      const users = message.reacted.get(key) ?? new Set();
      if (users.has(userId) === on) return false;
      if (on) users.add(userId);
      else users.delete(userId);
      if (users.size) message.reacted.set(key, users);
      else message.reacted.delete(key);
      return true;
    });
  }

  edit(seq: number, userId: string, content: string): LoggedMessage | undefined {
    return this.change(seq, userId, (message) => {
      if ('deletedAt' in message || 'erasedAt' in message || message.content === content) return false;
      Object.assign(message, { content, editedAt: new Date().toISOString() });
      return true;
    });
  }

  delete(seq: number, userId: string): LoggedMessage | undefined {
    return this.change(seq, userId, (message) => {
      if ('deletedAt' in message || 'erasedAt' in message) return false;
      Object.assign(message, { content: '', deletedAt: new Date().toISOString() });
      message.reacted.clear();
      return true;
    });
  }

  erase(seq: number): LoggedMessage | undefined {
    return this.change(seq, null, (message) => {
      if ('erasedAt' in message) return false;
      Object.assign(message, { content: '', userId: 'deleted', user: { id: 'deleted', name: '' } });
      Object.assign(message, { erasedAt: new Date().toISOString() });
      delete (message as { clientMessageId?: string }).clientMessageId;
      message.reacted.clear();
      return true;
    });
  }

  /** A message on the wire: for one user, with `mine`; or as a broadcast. */
  wire(message: LoggedMessage, forUser?: string): Message {
    const { reacted, by: _, rev, ...fields } = message;
    const reactions = [...reacted].map(([key, users]) => ({
      key,
      count: users.size,
      ...(forUser && users.has(forUser) && { mine: true }),
    }));
    return structuredClone({ ...fields, ...(rev && { rev }), ...(reactions.length && { reactions }) });
  }

  unread(userId: string): number {
    return this.seq - (this.read.get(userId) ?? 0);
  }

  summary(userId: string): Summary {
    const last = this.messages.at(-1);
    return {
      roomId: this.roomId,
      kind: 'open',
      name: null,
      metadata: {},
      role: 'member',
      notify: this.notify.get(userId) ?? 'all',
      seq: this.seq,
      rev: this.rev,
      readSeq: this.read.get(userId) ?? 0,
      unread: this.unread(userId),
      mentions: 0,
      ...(last && { lastMessage: this.wire(last) }),
    };
  }

  activity(userId: string): string {
    return this.messages.at(-1)?.createdAt ?? this.joinedAt.get(userId) ?? '';
  }
}
