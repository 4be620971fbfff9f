//! `docs/quantizeml.md` answers for every name of QuantizeML's API document (`tests/data/quantizeml-names.txt`), and what it
//! names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use qirc::ops::Registry;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(directory: &Path, all: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_name_has_one_answer() {
    let doc = fs::read_to_string(root().join("docs/quantizeml.md")).unwrap();
    let names = fs::read_to_string(root().join("tests/data/quantizeml-names.txt")).unwrap();
    for name in names.lines() {
        let head = format!("| `{name}` | ");
        let rows: Vec<&str> = doc.lines().filter(|line| line.starts_with(&head)).collect();
        assert_eq!(rows.len(), 1, "rows of {name}");
        assert!(rows[0].len() > head.len() + 4, "{name} has no answer");
    }
    let known: BTreeSet<&str> = names.lines().collect();
    for row in doc.lines().filter_map(|line| line.strip_prefix("| `")) {
        let name = row.split('`').next().unwrap();
        assert!(known.contains(name), "{name} is no name of the document");
    }
}

#[test]
fn what_is_named_exists() {
    let doc = fs::read_to_string(root().join("docs/quantizeml.md")).unwrap();
    let mut code = String::new();
    sources(&root().join("src"), &mut code);
    let arguments = fs::read_to_string(root().join("src/cli/args.rs")).unwrap();
    let passes = fs::read_to_string(root().join("docs/passes.md")).unwrap();
    let registry = Registry::built_in();
    for row in doc.lines().filter(|line| line.starts_with("| `")) {
        let answer = row.split(" | ").nth(1).unwrap_or_default();
        for part in quoted(answer) {
            if let Some(path) = part.strip_prefix("qirc::") {
                let name = path.rsplit("::").next().unwrap();
                let defined = ["fn", "struct", "enum"].iter().any(|kind| {
                    [' ', '(', '<'].iter().any(|end| code.contains(&format!("pub {kind} {name}{end}")))
                });
                assert!(defined, "{part} of {row}");
            } else if let Some(flag) = part.strip_prefix("--") {
                let name = flag.split(' ').next().unwrap();
                let field = format!("pub {}:", name.replace('-', "_"));
                assert!(arguments.contains(&field), "{part} of {row}");
                if let Some(emission) = flag.strip_prefix("emit ") {
                    let mut variant = emission.to_owned();
                    variant[..1].make_ascii_uppercase();
                    assert!(arguments.contains(&format!("    {variant},")), "{part} of {row}");
                }
            } else if part.ends_with(".qrules") {
                assert!(root().join(part).exists(), "{part} of {row}");
            }
        }
        for (at, _) in answer.match_indices("operator `") {
            let op = answer[at..].split('`').nth(1).unwrap();
            assert!(registry.find(op).is_some(), "operator {op} of {row}");
        }
        for (at, _) in answer.match_indices("pass `") {
            let pass = answer[at..].split('`').nth(1).unwrap();
            assert!(passes.contains(&format!("| `{pass}` |")), "pass {pass} of {row}");
        }
    }
}
