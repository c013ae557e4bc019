//! `docs/errors.md`, generated from the table of codes.

use std::fmt::Write as _;
use std::path::Path;

use super::{DESCRIPTIONS, Description, ErrorCode, Retry};
use crate::api::ApiCode;
use crate::socket::handshake::Refusal;
use crate::socket::reply::Code;

/// With this environment variable, the test writes the page instead of comparing it.
const UPDATE: &str = "UPDATE_DOCS";

const INTRODUCTION: &str = "\
# Error codes

What each `code` means, what a client should do, and what an operator should look at. Decide by `code`, never
by `message`, which is for people and may change. The shapes are in
[protocol.md](protocol.md#acknowledgements-and-errors) and [server-api.md](server-api.md#errors).
`chat_events_total` and `chat_handshakes_total` count the codes.

A code is **retryable** if the same request may succeed later.

";

/// Returns where clients meet this code.
fn seen_in(code: ErrorCode) -> String {
    let places = [
        (
            "`error` and acknowledgements",
            Code::ALL.into_iter().any(|it| it.wire() == code),
        ),
        (
            "`connect_error`",
            Refusal::ALL.into_iter().any(|it| it.wire() == code),
        ),
        (
            "the server API",
            ApiCode::ALL.into_iter().any(|it| it.wire() == code),
        ),
    ];
    let seen: Vec<_> = places.iter().filter(|(_, seen)| *seen).collect();
    assert!(!seen.is_empty(), "no client can receive {}", code.name());
    let names: Vec<_> = seen.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn retryable(code: ErrorCode) -> &'static str {
    match code.retry() {
        Retry::May => "yes",
        Retry::DoesNot => "no",
    }
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page += "| code | retryable | seen in |\n|---|---|---|\n";
    for Description { code, .. } in DESCRIPTIONS {
        let (name, retryable, seen) = (code.name(), retryable(*code), seen_in(*code));
        writeln!(page, "| [`{name}`](#{name}) | {retryable} | {seen} |").unwrap();
    }
    for description in DESCRIPTIONS {
        let Description {
            code,
            happened,
            client,
            operator,
        } = description;
        write!(
            page,
            "\n## {}\n\n**What happened.** {happened}\n\n**The client.** {client}\n\n\
             **The operator.** {operator}\n",
            code.name()
        )
        .unwrap();
    }
    page
}

#[test]
fn the_page_of_error_codes_is_the_table_in_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let page = page();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/errors.md is not what the code says: run \
         {UPDATE}=1 cargo test -p chat-gateway --lib codes"
    );
}
