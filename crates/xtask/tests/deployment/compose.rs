//! `docker-compose.yml`: against the schema of Compose, and against the gateway.

use serde_json::Value;

use super::kubernetes::{DRAINING, is_setting};
use super::{changed, differences, read_yaml, workspace};

#[test]
fn compose_accepts_the_file_and_would_not_accept_an_unknown_field() {
    let file = workspace().join("docker-compose.yml");
    assert_eq!(differences("compose", std::slice::from_ref(&file)), "");

    let copies = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("stop_grace_period:", "stop_grace_time:"),
        ("condition: service_healthy", "condition: [healthy]"),
        ("    healthcheck:", "    restart: always\n    healthcheck:"),
    ] {
        let copy = changed(copies.path(), &file, from, to);
        assert_ne!(differences("compose", &[copy]), "", "{to}");
    }
}

#[test]
fn the_gateways_of_the_compose_file_get_settings_and_time_to_drain() {
    let file = &read_yaml(&[workspace().join("docker-compose.yml")])[0];
    for name in ["gateway-1", "gateway-2"] {
        let service = &file["services"][name];
        let settings = service["environment"].as_object().unwrap();
        for name in settings.keys() {
            assert!(is_setting(name), "{name} is not a setting");
        }
        let grace = service["stop_grace_period"].as_str().unwrap();
        let grace: u64 = grace.strip_suffix('s').unwrap().parse().unwrap();
        assert!(grace > DRAINING, "{grace}");
        for needed in service["depends_on"].as_object().unwrap().keys() {
            assert_ne!(
                file["services"][needed]["healthcheck"],
                Value::Null,
                "{needed}"
            );
        }
    }
}
