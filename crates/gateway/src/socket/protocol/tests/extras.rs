//! What a message carries besides its text.

use chat_domain::{MessageExtras, MessageMetadata, UserId};

use super::*;

/// Reads a message with this field. Returns what it carries.
fn read_extras(field: &str) -> Result<Option<MessageExtras>, String> {
    let payload = format!(r#"{{"roomId":1,"content":"x",{field}}}"#);
    match read_event("sendMessage", &payload)? {
        Event::SendMessage(sent) => Ok(sent.extras.map(|extras| *extras)),
        other => panic!("{other:?}"),
    }
}

fn metadata_of(json: &str) -> Result<String, String> {
    let extras = read_extras(&format!(r#""metadata":{json}"#))?;
    let metadata = extras.unwrap_or_default().metadata;
    Ok(metadata.unwrap().as_str().to_owned())
}

#[test]
fn a_message_carries_all_that_is_given() {
    let extras =
        read_extras(r#""replyTo":5.0,"mentions":["a",7,"a","7",-1],"metadata":{ "a" : 1 }"#);
    let expected = MessageExtras {
        reply_to: Seq::new(5).ok(),
        mentions: ["a", "7", "-1"].map(|id| UserId::new(id).unwrap()).into(),
        metadata: MessageMetadata::new(r#"{"a":1}"#).ok(),
    };
    assert_eq!(extras.unwrap(), Some(expected));
}

#[test]
fn what_is_null_or_empty_is_absent() {
    for field in [
        r#""replyTo":null,"mentions":null,"metadata":null"#,
        r#""mentions":[]"#,
        r#""x":1"#,
    ] {
        assert_eq!(read_extras(field).unwrap(), None, "{field}");
    }
}

#[test]
fn a_reply_is_to_a_position() {
    for wrong in ["0", "-1", "1.5", "9007199254740992", "\"1\"", "[]", "true"] {
        let refused = read_extras(&format!(r#""replyTo":{wrong}"#));
        let says = "replyTo must be an integer from 1 to 9007199254740991";
        assert_eq!(refused.unwrap_err(), says, "{wrong}");
    }
}

#[test]
fn at_most_50_users_are_mentioned() {
    let users = |count| {
        let users: Vec<_> = (0..count).map(|n| format!("\"{n}\"")).collect();
        format!(r#""mentions":[{}]"#, users.join(","))
    };
    let most = read_extras(&users(50)).unwrap().unwrap();
    assert_eq!(most.mentions.len(), 50);
    let says = "mentions must be an array of at most 50 users";
    assert_eq!(read_extras(&users(51)).unwrap_err(), says);
    for wrong in ["{}", "1", "\"7\"", "false"] {
        let refused = read_extras(&format!(r#""mentions":{wrong}"#));
        assert_eq!(refused.unwrap_err(), says, "{wrong}");
    }
    for wrong in [
        "null",
        "1.5",
        "{}",
        "[]",
        "true",
        "\"\"",
        r#""\u0000""#,
        r#""\ud800""#,
    ] {
        let refused = read_extras(&format!(r#""mentions":["7",{wrong}]"#)).unwrap_err();
        assert!(refused.starts_with("mentions [1]: "), "{wrong}: {refused}");
    }
    let long = format!(r#""mentions":["{}"]"#, "x".repeat(256));
    assert!(
        read_extras(&long)
            .unwrap_err()
            .starts_with("mentions [0]: ")
    );
}

#[test]
fn metadata_has_one_form() {
    for (sent, form) in [
        ("{}", "{}"),
        (" {\t\n } ", "{}"),
        (
            r#"{ "b" : [ 1 , { } ] , "a" : " x y " }"#,
            r#"{"a":" x y ","b":[1,{}]}"#,
        ),
        (
            r#"{"b":{"d":1,"c":2},"a":[3,2,1]}"#,
            r#"{"a":[3,2,1],"b":{"c":2,"d":1}}"#,
        ),
        (r#"{"\u0061":"\u00e9\/\ud83e\udd80"}"#, r#"{"a":"é/🦀"}"#),
        (
            r#"{"a":"\\ \" \n \u0000 \u001f"}"#,
            r#"{"a":"\\ \" \n \u0000 \u001f"}"#,
        ),
        (r#"{"a\\":" \\\" "}"#, r#"{"a\\":" \\\" "}"#),
        // Spelled as they were.
        (
            r#"{"a":[1.0,1e2,-0,12345678901234567890123,0.10,true,false,null]}"#,
            r#"{"a":[1.0,1e2,-0,12345678901234567890123,0.10,true,false,null]}"#,
        ),
    ] {
        assert_eq!(metadata_of(sent).as_deref(), Ok(form), "{sent}");
        assert_eq!(metadata_of(form).as_deref(), Ok(form));
    }
}

#[test]
fn metadata_is_an_object_without_duplicate_keys() {
    for wrong in ["[]", "1", "\"x\"", "true", r#""{}""#] {
        let says = "metadata must be an object of Unicode text";
        assert_eq!(metadata_of(wrong).unwrap_err(), says, "{wrong}");
    }
    for twice in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":[{"y":{"a":1,"b":2,"a":3}}]}"#,
    ] {
        let says = "metadata contains a duplicate key";
        assert_eq!(metadata_of(twice).unwrap_err(), says, "{twice}");
    }
    for unreadable in [r#"{"a":"\ud800"}"#, r#"{"\udc00":1}"#, r#"{"a":1e999}"#] {
        let says = "metadata must be an object of Unicode text";
        assert_eq!(metadata_of(unreadable).unwrap_err(), says, "{unreadable}");
    }
}

#[test]
fn metadata_is_measured_in_its_form() {
    let text = |count: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(count));
    let most = metadata_of(&text(2048 - 8)).unwrap();
    assert_eq!(most.len(), 2048);
    let says = "metadata must have at most 2048 bytes";
    assert_eq!(metadata_of(&text(2048 - 7)).unwrap_err(), says);
    assert_eq!(metadata_of(&text(30_000)).unwrap_err(), says);
    // Neither whitespace nor escapes count.
    let spaced = format!(r#"{{{}"a":1}}"#, " ".repeat(30_000));
    assert_eq!(metadata_of(&spaced).unwrap(), r#"{"a":1}"#);
    let escaped = format!(r#"{{"\u0061":"{}"}}"#, r"\u0078".repeat(2048 - 8));
    assert_eq!(metadata_of(&escaped).unwrap(), most);
}

#[test]
fn metadata_has_at_most_50_levels() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"a":{open}{close}}}"#)
    };
    assert_eq!(metadata_of(&nested(50)).unwrap(), nested(50));
    let says = "metadata must be at most 50 levels deep";
    assert_eq!(metadata_of(&nested(51)).unwrap_err(), says);
    assert_eq!(metadata_of(&nested(1000)).unwrap_err(), says);
}
