//! `qirc rules check`: the built-in rules stand the test, and unsound ones are caught, each with a
//! counter-example that shows it by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn qirc(args: &[&dyn AsRef<Path>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qirc"));
    args.iter().for_each(|arg| {
        command.arg(arg.as_ref());
    });
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "qrules"));
    files.sort();
    files
}

/// The number before a word.
fn number_before(line: &str, word: &str) -> usize {
    line.split(word).next().and_then(|head| head.split_whitespace().last()).unwrap().parse().unwrap()
}

#[test]
fn built_in_rules_are_sound() {
    for file in files("passes") {
        let output = qirc(&[&"rules", &"check", &file]);
        let text = text(&output);
        assert!(output.status.success(), "{}:\n{text}", file.display());
        assert!(output.stderr.is_empty(), "{}:\n{text}", file.display());
        for line in text.lines().filter(|line| line.starts_with("ok")) {
            let instances = number_before(line, " instance");
            assert!(instances >= 64, "{line}");
            let (drawn, attempts) = (number_before(line, " drawn"), number_before(line, " attempts"));
            // Directed: the matcher confirms what the search came up with.
            assert!(instances * 2 >= drawn, "{line}");
            assert!(attempts < 4096, "{line}");
        }
    }
}

#[test]
fn rules_of_the_documentation_are_sound() {
    let text = include_str!("../docs/rules.md");
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<&str> =
        text.split("```qrules\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 4);
    for (at, block) in blocks.iter().enumerate() {
        let file = dir.path().join(format!("{at}.qrules"));
        fs::write(&file, block).unwrap();
        let output = qirc(&[&"rules", &"check", &file]);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", self::text(&output));
    }
}

#[test]
fn sound_rules_are_accepted() {
    let files = files("tests/sound");
    assert!(files.len() >= 5);
    for file in files {
        let output = qirc(&[&"rules", &"check", &file]);
        let text = text(&output);
        assert!(output.status.success() && output.stderr.is_empty(), "{}:\n{text}", file.display());
        for line in text.lines().filter(|line| line.starts_with("ok")) {
            assert!(number_before(line, " instance") >= 64, "{line}");
        }
    }
}

#[test]
fn unsound_rules_are_caught_with_a_counter_example() {
    let files = files("tests/unsound");
    assert!(files.len() >= 15);
    for file in files {
        let dir = tempfile::tempdir().unwrap();
        let output = qirc(&[&"rules", &"check", &file, &"--write", &dir.path()]);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(1), "{}:\n{told}", file.display());
        assert!(told.contains("FAILED unsound."), "{told}");
        let written: Vec<PathBuf> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!written.is_empty(), "{}:\n{told}", file.display());
        for example in written {
            let graph = fs::read_to_string(&example).unwrap();
            assert!(told.contains(graph.trim_end()), "what is written is what is printed\n{graph}");
            let laid_out = qirc(&[&"fmt", &"--check", &example]);
            assert!(laid_out.status.success(), "{}\n{graph}", text(&laid_out));
            if !graph.contains("%right") {
                assert!(qirc(&[&"check", &example]).status.success(), "{graph}");
                continue;
            }
            let values = dir.path().join("values");
            let run = qirc(&[&"run", &example, &"--output-dir", &values]);
            if graph.contains("// the right side cannot be run") {
                assert_eq!(run.status.code(), Some(1), "{}\n{graph}", text(&run));
                continue;
            }
            assert!(run.status.success(), "{}\n{graph}", text(&run));
            let side = |name: &str| fs::read(values.join(format!("{name}.npy"))).unwrap();
            assert_ne!(side("left"), side("right"), "{}:\n{graph}", file.display());
        }
    }
}

#[test]
fn layers_whose_integers_are_something_else_are_caught_at_their_place() {
    let files = files("tests/unsound_layers");
    assert!(files.len() >= 4);
    for file in files {
        let output = qirc(&[&"rules", &"check", &file]);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(1), "{}:\n{told}", file.display());
        assert!(
            told.contains("ok     unsound.clipped_dense") && told.contains("FAILED layer Clipped"),
            "{told}"
        );
        // The line of `params` or `integer`, not that of the layer.
        let text = fs::read_to_string(&file).unwrap();
        let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
        let (params, rules) = (line("params {"), line("ruleset"));
        let named = (params..rules).any(|line| told.contains(&format!("{}:{line}:", file.display())));
        assert!(named, "{told}");
        if told.contains("[Q0555]") {
            assert!(told.contains("%floats") && told.contains("%integers"), "{told}");
        }
    }
}

#[test]
fn reports_depend_on_neither_threads_nor_time() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("passes/cleanup.qrules");
    let run = |threads: &'static str| {
        let output = qirc(&[&"rules", &"check", &file, &"--instances", &"8", &"--threads", &threads]);
        text(&output)
    };
    assert_eq!(run("1"), run("3"));
    let one = qirc(&[&"rules", &"check", &file, &"--instances", &"8", &"--rule", &"clip_into_clip"]);
    let one = text(&one);
    assert!(run("1").contains(one.lines().next().unwrap()), "{one}");
    let none = qirc(&[&"rules", &"check", &file, &"--rule", &"nothing"]);
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn rules_are_listed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("passes/pairs.qrules");
    let output = qirc(&[&"rules", &"list", &file]);
    let expected = "ruleset pairs: contract bitexact, driver saturate\n  \
                    concat_to_pairs  expand Many parts are joined in pairs, from the left.\n";
    assert_eq!(text(&output), expected);
}
