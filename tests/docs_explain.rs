//! The sessions of `docs/explain.md` are what the commands print.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn sessions_are_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/explain.md")).unwrap();
    let mut sessions = 0;
    for block in text.split("```console\n$ qirc ").skip(1) {
        let (command, rest) = block.split_once('\n').unwrap();
        let expected = rest.split_once("```").unwrap().0;
        let output = Command::new(env!("CARGO_BIN_EXE_qirc"))
            .current_dir(root)
            .args(command.split_whitespace())
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.trim_end(), expected.trim_end(), "qirc {command}");
        assert!(output.status.success(), "qirc {command}");
        sessions += 1;
    }
    assert_eq!(sessions, 3);
}
