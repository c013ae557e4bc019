//! The OpenAPI description: generated from the handlers, completed with what holds for all of
//! them.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, Ref, RefOr, Response, ResponseBuilder, Server};
use utoipa::{OpenApi as _, ToResponse};

use super::PREFIX;
use super::error::ErrorBody;

/// The name of the scheme by which requests are authorized.
const SCHEME: &str = "key";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Chat gateway: server API",
        description = "What the product's backend asks of the chat gateway. The API acts as the \
            product: roles, mutes, freezes and slow mode do not bind it. Clients must ignore keys \
            of objects that they do not know.",
        license(name = "MIT", identifier = "MIT"),
        contact(name = "The operator of this gateway"),
    ),
    tags(
        (name = "Rooms", description = "Rooms and their settings."),
        (name = "Members", description = "Users with membership of a room."),
        (name = "Bans and mutes", description = "Users that a room excludes or silences."),
        (name = "Messages", description = "Messages of a room."),
        (name = "Users", description = "Inboxes, connections and tokens of users."),
        (name = "Statistics", description = "What the nodes do."),
    ),
    components(schemas(ErrorBody)),
)]
struct Described;

/// The description without paths.
pub(super) fn base() -> OpenApi {
    Described::openapi()
}

/// Completes the description of the paths, and encodes it.
pub(super) fn complete(mut description: OpenApi) -> String {
    description.servers = Some(vec![Server::new(PREFIX)]);
    let components = description.components.get_or_insert_default();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("One of the keys of API_KEYS_FILE."))
        .build();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    for (name, response) in responses() {
        components
            .responses
            .insert(name.to_owned(), response.into());
    }
    description.security = Some(vec![SecurityRequirement::new(SCHEME, [] as [&str; 0])]);
    for path in description.paths.paths.values_mut() {
        let operations = [
            &mut path.get,
            &mut path.put,
            &mut path.post,
            &mut path.patch,
            &mut path.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let writes = operation.request_body.is_some();
            add_responses(operation, writes);
        }
    }
    match description.to_json() {
        Ok(json) => json,
        // Its keys are strings, and none of its parts can fail.
        Err(error) => unreachable!("the description cannot be encoded: {error}"),
    }
}

/// Adds the answers that every operation may give, and those of every operation with a body.
fn add_responses(operation: &mut Operation, has_body: bool) {
    let common = [
        ("400", "InvalidPayload"),
        ("401", "Unauthorized"),
        ("429", "RateLimited"),
        ("500", "Internal"),
        ("503", "Unavailable"),
    ];
    let with_body = [("413", "PayloadTooLarge"), ("415", "UnsupportedMediaType")];
    let with_body = with_body.into_iter().filter(|_| has_body);
    for (status, name) in common.into_iter().chain(with_body) {
        let response = Ref::from_response_name(name);
        let responses = &mut operation.responses.responses;
        responses.insert(status.to_owned(), response.into());
    }
}

/// Returns the answers to which operations refer by name.
fn responses() -> [(&'static str, Response); 9] {
    let retry_after = || {
        HeaderBuilder::new()
            .description(Some("After how many seconds another attempt may succeed."))
            .schema(Some(
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(1)),
            ))
            .build()
    };
    [
        NotFound::named(),
        Conflict::named(),
        (
            "InvalidPayload",
            error("The request is malformed: `invalid_payload`, with `field` if one is wrong."),
        ),
        (
            "Unauthorized",
            error("The request presents no valid key: `unauthorized`.").header(
                "WWW-Authenticate",
                HeaderBuilder::new()
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                    .build(),
            ),
        ),
        (
            "PayloadTooLarge",
            error("The body has more than 1 MiB: `invalid_payload`."),
        ),
        (
            "UnsupportedMediaType",
            error("The body is not declared as what the operation takes: `invalid_payload`."),
        ),
        (
            "RateLimited",
            error("Too many requests from this address had no valid key: `rate_limited`.")
                .header("Retry-After", retry_after()),
        ),
        (
            "Internal",
            error("A defect, logged under the id in the message: `internal`."),
        ),
        (
            "Unavailable",
            error(
                "`unavailable`: nothing was done, try again. `outcome_unknown`: it may have been \
                 done; repeating the request is safe if it is idempotent.",
            )
            .header("Retry-After", retry_after()),
        ),
    ]
    .map(|(name, response)| (name, response.build()))
}

