//! Texts that nobody would write: no reader panics on them, and the layouts lose nothing.

mod common;

use std::fs;
use std::io;
use std::path::Path;

use common::graphs::{graph, registry};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use qirc::diag::{Diagnostics, SourceId, Sources, render};
use qirc::syntax::{pipeline, qir, rules};

const QIR: &[&str] = &[
    "qir",
    "1",
    "type",
    "graph",
    "data",
    "file",
    "sha256",
    "const",
    "return",
    "in",
    "name",
    "loc",
    "q",
    "_",
    "%x",
    "%y",
    "%\"a b\"",
    "@w",
    "!t",
    "\"s\"",
    "\"\\u{41}\"",
    "-3",
    "0.5",
    "1e9",
    "-inf",
    "nan(0x7fc00000)",
    "relu",
    "clip",
    "min",
    "f32",
    "i8",
    "N",
    "axis",
    "scale",
    "zero",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    ",",
    ":",
    "=",
    "->",
    "// c\n",
    "\n",
    "é",
    "\"open",
    "type !a =",
    "graph @g(",
    "data @w :",
    "%x =",
    "return %x",
];

const RULES: &[&str] = &[
    "use",
    "ruleset",
    "contract",
    "driver",
    "rule",
    "custom_pattern",
    "chain",
    "layer",
    "where",
    "let",
    "as",
    "true",
    "_",
    "x",
    "relu",
    "real",
    "1",
    "0.5",
    "inf",
    "\"s\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "@",
    "..",
    "=>",
    "=",
    "==",
    "<",
    "+",
    "-",
    "*",
    "!",
    "&&",
    "||",
    "// c\n",
    "/// d\n",
    "//! d\n",
    "\n",
    "é",
    "ruleset a {",
    "rule b {",
    "relu(x)",
    "=> x }",
    "where let z =",
    "{..rest}",
];

fn check(text: &str, parse: impl Fn(&str, SourceId) -> Result<String, Diagnostics>) {
    let mut sources = Sources::default();
    let id = sources.add("a", text).expect("small");
    match parse(text, id) {
        Ok(laid_out) => {
            let again = parse(&laid_out, id).unwrap_or_else(|found| panic!("{found:?}\n{laid_out}"));
            assert_eq!(again, laid_out, "{text}");
            assert_eq!(essence(&laid_out), essence(text));
        }
        Err(found) => {
            assert!(found.has_errors());
            for finding in &found.0 {
                render(finding, &sources, false);
            }
        }
    }
}

/// Reads a text in every way there is.
fn check_all(text: &str) {
    check(text, |text, id| {
        let mut load = |_: &str| Err(io::Error::new(io::ErrorKind::NotFound, "none"));
        drop(qir::parse(text, id, &registry(), &mut load));
        qir::format(text, id)
    });
    check(text, rules::format);
    let mut sources = Sources::default();
    let id = sources.add("a", text).expect("small");
    if let Ok(pipeline) = pipeline::parse(text, id) {
        let printed = pipeline.to_string();
        let id = sources.add("b", &*printed).expect("small");
        assert_eq!(pipeline::parse(&printed, id).expect("printed").to_string(), printed);
    }
}

