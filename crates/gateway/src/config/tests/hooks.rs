//! The settings of what the gateway asks the product's backend.

use super::{problem, read};

#[test]
fn the_access_hook_has_an_address_and_a_secret_that_signs_its_calls() {
    const URL: (&str, &str) = ("ACCESS_URL", "https://backend.example/access");
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let hook = |settings: &[(&str, &str)]| read(settings).unwrap().access_hook;
    assert!(hook(&[]).is_none());
    assert!(hook(&[("WEBHOOK_SECRET", SECRET)]).is_none());
    let settings = [
        URL,
        ("WEBHOOK_SECRET", SECRET),
        ("WEBHOOK_SECRET_PREVIOUS", SECRET),
    ];
    let both = hook(&settings).unwrap();
    assert_eq!(both.url.to_string(), URL.1);
    assert!(both.signer.previous.is_some());
    assert!(hook(&settings[..2]).unwrap().signer.previous.is_none());
    for (settings, expected) in [
        (
            &[URL][..],
            "WEBHOOK_SECRET is not set, but signs the calls of ACCESS_URL: generate",
        ),
        (
            &[URL, ("WEBHOOK_SECRET", "hunter2")],
            "WEBHOOK_SECRET must be whsec_ followed by base64: generate",
        ),
        (
            &[("WEBHOOK_SECRET", "whsec_aHVudGVyMg==")],
            "WEBHOOK_SECRET must have 24 to 64 bytes after base64 is decoded, not 7",
        ),
        (
            &[("WEBHOOK_SECRET_PREVIOUS", SECRET)],
            "WEBHOOK_SECRET_PREVIOUS has no effect, because WEBHOOK_SECRET is not set",
        ),
        (
            &[URL, ("WEBHOOK_SECRET_FILE", "/nowhere/secret")],
            "WEBHOOK_SECRET cannot be read from /nowhere/secret",
        ),
        (
            &[("ACCESS_URL", "ftp://h/"), ("WEBHOOK_SECRET", SECRET)],
            "ACCESS_URL must start with https:// or http://",
        ),
        (
            &[
                ("ACCESS_URL", "https://u:hunter2@h/"),
                ("WEBHOOK_SECRET", SECRET),
            ],
            "ACCESS_URL must not contain a user or a password",
        ),
    ] {
        let reported = problem(settings);
        assert!(reported.starts_with(expected), "{reported}");
        assert!(!reported.contains("hunter2"), "{reported}");
        assert!(!reported.contains("; "), "{reported}");
    }
}
