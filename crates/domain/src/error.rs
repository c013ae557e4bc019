//! Errors from outside the domain: opaque, but definite about whether anything was stored.

/// An adapter's error as the domain sees it: something to log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A storage operation failed. Senders need to know one thing about it: whether the
/// message may have been stored nevertheless.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Storage is unreachable, too slow, or refused the operation. Nothing was stored,
    /// and nothing will be.
    #[error("storage unavailable")]
    Unavailable(#[source] BoxError),
    /// The commit neither succeeded nor certainly failed: the connection to storage broke
    /// meanwhile, or the disk failed. The data may have been stored.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown(#[source] BoxError),
    /// Storage contains data that is not valid, and that the operation needed. A retry
    /// meets the same data. No message was stored.
    #[error("stored data is not valid")]
    Corrupt(#[source] BoxError),
}

impl StorageError {
    /// Creates the error for an operation that certainly stored nothing.
    pub fn unavailable(reason: impl Into<BoxError>) -> Self {
        Self::Unavailable(reason.into())
    }

    /// Creates the error for an operation that may have stored its data.
    pub fn outcome_unknown(reason: impl Into<BoxError>) -> Self {
        Self::OutcomeUnknown(reason.into())
    }

    /// Creates the error for stored data that is not valid.
    pub fn corrupt(reason: impl Into<BoxError>) -> Self {
        Self::Corrupt(reason.into())
    }
}

/// Returns an error's message and those of its causes, in one line.
pub fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // Some errors of dependencies repeat their source in their own message.
        if !line.contains(&text) {
            let separator = if line.is_empty() { "" } else { ": " };
            line.push_str(separator);
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_causes_each_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the file\n  cannot be read")]
        struct Outer(#[source] std::io::Error);

        let outer = Outer(std::io::Error::other("disk failed"));
        assert_eq!(one_line(&outer), "the file cannot be read: disk failed");
        let storage = StorageError::unavailable(outer);
        assert_eq!(
            one_line(&storage),
            "storage unavailable: the file cannot be read: disk failed"
        );
        // Some errors of dependencies repeat their source in their own message.
        let repeating = StorageError::unavailable("storage unavailable");
        assert_eq!(one_line(&repeating), "storage unavailable");
    }
}
