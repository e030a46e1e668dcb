//! Events from a host are data (DESIGN section 10): size capped, words and ids checked, texts made harmless.

use super::{Event, Origin, SCHEMA, clean::Cleaner};
use crate::text::Redactor;

/// Longest line that is taken from a host, its line break not counted.
pub const LONGEST_FOREIGN_LINE: usize = 1024 * 1024;

/// Why a line from a host is not an event. The line itself is never quoted: it could say anything.
#[derive(Debug, thiserror::Error)]
pub enum ForeignEventError {
    /// It is too long to look at.
    #[error("an event of {found_bytes} bytes came from the host; {LONGEST_FOREIGN_LINE} are accepted")]
    TooLong {
        /// Its length.
        found_bytes: usize,
    },
    /// It is not JSON, or an id or a word in it is none.
    #[error("a line from the host is not an event (line 1, column {column})")]
    NotAnEvent {
        /// Where reading stopped.
        column: usize,
    },
    /// Another version of the format.
    #[error("the host speaks version {found} of the event format; this program knows {SCHEMA}")]
    Schema {
        /// Its version.
        found: u32,
    },
    /// It says that the runner saw it.
    #[error("an event from the host says that it is not the host's")]
    Origin,
    /// A time, an id or a number is out of its range.
    #[error("an event from the host has a `{field}` that cannot be")]
    Field {
        /// Which field.
        field: &'static str,
    },
}

impl Event {
    /// Returns the event that an agent's line says, with every text in it harmless and redacted.
    ///
    /// # Errors
    /// When the line is too long or no event, when it claims to be the runner's, or when an id, a word or a number
    /// in it cannot be.
    pub fn from_foreign_line(line: &str, redactor: &Redactor) -> Result<Self, ForeignEventError> {
        let line = line.trim_end_matches(['\n', '\r']);
        if line.len() > LONGEST_FOREIGN_LINE {
            return Err(ForeignEventError::TooLong { found_bytes: line.len() });
        }
        let mut event: Self = serde_json::from_str(line)
            .map_err(|cause| ForeignEventError::NotAnEvent { column: cause.column() })?;
        event.check_foreign()?;
        Cleaner(redactor).event(&mut event);
        Ok(event)
    }

    fn check_foreign(&self) -> Result<(), ForeignEventError> {
        if self.schema != SCHEMA {
            return Err(ForeignEventError::Schema { found: self.schema });
        }
        if self.origin != Origin::Agent {
            return Err(ForeignEventError::Origin);
        }
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let wrong = [
            (self.seq == 0, "seq"),
            (!is_timestamp(&self.timestamp), "timestamp"),
            (!is_hex(&self.trace_id, 32), "trace_id"),
            (!is_hex(&self.span_id, 16), "span_id"),
        ];
        match wrong.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, field)) => Err(ForeignEventError::Field { field }),
            None => Ok(()),
        }
    }
}

/// `2026-11-21T06:40:53.123Z`, and nothing else.
fn is_timestamp(text: &str) -> bool {
    text.parse().is_ok_and(|time| super::timestamp(time) == text)
}