/// Describes an answer that is not a success.
fn error(description: &str) -> ResponseBuilder {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody")));
    ResponseBuilder::new()
        .description(description)
        .content("application/json", body.build())
}

/// There is no such room, or no such message.
pub(super) struct NotFound;

/// The request contradicts what is stored.
pub(super) struct Conflict;

impl NotFound {
    fn named() -> (&'static str, ResponseBuilder) {
        (
            "NotFound",
            error("There is no such room, or no such message: `not_found`."),
        )
    }
}

impl Conflict {
    fn named() -> (&'static str, ResponseBuilder) {
        (
            "Conflict",
            error("The request contradicts what is stored: `conflict`."),
        )
    }
}

impl<'r> ToResponse<'r> for NotFound {
    fn response() -> (&'r str, RefOr<Response>) {
        let (name, response) = Self::named();
        (name, response.build().into())
    }
}

impl<'r> ToResponse<'r> for Conflict {
    fn response() -> (&'r str, RefOr<Response>) {
        let (name, response) = Self::named();
        (name, response.build().into())
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::super::{Operation, described_routes};
    use super::*;

    fn description() -> Value {
        let (_, description) = described_routes().split_for_parts();
        serde_json::from_str(&complete(description)).unwrap()
    }

    /// Returns the operations: method, path and description of each.
    fn operations(description: &Value) -> Vec<(Method, String, &Value)> {
        let mut found = Vec::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let method = method.to_uppercase().parse().unwrap();
                found.push((method, path.clone(), operation));
            }
        }
        found
    }

    #[test]
    fn each_operation_is_described_once_under_the_name_that_metrics_have() {
        let description = description();
        assert_eq!(description["openapi"], "3.1.0");
        let mut names = Vec::new();
        for (method, path, operation) in operations(&description) {
            let request = format!("{PREFIX}{path}");
            let name = Operation::of(&method, &request).name();
            assert_eq!(operation["operationId"], name, "{method} {path}");
            names.push(name);
        }
        names.extend(["getDescription", "unknown"]);
        names.sort_unstable();
        let mut known: Vec<_> = Operation::ALL.iter().map(|known| known.name()).collect();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn each_operation_has_a_summary_a_tag_and_every_common_answer() {
        let description = description();
        for (method, path, operation) in operations(&description) {
            let what = format!("{method} {path}: {operation}");
            assert!(operation["summary"].is_string(), "{what}");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{what}");
            let responses = operation["responses"].as_object().unwrap();
            for status in ["400", "401", "429", "500", "503"] {
                assert!(responses.contains_key(status), "{status}: {what}");
            }
            let has_body = operation["requestBody"].is_object();
            assert_eq!(responses.contains_key("415"), has_body, "{what}");
            // A request that needs to state nothing has no body, or may leave it out.
            let name = operation["operationId"].as_str().unwrap();
            let may_have_body = [Method::PUT, Method::POST, Method::PATCH].contains(&method);
            assert_eq!(
                has_body,
                may_have_body && name != "disconnectUser",
                "{what}"
            );
            if has_body {
                let is_required = operation["requestBody"]["required"] == json!(true);
                assert_eq!(is_required, name != "revokeTokens", "{what}");
            }
            let parameters = operation["parameters"].as_array();
            let in_path = parameters
                .into_iter()
                .flatten()
                .filter(|p| p["in"] == "path");
            assert_eq!(in_path.count(), path.matches('{').count(), "{what}");
        }
    }

    /// Whatever is referred to is there.
    #[test]
    fn each_reference_leads_somewhere() {
        let description = description();
        let text = description.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(description.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
