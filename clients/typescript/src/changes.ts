// What the user changes in stored messages of a room: edits, deletions, reactions. They take effect in
// the order of the calls, and each may be repeated: what is already so changes nothing.

import type { Message, Payload } from './contract.js';
import { quiet } from './errors.js';
import type { Membership } from './membership.js';
import type { Arrival } from './timeline.js';
import type { Room } from './types.js';

type Change = 'editMessage' | 'deleteMessage' | 'setReaction';

export function createChanges(
  roomId: number,
  { ask, perform, ticket }: Membership,
  answered: (message: Message, reacted: Arrival['reacted']) => void,
): Pick<Room, 'edit' | 'delete' | 'react'> {
  let tail: Promise<unknown> = Promise.resolve();

  function change<E extends Change>(event: E, payload: Payload<E>, reacted?: Arrival['reacted']): Promise<Message> {
    const own = ticket();
    const make = () =>
      perform(async (wanted) => {
        const { message } = await ask(event, payload, wanted);
        answered(message, reacted);
        return message;
      }, own);
    const done = tail.then(make);
    tail = done.catch(() => {});
    return quiet(done);
  }

  return {
    edit: (seq, content) => change('editMessage', { roomId, seq, content }),
    delete: (seq) => change('deleteMessage', { roomId, seq }),
    react: (seq, key, on = true) => change('setReaction', { roomId, seq, key, on }, { key, on }),
  };
}
