//! The error codes of the wire: their names, whether a retry may help, and what each means to the
//! people who meet it. `docs/errors.md` is generated from this table.

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    May,
    DoesNot,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $retry:ident {
        happened: $happened:literal,
        client: $client:literal,
        operator: $operator:literal,
    })*) => {
        /// Every code that a client or the product's backend can receive. Each part of the wire
        /// has an enum of those that it uses; its names are these.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// Returns the code as it is on the wire.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            pub(crate) const fn retry(self) -> Retry {
                match self {
                    $(Self::$variant => Retry::$retry,)*
                }
            }
        }

        /// All codes with their descriptions, in the order of the page.
        #[cfg(test)]
        const DESCRIPTIONS: &[Description] = &[$(Description {
            code: ErrorCode::$variant,
            happened: $happened,
            client: $client,
            operator: $operator,
        },)*];
    };
}

/// What a code means, in Markdown, for `docs/errors.md`.
#[cfg(test)]
struct Description {
    code: ErrorCode,
    happened: &'static str,
    client: &'static str,
    operator: &'static str,
}

codes! {
    InvalidPayload = "invalid_payload", DoesNot {
        happened: "The request does not have the shape that the [contract](protocol.md#client-to-server) or the \
            [server API](server-api.md) describes. `message` names the field; the server API also has `field`.",
        client: "Correct the request. It is a defect in the client, or something that it should have checked \
            before: an empty text, a text that is too long, a `replyTo` that does not exist.",
        operator: "Nothing, if they are few. Many of them mean a defect in a client that was just released.",
    }
    UnknownEvent = "unknown_event", DoesNot {
        happened: "The event does not exist. Names are exact: `joinroom` is not `joinRoom`.",
        client: "Correct the name.",
        operator: "A client that is newer than the gateway, or a misspelled name.",
    }
    NotInRoom = "not_in_room", DoesNot {
        happened: "This connection has not joined the room. Another connection of the same user does not count, and \
            neither does the connection before a reconnect.",
        client: "Join first, in the `connect` handler, every time (see [the rules of a \
            client](clients.md#the-rules)), and then repeat the request.",
        operator: "Some are normal, when a client sends before it has joined again after a reconnect.",
    }
    NotFound = "not_found", DoesNot {
        happened: "The room does not exist for this user, whatever the reason: the token's claim `rooms` does not \
            allow it, the user is banned, the room is private and the user is not a member, the access hook denies \
            it, or the room is being deleted. Or the room has no message with this `seq`. In the server API: there \
            is no such room, message or path.",
        client: "Remove the room from view. Do not try again before something has changed: `roomAdded`, or a new \
            token.",
        operator: "If users miss rooms: compare the claims of their tokens with the room's members and bans \
            (`chat-gateway member list`), and look at the access hook.",
    }
    Forbidden = "forbidden", DoesNot {
        happened: "The user may see the room, but may not do this there. `reason` is `role`, `muted` (with `until`, \
            unless the mute lasts until it is lifted), `frozen`, or `author`: only its author edits a message.",
        client: "Say why, by `reason`. Do not offer what [the user may not do](protocol.md#who-may-do-what).",
        operator: "Nothing. Many of them mean a client that offers what its user may not do.",
    }
    Conflict = "conflict", DoesNot {
        happened: "The request contradicts what is stored: the `clientMessageId` was used with other content; the \
            message is deleted, so that it can be neither edited nor reacted to; the room would lose its last \
            owner; a banned user would become a member; or the room is being deleted.",
        client: "Look at what is stored. A new message needs a new `clientMessageId`. What another user deleted \
            meanwhile is gone.",
        operator: "Few are normal, when two users change one message at once. Many mean a client that reuses its \
            ids.",
    }
    RateLimited = "rate_limited", May {
        happened: "Too many events of this user per second (`MESSAGE_RATE`), or in progress on this connection \
            (`MAX_IN_FLIGHT`), or the room is in slow mode. In the server API: too many requests from this address \
            had no valid key.",
        client: "Wait for `retryAfterMs` (over HTTP `Retry-After`, in seconds), or, without it, for answers. Then \
            repeat the request.",
        operator: "`chat_refusals_total` counts the first two by limit. Slow mode is normal and not counted there. \
            See [ChatLimitsRefuse](operations.md#chatlimitsrefuse).",
    }
    LimitExceeded = "limit_exceeded", DoesNot {
        happened: "A fixed limit is reached: this connection has joined `MAX_ROOMS` rooms, or the message has 20 \
            distinct reactions.",
        client: "Leave a room first, or use a reaction that the message has already.",
        operator: "If users need more rooms at once, raise `MAX_ROOMS`. A client that only lists rooms needs none: \
            it can watch the [inbox](protocol.md#the-inbox).",
    }
    Unavailable = "unavailable", May {
        happened: "The gateway cannot do it now, and has definitely not done it: storage is unavailable or too slow, \
            or a room's rules change without pause. In `joinRoom` also: the access hook gives no answer. At \
            `connect`: the gateway drains, the issuer's keys cannot be fetched, or the revoked tokens could not be \
            read for ten seconds.",
        client: "Repeat the request after a moment, with the same `clientMessageId`. After a refused `connect`, \
            call `connect` again after a moment.",
        operator: "See [ChatDatabaseNotWritable](operations.md#chatdatabasenotwritable). If \
            `chat_database_writable` is 1, more arrives than the database stores: see \
            [ChatSendsRefused](operations.md#chatsendsrefused). For `joinRoom` alone, see \
            [ChatAccessHookUnavailable](operations.md#chataccesshookunavailable).",
    }
    OutcomeUnknown = "outcome_unknown", May {
        happened: "The connection to the database broke during the commit. The message, or the change, may be \
            stored. Members receive it if and only if it was. In the server API also: the request took too long.",
        client: "Send the message again with the same `clientMessageId`: it is stored once. Without one, the room \
            may see the text twice. A change of a message or of a member may simply be repeated.",
        operator: "The log has the cause. Look at the database: it was restarted, failed over, or cut off.",
    }
    TokenMissing = "token_missing", DoesNot {
        happened: "The client presented no token, in none of the [three places](protocol.md#handshake).",
        client: "Get a token and connect with it. `null` in `auth` counts as none.",
        operator: "A client that connects before its user is logged in, or a proxy that removes `Authorization`.",
    }
    TokenInvalid = "token_invalid", DoesNot {
        happened: "The token's signature, algorithm, issuer, audience or [shape](protocol.md#what-a-token-must-be) is \
            not accepted, or it is not valid yet. In answer to `renewToken` also: it is another user's.",
        client: "Get another token. If that one is refused too, the configuration is wrong: do not loop.",
        operator: "At `debug`, the log has the cause. If all clients see it, compare `JWT_SECRET` or `JWKS_URL`, \
            `JWT_ISSUER` and `JWT_AUDIENCE` with the backend's (`chat-gateway check-config`).",
    }
    TokenExpired = "token_expired", DoesNot {
        happened: "The token had expired when the client connected, or expires while it is connected: then the \
            connection ends.",
        client: "Get a new token and connect again. To avoid the reconnect, send `renewToken` a minute before.",
        operator: "If clients see it right after they get a token, compare the clocks, and look at `JWT_LEEWAY`.",
    }
    TokenRevoked = "token_revoked", DoesNot {
        happened: "The user's tokens were [revoked](protocol.md#revoked-tokens), when the client connects or while \
            it is connected: then the connection ends.",
        client: "Let the user log in again. A token that is issued later is accepted.",
        operator: "If users cannot connect with new tokens, the backend's tokens lack `iat`, or its clock is behind. \
            `chat-gateway kick --lift` lifts the revocation.",
    }
    TooManyConnections = "too_many_connections", DoesNot {
        happened: "The user has `MAX_CONNECTIONS_PER_USER` connections on this node.",
        client: "Close the connections that are not needed, and connect again when one has ended.",
        operator: "A client that opens connections and does not close them, or a limit that is too low. See \
            [ChatHandshakesRefused](operations.md#chathandshakesrefused).",
    }
    Unauthorized = "unauthorized", DoesNot {
        happened: "The request to the server API presents none of the [keys](server-api.md#keys).",
        client: "Send `Authorization: Bearer <key>`.",
        operator: "Compare the backend's key with `API_KEYS_FILE`. The gateway rereads the file on SIGHUP.",
    }
    Internal = "internal", DoesNot {
        happened: "A defect of the gateway, or stored data that is not valid. `message` has the id of a log line.",
        client: "Report the id. After `internal` for a `joinRoom`, join again: the connection may have left the room.",
        operator: "Find the id in the log, and see [ChatInternalErrors](operations.md#chatinternalerrors).",
    }
}

#[cfg(test)]
mod page;
