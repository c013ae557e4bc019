//! What the product's access hook answers.

use std::time::Duration;

use chat_adapters::access_hook::fuzz::answer;
use chat_domain::Role;
use serde_json::Value;

/// No user is let in but by an object that says so, with the role that it names, and no answer is
/// kept for longer than an hour.
pub(crate) fn run(data: &[u8]) {
    let Some((granted, kept)) = answer(data) else {
        return;
    };
    let value: Value = serde_json::from_slice(data).expect("an answer is JSON");
    assert_eq!(value["allow"], granted.is_some());
    if let Some(role) = granted {
        let named = value["role"].as_str().map_or("member", |name| name);
        assert_eq!(Role::from_name(named), Some(role));
    }
    let seconds = value["ttlSeconds"].as_u64().unwrap_or(30);
    assert_eq!(kept, Duration::from_secs(seconds.min(3600)));
}
