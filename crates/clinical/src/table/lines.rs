//! Lines of NDJSON, without letting one of them eat the memory.

use std::io::{self, BufRead, Read};

use crate::json::MAX_RECORD_BYTES;

/// Reads lines into one buffer.
pub struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    is_first: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads the lines of `reader`.
    pub fn new(reader: R) -> Lines<R> {
        Lines { reader, line: Vec::new(), is_first: true }
    }

    /// The next line, with its end but without a byte order mark before the first;
    /// `None` after the last.
    ///
    /// Of a line longer than [`MAX_RECORD_BYTES`] only a little more than that is
    /// given, which [`super::ViewRunner::push_line`] refuses, and the rest skipped.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        // The longest record and its `\r\n`.
        let limit = MAX_RECORD_BYTES as u64 + 2;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == limit && !self.line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
        }
        let line = self.line.as_slice();
        match std::mem::take(&mut self.is_first) {
            true => Ok(Some(line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line))),
            false => Ok(Some(line)),
        }
    }
}

/// What some programs write before UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Whether a line plainly is a resource of another type: its first member is
/// `resourceType`, with another value.
pub(super) fn is_of_other_type(line: &[u8], wanted: &[u8]) -> bool {
    fn after<'l>(line: &'l [u8], token: &[u8]) -> Option<&'l [u8]> {
        line.trim_ascii_start().strip_prefix(token)
    }
    let value = after(line, b"{")
        .and_then(|rest| after(rest, b"\"resourceType\""))
        .and_then(|rest| after(rest, b":"))
        .and_then(|rest| after(rest, b"\""));
    let Some(value) = value else {
        return false;
    };
    let end = value.iter().position(|byte| !byte.is_ascii_alphanumeric());
    let Some((name, rest)) = end.and_then(|end| value.split_at_checked(end)) else {
        return false;
    };
    name != wanted
        && rest.starts_with(b"\"")
        && line.ends_with(b"}")
        && line.len() <= MAX_RECORD_BYTES
        && std::str::from_utf8(line).is_ok()
}