/// A piece of a text, as both languages have it.
enum Piece<'a> {
    Space,
    Comment(&'a str),
    Str(&'a str),
    Other(&'a str),
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = if is_space(c) {
            c.len_utf8()
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else {
            c.len_utf8()
        };
        let (piece, later) = rest.split_at(len);
        out.push(match c {
            c if is_space(c) => Piece::Space,
            '"' => Piece::Str(piece),
            _ if piece.starts_with("//") => Piece::Comment(piece),
            _ => Piece::Other(piece),
        });
        rest = later;
    }
    out
}

/// All that a layout must keep: everything but white space, and the comments in their order.
fn essence(text: &str) -> (String, Vec<String>) {
    let mut content = String::new();
    let mut comments = Vec::new();
    for piece in pieces(text) {
        match piece {
            Piece::Space => {}
            Piece::Comment(comment) => comments.push(comment.trim_end().to_owned()),
            Piece::Str(piece) | Piece::Other(piece) => content.push_str(piece),
        }
    }
    (content, comments)
}

/// The text with other white space, and comments where white space is.
fn respaced(text: &str, spaces: &[u8]) -> String {
    let mut spaces = spaces.iter().copied().cycle();
    let mut out = String::new();
    let mut space = |out: &mut String, needed: bool| match spaces.next().unwrap_or(0) % 8 {
        0 => out.push('\n'),
        1 => out.push_str("\n\n\n"),
        2 => out.push_str(" // inserted\n"),
        3 => out.push_str("\n// inserted\n\n"),
        4 if !needed => {}
        _ => out.push(' '),
    };
    let mut after_space = true;
    // `nan(0x7fc00000)` is one token.
    let mut nan = false;
    for piece in pieces(text) {
        match piece {
            Piece::Space if after_space => {}
            Piece::Space => {
                space(&mut out, true);
                after_space = true;
            }
            Piece::Comment(comment) => {
                out.push_str(comment);
                out.push('\n');
                after_space = true;
            }
            Piece::Str(piece) => {
                out.push_str(piece);
                after_space = false;
            }
            Piece::Other(piece) => {
                if "]})".contains(piece) && !nan {
                    space(&mut out, false);
                }
                nan = (nan && piece != ")") || (piece == "(" && out.ends_with("nan"));
                out.push_str(piece);
                after_space = false;
                if ",([{".contains(piece) && !nan {
                    space(&mut out, false);
                    after_space = true;
                }
            }
        }
    }
    out
}

/// Every text of a kind that ships with the project.
fn shipped(dirs: &[&str], extension: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    let mut pending: Vec<_> = dirs.iter().map(|dir| root.join(dir)).collect();
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                texts.push(fs::read_to_string(&path).expect("text"));
            }
        }
    }
    texts.sort();
    assert!(!texts.is_empty());
    texts
}

/// The text with parts cut out, doubled or replaced.
fn damaged(text: &str, damages: &[(Index, Index, u8, &str)]) -> String {
    let mut text = text.to_owned();
    for (at, len, kind, token) in damages {
        let at = text.floor_char_boundary(at.index(text.len() + 1));
        let end = text.ceil_char_boundary((at + len.index(12)).min(text.len()));
        match kind % 4 {
            0 => text.replace_range(at..end, ""),
            1 => {
                let piece = text[at..end].to_owned();
                text.insert_str(at, &piece);
            }
            2 => text.insert_str(at, token),
            _ => text.replace_range(at..end, token),
        }
    }
    text
}

fn damages() -> impl Strategy<Value = Vec<(Index, Index, u8, &'static str)>> {
    let token = select([QIR, RULES].concat());
    vec((any::<Index>(), any::<Index>(), any::<u8>(), token), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        check_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_characters(text in "(?s).{0,100}") {
        check_all(&text);
    }

    #[test]
    fn any_tokens_of_qir(tokens in vec(select(QIR), 0..60)) {
        check_all(&tokens.join(" "));
        check_all(&tokens.concat());
    }

    #[test]
    fn any_tokens_of_rules(tokens in vec(select(RULES), 0..60)) {
        check_all(&tokens.join(" "));
        check_all(&tokens.concat());
    }

    #[test]
    fn damaged_qir(text in select(shipped(&["examples"], "qir")), damages in damages()) {
        check_all(&damaged(&text, &damages));
    }

    #[test]
    fn damaged_rules(text in select(shipped(&["passes"], "qrules")), damages in damages()) {
        check_all(&damaged(&text, &damages));
    }

    #[test]
    fn the_layout_of_graphs_loses_nothing(graph in graph(), spaces in vec(any::<u8>(), 1..60)) {
        let text = respaced(&qir::print(&graph, &registry(), "a.safetensors").qir, &spaces);
        let id = Sources::default().add("a.qir", &*text).expect("small");
        prop_assert!(qir::format(&text, id).is_ok(), "{text}");
        check(&text, qir::format);
    }

    #[test]
    fn the_layout_of_rules_loses_nothing(
        text in select(shipped(&["passes"], "qrules")),
        spaces in vec(any::<u8>(), 1..60),
    ) {
        let text = respaced(&text, &spaces);
        let id = Sources::default().add("a.qrules", &*text).expect("small");
        prop_assert!(rules::format(&text, id).is_ok(), "{text}");
        check(&text, rules::format);
    }
}
