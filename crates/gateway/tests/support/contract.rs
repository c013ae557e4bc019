//! `docs/asyncapi.yaml`: every packet that a test receives must be as it describes.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};

use chat_test_support::run;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::DEADLINE;

/// The description, of which the test requires more than clients may rely on: nothing is sent that
/// it does not name.
static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let mut description = read();
    forbid_other_properties(&mut description["components"]);
    description
});

/// Compiles each message's schema once.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Returns the description as JSON.
pub(crate) fn read() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/asyncapi.yaml");
    let python = std::env::var_os("TEST_PYTHON")
        .unwrap_or_else(|| panic!("TEST_PYTHON is not set: run `cargo xtask test`"));
    let program =
        "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let mut command = Command::new(python);
    let output = run(command.args(["-c", program]).arg(path), DEADLINE).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{complaint}"))
}

/// Checks the payload of an event that the gateway has sent.
pub(crate) fn check_event(name: &str, payload: &Value) {
    assert_eq!(
        DESCRIPTION["operations"][name]["action"], "send",
        "docs/asyncapi.yaml does not describe the event {name}: {payload}"
    );
    check(name, payload);
}

/// Checks the acknowledgement of an event, which may be none that the gateway knows.
pub(crate) fn check_ack(event: &str, answer: &Value) {
    let reply = &DESCRIPTION["operations"][event]["reply"]["messages"][0]["$ref"];
    match reply.as_str().and_then(|path| path.rsplit('/').next()) {
        Some(message) => check(message, answer),
        None => assert_eq!(answer["error"]["code"], "unknown_event", "{answer}"),
    }
}

fn check(message: &str, payload: &Value) {
    let validator = {
        let mut known = VALIDATORS.lock().unwrap();
        let compiled = known.entry(message.to_owned());
        Arc::clone(compiled.or_insert_with(|| Arc::new(compile(message))))
    };
    let errors: Vec<_> = validator.iter_errors(payload).collect();
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(
        errors.is_empty(),
        "docs/asyncapi.yaml describes {message} otherwise: {errors:?} in {payload}"
    );
}

fn compile(message: &str) -> Validator {
    let path = format!("#/components/messages/{message}/payload");
    let schema = json!({ "$ref": path, "components": DESCRIPTION["components"] });
    jsonschema::validator_for(&schema).unwrap()
}

fn forbid_other_properties(schema: &mut Value) {
    if let Value::Object(fields) = schema {
        if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
            fields.insert("additionalProperties".to_owned(), json!(false));
        }
        fields.values_mut().for_each(forbid_other_properties);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(forbid_other_properties);
    }
}
