//! The fields of events about what users do at this moment.

use std::collections::HashSet;

use chat_domain::UserId;
use serde_json::value::RawValue;

use super::{Fields, malformed_field, required, user};
use crate::socket::protocol::Malformed;

const USER_IDS: &str = "userIds";
/// How many users a connection may watch.
const MAX_WATCHED: usize = 200;

impl Fields<'_> {
    /// Returns `typing`.
    pub(crate) fn typing(&self) -> Result<bool, Malformed> {
        match required("typing", self.typing)?.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(malformed_field("typing", "must be true or false")),
        }
    }

    /// Returns `userIds`, each once.
    pub(crate) fn user_ids(&self) -> Result<Vec<UserId>, Malformed> {
        let field = required(USER_IDS, self.user_ids)?;
        let ids: Vec<&RawValue> = serde_json::from_str(field.get())
            .map_err(|_| malformed_field(USER_IDS, "must be an array of user ids"))?;
        if ids.len() > MAX_WATCHED {
            let message = format!("must have at most {MAX_WATCHED} user ids");
            return Err(malformed_field(USER_IDS, message));
        }
        let mut seen = HashSet::new();
        let mut users = Vec::with_capacity(ids.len());
        for id in ids {
            let id = user(id).map_err(|what| malformed_field(USER_IDS, format!("each {what}")))?;
            if seen.insert(id.clone()) {
                users.push(id);
            }
        }
        Ok(users)
    }
}
