//! What a message carries besides its text: `replyTo`, `mentions` and `metadata`.

use chat_domain::{MessageExtras, MessageMetadata, UserId};
use serde_json::value::RawValue;

use super::{Fields, malformed_field, position, present, user};
use crate::socket::protocol::{Malformed, message_metadata};

const MENTIONS: &str = "mentions";

impl Fields<'_> {
    /// Returns `replyTo`, `mentions` and `metadata`, if any of them is there.
    pub(crate) fn extras(&self) -> Result<Option<Box<MessageExtras>>, Malformed> {
        let extras = MessageExtras {
            reply_to: position("replyTo", self.reply_to, 1)?,
            mentions: self.mentions()?,
            metadata: self.message_metadata()?,
        };
        Ok(extras.boxed())
    }

    /// Returns `mentions`, each user once, in the order in which they are first named.
    fn mentions(&self) -> Result<Vec<UserId>, Malformed> {
        const MAX: usize = MessageExtras::MAX_MENTIONS;
        let wrong =
            || malformed_field(MENTIONS, format!("must be an array of at most {MAX} users"));
        let Some(field) = present(self.mentions) else {
            return Ok(Vec::new());
        };
        let users: Vec<&RawValue> = serde_json::from_str(field.get()).map_err(|_| wrong())?;
        if users.len() > MAX {
            return Err(wrong());
        }
        let mut mentions = Vec::with_capacity(users.len());
        for (place, user_id) in users.into_iter().enumerate() {
            let user_id = user(user_id)
                .map_err(|what| malformed_field(MENTIONS, format!("[{place}]: {what}")))?;
            if !mentions.contains(&user_id) {
                mentions.push(user_id);
            }
        }
        Ok(mentions)
    }

    fn message_metadata(&self) -> Result<Option<MessageMetadata>, Malformed> {
        present(self.metadata)
            .map(message_metadata::parse)
            .transpose()
    }
}
