// chat-gateway-client: a client of the chat gateway that loses no message, shows none twice, and
// keeps the newest state of each.

export { createClient } from './client.js';
export { ChatError } from './errors.js';
export type * from './types.js';
export type {
  Change,
  ClientEvent,
  ClientEvents,
  Code,
  Kind,
  Member,
  MemberChange,
  Message,
  Notify,
  Payload,
  Range,
  RemovalReason,
  Result,
  Role,
  Room as RoomSettings,
  ServerEvent,
  ServerEvents,
  Summary,
  User,
  UserPresence,
} from './contract.js';
