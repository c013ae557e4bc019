//! The operations of the server API, as metrics name them.

use http::Method;

use super::PREFIX;

macro_rules! operations {
    ($($operation:ident = $name:literal, $method:ident $segments:pat),* $(,)?) => {
        /// An operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Operation {
            $($operation,)*
            /// A path or method that does not exist.
            Unknown,
        }

        impl Operation {
            /// All operations, in the order of their declaration.
            pub(crate) const ALL: &[Self] = &[$(Self::$operation,)* Self::Unknown];

            /// Returns the operation's id in the description.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => $name,)*
                    Self::Unknown => "unknown",
                }
            }

            fn of_segments(method: &Method, segments: &[&str]) -> Self {
                $(if *method == Method::$method && matches!(segments, $segments) {
                    return Self::$operation;
                })*
                Self::Unknown
            }
        }
    };
}

operations! {
    ListRooms = "listRooms", GET ["rooms"],
    GetRoom = "getRoom", GET ["rooms", _],
    PutRoom = "putRoom", PUT ["rooms", _],
    DeleteRoom = "deleteRoom", DELETE ["rooms", _],
    EraseUser = "eraseUser", DELETE ["users", _],
    ExportUser = "exportUser", GET ["users", _, "export"],
    ListUserRooms = "listUserRooms", GET ["users", _, "rooms"],
    GetUnread = "getUnread", GET ["users", _, "unread"],
    DisconnectUser = "disconnectUser", POST ["users", _, "disconnect"],
    RevokeTokens = "revokeTokens", POST ["users", _, "revoke"],
    LiftRevocation = "liftRevocation", DELETE ["users", _, "revoke"],
    ListMembers = "listMembers", GET ["rooms", _, "members"],
    SetMembers = "setMembers", POST ["rooms", _, "members"],
    PutMember = "putMember", PUT ["rooms", _, "members", _],
    DeleteMember = "deleteMember", DELETE ["rooms", _, "members", _],
    ListBans = "listBans", GET ["rooms", _, "bans"],
    PutBan = "putBan", PUT ["rooms", _, "bans", _],
    DeleteBan = "deleteBan", DELETE ["rooms", _, "bans", _],
    ListMutes = "listMutes", GET ["rooms", _, "mutes"],
    PutMute = "putMute", PUT ["rooms", _, "mutes", _],
    DeleteMute = "deleteMute", DELETE ["rooms", _, "mutes", _],
    ListMessages = "listMessages", GET ["rooms", _, "messages"],
    ImportMessages = "importMessages", POST ["rooms", _, "import"],
    SendMessage = "sendMessage", POST ["rooms", _, "messages"],
    EditMessage = "editMessage", PATCH ["rooms", _, "messages", _],
    DeleteMessage = "deleteMessage", DELETE ["rooms", _, "messages", _],
    ListChanges = "listChanges", GET ["rooms", _, "changes"],
    GetStats = "getStats", GET ["stats"],
    GetDescription = "getDescription", GET ["openapi.json"],
}

impl Operation {
    /// Returns the operation of a request.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        // HEAD is GET without a body.
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let below = path.strip_prefix(PREFIX).unwrap_or_default();
        let mut segments = [""; 5];
        let mut count = 0;
        for segment in below.split('/').skip(1) {
            if count == segments.len() {
                return Self::Unknown;
            }
            segments[count] = segment;
            count += 1;
        }
        Self::of_segments(method, &segments[..count])
    }

    /// Returns whether requests with this method write.
    pub(super) fn writes(method: &Method) -> bool {
        !method.is_safe()
    }
}
