//! `docs/errors.md` lists every code that the program can print, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The source files.
fn texts(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
    found
}

fn source() -> Vec<String> {
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// Code and text of every row.
fn rows() -> BTreeMap<String, String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    rows.filter(|(code, _)| code.starts_with('Q')).map(|(code, text)| (code.into(), text.into())).collect()
}

#[test]
fn every_code_is_documented() {
    let mut used = BTreeSet::new();
    for text in source() {
        for (at, _) in text.match_indices("\"Q0") {
            let code = &text[at + 1..at + 6];
            // Q0000 is what tests of the renderer use.
            if text[at + 6..].starts_with('"') && code != "Q0000" {
                used.insert(code.to_owned());
            }
        }
    }
    assert_eq!(used, rows().into_keys().collect());
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len())]
}

/// The messages of a source file's errors, by `Enum::Variant`.
fn messages(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (at, _) in text.match_indices("#[error(") {
        let Some(literal) = text[at + 8..].trim_start().strip_prefix('"') else { continue };
        // A quote ends the text unless a backslash is before it.
        let end = literal.match_indices('"').find(|(at, _)| !literal[..*at].ends_with('\\')).unwrap().0;
        let message = literal[..end].replace("\\\"", "\"");
        let variant = literal[end..].split_once(")]").unwrap().1.trim_start();
        let error = word(&text[text[..at].rfind("enum ").unwrap() + 5..]);
        found.insert(format!("{error}::{}", word(variant)), message);
    }
    found
}

/// The documentation of a code is the message of its error, where it has only one, with words of its
/// own.
#[test]
fn messages_are_documented_as_they_are() {
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in source() {
        let messages = messages(&text);
        // The arms of `code`, one after the other.
        let mut arms = text.as_str();
        while let Some((arm, rest)) = arms.split_once("=> \"Q0") {
            let arm = &arm[arm.rfind("match self").unwrap_or(0)..];
            for (at, _) in arm.match_indices("::") {
                let start = arm[..at].rfind(|c: char| !c.is_alphanumeric()).map_or(0, |before| before + 1);
                let variant = format!("{}::{}", &arm[start..at], word(&arm[at + 2..]));
                said.entry(format!("Q0{}", &rest[..3])).or_default().extend(messages.get(&variant).cloned());
            }
            arms = rest;
        }
    }
    let rows = rows();
    let mut compared = 0;
    for (code, messages) in said {
        if let [message] = &messages[..]
            && message.split('{').any(|part| part.rsplit('}').next().unwrap().contains(char::is_alphabetic))
        {
            let row = rows.get(&code).map(|row| row.strip_prefix("warning: ").unwrap_or(row));
            assert_eq!(row, Some(&**message), "{code}");
            compared += 1;
        }
    }
    assert!(compared > 60, "only {compared} errors were found");
}
