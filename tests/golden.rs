//! The golden files of the project: `qirc test tests/golden`, and with `QIRC_BLESS=1` the same with
//! `--bless`.

use std::path::Path;
use std::process::Command;

#[test]
fn golden_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for dir in ["tests/golden", "examples/golden", "examples/fixed_point"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qirc"));
        command.arg("test").arg(root.join(dir));
        if std::env::var_os("QIRC_BLESS").is_some() {
            command.arg("--bless");
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.success(), "{dir}, rerun with QIRC_BLESS=1 to accept:\n{text}");
    }
}
