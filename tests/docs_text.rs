//! The `qir` blocks of the documents: those marked `error CODE` fail with that code, the others read,
//! are valid and survive printing.

use std::fs;
use std::io;
use std::path::Path;

use qirc::diag::{Sources, render};
use qirc::ops::Registry;
use qirc::syntax::qir::{parse, print};
use qirc::verify::verify;

/// Info string and text of every fenced block.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

#[test]
fn blocks_of_the_documents_are_what_they_say() {
    let registry = Registry::built_in();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for file in
        ["README.md", "docs/text-format.md", "docs/architecture.md", "docs/passes.md", "docs/add-an-op.md"]
    {
        for (info, block) in blocks(&fs::read_to_string(root.join(file)).unwrap()) {
            let expected = match &*info {
                "qir" => None,
                _ => match info.strip_prefix("qir error ") {
                    Some(code) => Some(code.to_owned()),
                    None => continue,
                },
            };
            seen += 1;
            let mut sources = Sources::default();
            let id = sources.add(file, block.clone()).unwrap();
            let none = |_: &str| Err(io::Error::from(io::ErrorKind::NotFound));
            let read = parse(&block, id, &registry, &mut { none })
                .and_then(|graph| verify(&graph, &registry).map(|()| graph));
            match (read, expected) {
                (Ok(graph), None) => {
                    let text = print(&graph, &registry, "data.safetensors").qir;
                    let again = parse(&text, id, &registry, &mut { none }).unwrap();
                    assert!(again.same_as(&graph), "{file}: {text}");
                }
                (Err(found), Some(code)) => {
                    assert!(
                        found.0.iter().any(|d| d.code == code),
                        "{file}: expected {code}, found {found:?}"
                    );
                }
                (Ok(_), Some(code)) => panic!("{file}: expected {code}:\n{block}"),
                (Err(found), None) => {
                    let words: String = found.into_iter().map(|d| render(&d, &sources, false)).collect();
                    panic!("{file}: {words}");
                }
            }
        }
    }
    assert!(seen >= 3, "only {seen} blocks found");
}
