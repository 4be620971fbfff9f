//! Names, strings and numbers as they are written: what the printers write, the lexers read.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use crate::tensor::DType;

/// Whether a name can stand behind its sigil without quotes: parts of `[A-Za-z0-9_.$-]`, joined or
/// preceded by single slashes (two would begin a comment).
fn is_bare(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.$-".contains(&b))
    };
    name.strip_prefix('/').unwrap_or(name).split('/').all(part)
}

/// Whether the text is a word: an operator, attribute, axis symbol.
pub fn is_word(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text != "_"
}

/// A name behind its sigil, quoted where it must be.
pub fn name(sigil: char, name: &str) -> String {
    if is_bare(name) { format!("{sigil}{name}") } else { format!("{sigil}{}", quoted(name)) }
}

/// A string literal. Control characters are escaped, all else stands for itself.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Writing to a String does not fail.
            c if c.is_control() => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text inside the quotes of a literal, and the ranges of escapes that mean nothing (kept as
/// they are written).
pub fn unescaped(inside: &str) -> (Cow<'_, str>, Vec<Range<usize>>) {
    if !inside.contains('\\') {
        return (Cow::Borrowed(inside), Vec::new());
    }
    let mut out = String::with_capacity(inside.len());
    let mut bad = Vec::new();
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (c, len) = match rest[1..].chars().next() {
            Some('"') => (Some('"'), 2),
            Some('\\') => (Some('\\'), 2),
            Some('n') => (Some('\n'), 2),
            Some('t') => (Some('\t'), 2),
            Some('r') => (Some('\r'), 2),
            Some('u') => {
                let digits = rest[2..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|s| s.0);
                let c = digits.filter(|digits| digits.len() <= 6).and_then(hex).and_then(char::from_u32);
                (c, if c.is_some() { 4 + digits.map_or(0, str::len) } else { 2 })
            }
            Some(other) => (None, 1 + other.len_utf8()),
            None => (None, 1),
        };
        match c {
            Some(c) => out.push(c),
            None => {
                let start = inside.len() - rest.len();
                bad.push(start..start + len);
                out.push_str(&rest[..len]);
            }
        }
        rest = &rest[len..];
    }
    out.push_str(rest);
    (Cow::Owned(out), bad)
}

fn hex(digits: &str) -> Option<u32> {
    // from_str_radix takes a sign, which is no digit.
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// An integer or float type that a number of the text can be.
pub trait Number: Sized {
    /// Exactly the value that is written, or for floats the one nearest to it; `None` if the text
    /// is no number of this type or lies outside of it.
    fn read(text: &str) -> Option<Self>;

    /// The shortest text that reads back to the same bits.
    fn write(&self) -> String;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Number for $type {
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
integers! { i8 u8 i16 u16 i32 u32 i64 u64 usize }

macro_rules! floats {
    ($($type:ty, $bits:ty, $width:literal;)*) => {$(
        impl Number for $type {
            fn read(text: &str) -> Option<Self> {
                match text {
                    "inf" => return Some(<$type>::INFINITY),
                    "-inf" => return Some(<$type>::NEG_INFINITY),
                    _ => {}
                }
                if let Some(digits) = text.strip_prefix("nan(0x").and_then(|t| t.strip_suffix(')')) {
                    let value = <$bits>::from_str_radix(digits, 16).ok().map(<$type>::from_bits)?;
                    return value.is_nan().then_some(value);
                }
                // The standard parser knows words ("nan", "infinity") that the text form does not.
                if !text.bytes().any(|b| b.is_ascii_digit()) {
                    return None;
                }
                text.parse().ok().filter(|value: &$type| value.is_finite())
            }

            fn write(&self) -> String {
                if self.is_nan() {
                    format!(concat!("nan(0x{:0", $width, "x})"), self.to_bits())
                } else {
                    format!("{self:?}")
                }
            }
        }
    )*};
}
floats! { f32, u32, 8; f64, u64, 16; }

impl Number for bool {
    fn read(text: &str) -> Option<Self> {
        match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// How an element of this type is described to a user.
pub fn element_words(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "true or false",
        DType::F32 | DType::F64 => "a number",
        _ => "a whole number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_only_where_needed() {
        assert_eq!(name('%', "/conv1/Conv_output_0"), "%/conv1/Conv_output_0");
        assert_eq!(name('%', "a//b"), "%\"a//b\"");
        assert_eq!(name('%', "a/"), "%\"a/\"");
        assert_eq!(name('@', "relu_16/dequantize:0"), "@\"relu_16/dequantize:0\"");
        assert_eq!(name('%', ""), "%\"\"");
    }

    #[test]
    fn escapes_come_back() {
        for text in ["", "a\"b\\c", "tab\tnew\nret\r", "\u{0}\u{7f}\u{85}é…", "\\u{41}"] {
            let quoted = quoted(text);
            let (back, bad) = unescaped(&quoted[1..quoted.len() - 1]);
            assert_eq!((&*back, bad.len()), (text, 0));
        }
        assert_eq!(unescaped(r"a\qb\u{zz}").1, [1..3, 4..6]);
    }

    #[test]
    fn floats_come_back_bit_by_bit() {
        for bits in [0, 0x8000_0000, 1, 0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 0x3dcc_cccd, 0x7f7f_ffff] {
            let value = f32::from_bits(bits);
            assert_eq!(f32::read(&value.write()).map(f32::to_bits), Some(bits), "{}", value.write());
        }
        assert_eq!(f32::read("1e999"), None);
        assert_eq!(f32::read("infinity"), None);
        assert_eq!(f32::read("nan(0x3f800000)"), None);
    }
}
