//! Errors as operators read them: with their causes, in one line.

use std::error::Error;

/// Returns an error's message and those of its causes, in one line.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
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
