//! Text from files, made safe to show.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal acts on the character, or shows the text around it in another order, instead of
/// showing it.
pub(super) fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with escapes where characters would act on the terminal. Names of model files may hold
/// anything; a printed one stays on its line.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Writing to a String does not fail.
            c if acts(c) => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_acts_is_escaped_and_all_else_stays() {
        assert_eq!(printable("größe/Conv:0"), "größe/Conv:0");
        assert_eq!(printable("\u{1b}[2J\n\u{9b}x\u{202e}"), "\\u{1b}[2J\\n\\u{9b}x\\u{202e}");
    }
}
