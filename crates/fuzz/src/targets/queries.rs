//! The queries of Engine.IO's requests, and the token that one may carry beside `auth`.

use chat_gateway::fuzz::{canonical_query, find_token};
use serde_json::Value;

/// The first line is an `auth` payload, the rest a query.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (auth, query) = text.split_once('\n').unwrap_or(("", text));
    let canonical = canonical_query(query);
    if let Some(canonical) = &canonical {
        // The gateway decides by the query that it passes on.
        assert_eq!(canonical_query(canonical).as_ref(), Some(canonical));
        assert!(canonical.starts_with("EIO=4&transport="), "{canonical}");
    }
    let canonical = canonical.unwrap_or_default();
    let found = find_token(auth, &canonical);
    // A token in `auth` decides, whatever the query says.
    if let Ok(auth) = serde_json::from_str::<Value>(auth)
        && let Some(token) = auth["token"].as_str()
        && let Ok(found) = found
    {
        assert_eq!(found.as_deref(), Some(token));
    }
}
