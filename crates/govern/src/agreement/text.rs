//! Texts that people read before they approve: what they see must be what is there.

use cordon_protocol::Agreement;

use super::{AgreementError, count, distinct};
use crate::Code;

/// Longest line for people.
pub const MAX_LINE_BYTES: usize = 512;
/// Longest statement of purpose: two pages.
pub const MAX_STATEMENT_BYTES: usize = 8 * 1024;

const MAX_DUO_TERMS: usize = 32;
const MAX_REFERENCES: usize = 64;

pub(super) fn check(agreement: &Agreement) -> Result<(), AgreementError> {
    line("title", &agreement.title)?;
    let purpose = &agreement.purpose;
    paragraphs("purpose.statement", &purpose.statement, MAX_STATEMENT_BYTES)?;
    line("purpose.legal_basis", &purpose.legal_basis)?;
    count("purpose.duo", purpose.duo.len(), 0..=MAX_DUO_TERMS)?;
    distinct("purpose.duo", &purpose.duo)?;
    if let Some(term) = purpose.duo.iter().find(|term| !is_duo(term)) {
        let found = format!("{} bytes of another form", term.len());
        let expected = "`DUO:` and 7 digits";
        return Err(AgreementError::new(Code::AgreementText, "purpose.duo", expected, found));
    }
    count("purpose.references", purpose.references.len(), 0..=MAX_REFERENCES)?;
    distinct("purpose.references", &purpose.references)?;
    purpose.references.iter().try_for_each(|reference| line("purpose.references", reference))
}

/// One line of visible text.
pub(super) fn line(field: &str, text: &str) -> Result<(), AgreementError> {
    visible(field, text, MAX_LINE_BYTES, |_| false)
}

/// Visible text with line breaks and tabs.
pub(super) fn paragraphs(field: &str, text: &str, limit: usize) -> Result<(), AgreementError> {
    visible(field, text, limit, |c| c == '\n' || c == '\t')
}

fn visible(
    field: &str,
    text: &str,
    limit: usize,
    may_be: impl Fn(char) -> bool,
) -> Result<(), AgreementError> {
    let refuse = |expected: String, found: String| {
        Err(AgreementError::new(Code::AgreementText, field, expected, found))
    };
    if text.trim().is_empty() || text.len() > limit {
        return refuse(format!("1 to {limit} bytes of text"), format!("{} bytes", text.len()));
    }
    match text.chars().find(|c| is_invisible(*c) && !may_be(*c)) {
        None => Ok(()),
        Some(c) => refuse(
            "characters that show, and in the order in which they stand".to_owned(),
            format!("U+{:04X}", u32::from(c)),
        ),
    }
}

/// Characters that change what a reader sees without being seen: controls, and the format
/// characters that hide or re-order text ("Trojan Source", CVE-2021-42574).
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

fn is_duo(term: &str) -> bool {
    term.strip_prefix("DUO:")
        .is_some_and(|digits| digits.len() == 7 && digits.bytes().all(|b| b.is_ascii_digit()))
}
