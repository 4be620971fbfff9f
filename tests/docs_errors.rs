//! `docs/errors.md` lists every code that the program can print, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn codes_below(dir: &Path, codes: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes_below(&path, codes);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("\"Q0") {
                let code = &text[at + 1..at + 6];
                // Q0000 is what tests of the renderer use.
                if text[at + 6..].starts_with('"') && code != "Q0000" {
                    codes.insert(code.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_code_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    codes_below(&root.join("src"), &mut used);
    let text = fs::read_to_string(root.join("docs/errors.md")).unwrap();
    let listed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| Q"))
        .map(|row| format!("Q{}", &row[..4]))
        .collect();
    assert_eq!(used, listed);
}
