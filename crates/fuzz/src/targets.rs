//! The targets, one file each.

pub(crate) mod access_answers;
pub(crate) mod forwarded_for;
pub(crate) mod frame_headers;
pub(crate) mod frames;
pub(crate) mod jwks;
pub(crate) mod packets;
pub(crate) mod queries;
pub(crate) mod redis_messages;
pub(crate) mod settings;
pub(crate) mod tokens;
