//! The program as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn digits(name: &str) -> String {
    root().join("examples/digits").join(name).display().to_string()
}

struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn qirc(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_qirc")).args(args).current_dir(self.dir.path()).output().unwrap()
    }

    /// Runs and expects success; returns what was printed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.qirc(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs and expects exit code 1 with that code among the findings.
    fn refused(&self, args: &[&str], code: &str) -> String {
        let output = self.qirc(args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains(&format!("[{code}]")), "{args:?}: expected {code} in {text}");
        text
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn the_same_bytes_come_out_for_any_threads_and_batches() {
    let run = Run::new();
    let (model, samples) = (digits("digits_cnn.onnx"), digits("x_calib.npy"));
    for (name, threads, batch) in [("a", "1", "1"), ("b", "2", "7"), ("c", "2", "256")] {
        let out = format!("{name}.onnx");
        let args = ["compile", &model, "--samples", &samples, "-o", &out, "--emit", "onnx,qir,ranges,report"];
        run.ok(&[&args[..], &["--threads", threads, "--batch-size", batch]].concat());
    }
    for other in ["b", "c"] {
        for extension in ["onnx", "safetensors", "ranges.json", "report.txt"] {
            let (first, second) =
                (run.bytes(&format!("a.{extension}")), run.bytes(&format!("{other}.{extension}")));
            assert_eq!(first, second, "{other}.{extension} differs from a.{extension}");
        }
        let text = |name: &str| String::from_utf8(run.bytes(name)).unwrap();
        assert_eq!(
            text("a.qir"),
            text(&format!("{other}.qir")).replace(&format!("{other}.safetensors"), "a.safetensors")
        );
    }
}

#[test]
fn both_quantized_forms_run_to_the_same_values() {
    let run = Run::new();
    let model = digits("digits_cnn.onnx");
    run.ok(&["compile", &model, "--samples", &digits("x_calib.npy"), "-o", "d.q.onnx", "--emit", "onnx,qir"]);
    let input = format!("input={}", digits("x_test.npy"));
    for form in ["onnx", "qir"] {
        run.ok(&["run", &format!("d.q.{form}"), "--input", &input, "--output-dir", form, "--all-values"]);
    }
    let names = |form: &str| {
        let mut names: Vec<_> =
            fs::read_dir(run.path(form)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert!(names("onnx").len() > 40);
    assert_eq!(names("onnx"), names("qir"));
    for name in names("onnx") {
        let name = name.to_string_lossy();
        assert_eq!(run.bytes(&format!("onnx/{name}")), run.bytes(&format!("qir/{name}")), "{name}");
    }
}

#[test]
fn a_model_imported_as_text_compiles_to_the_same_file() {
    let run = Run::new();
    let samples = digits("x_calib.npy");
    run.ok(&["import", &digits("digits_cnn.onnx"), "-o", "digits_cnn.qir"]);
    run.ok(&["compile", "digits_cnn.qir", "--samples", &samples, "-o", "text.onnx"]);
    run.ok(&["compile", &digits("digits_cnn.onnx"), "--samples", &samples, "-o", "onnx.onnx"]);
    assert_eq!(run.bytes("text.onnx"), run.bytes("onnx.onnx"));
}

#[test]
fn calibrated_ranges_stand_in_for_samples() {
    let run = Run::new();
    let (model, samples) = (digits("digits_cnn.onnx"), digits("x_calib.npy"));
    run.ok(&["calibrate", &model, "--samples", &samples, "-o", "ranges.json"]);
    run.ok(&["compile", &model, "--ranges", "ranges.json", "-o", "ranges.onnx"]);
    run.ok(&["compile", &model, "--samples", &samples, "-o", "samples.onnx"]);
    assert_eq!(run.bytes("ranges.onnx"), run.bytes("samples.onnx"));
}

/// The ranges that compile writes are those of calibrate, also of the values that layers took in.
#[test]
fn written_ranges_serve_other_options() {
    let run = Run::new();
    let (model, samples) = (digits("digits_cnn.onnx"), digits("x_calib.npy"));
    run.ok(&["calibrate", &model, "--samples", &samples, "-o", "ranges.json"]);
    run.ok(&["compile", &model, "--samples", &samples, "-o", "all.onnx", "--emit", "onnx,ranges"]);
    assert_eq!(run.bytes("all.ranges.json"), run.bytes("ranges.json"));
    let rules = "ruleset mine {\n  contract real\n  driver greedy\n\n  custom_pattern plain_relu = \
                 chain(conv2d, relu) => layer QuantizedConv2D\n}\n";
    fs::write(run.path("mine.qrules"), rules).unwrap();
    run.ok(&["compile", &model, "--samples", &samples, "--rules", "mine.qrules", "-o", "samples.onnx"]);
    run.ok(&[
        "compile",
        &model,
        "--ranges",
        "all.ranges.json",
        "--rules",
        "mine.qrules",
        "-o",
        "ranges.onnx",
    ]);
    assert_eq!(run.bytes("ranges.onnx"), run.bytes("samples.onnx"));
}

#[test]
fn random_samples_follow_the_seed() {
    let run = Run::new();
    let model = root().join("examples/edges/edges.qir").display().to_string();
    for (name, seed) in [("a", "0"), ("b", "0"), ("c", "1")] {
        let out = format!("{name}.onnx");
        run.ok(&["compile", &model, "--num-samples", "8", "--seed", seed, "-o", &out]);
    }
    assert_eq!(run.bytes("a.onnx"), run.bytes("b.onnx"));
    assert_ne!(run.bytes("a.onnx"), run.bytes("c.onnx"));
}

#[test]
fn custom_patterns_come_before_the_built_in_ones() {
    let run = Run::new();
    let rules = "ruleset mine {\n  contract real\n  driver greedy\n\n  custom_pattern plain_relu = \
                 chain(conv2d, relu) => layer QuantizedConv2D\n}\n";
    fs::write(run.path("mine.qrules"), rules).unwrap();
    let args = ["compile", &digits("digits_cnn.onnx"), "--samples", &digits("x_calib.npy"), "-o", "d.onnx"];
    let built_in = run.ok(&args);
    assert!(built_in.contains("QuantizedConv2DBiasedGlobalAvgPoolReLUScaled"), "{built_in}");
    // The pattern takes convolution and relu, so the pool behind them has no layer to go into.
    let mine = run.ok(&[&args[..], &["--rules", "mine.qrules"]].concat());
    assert!(!mine.contains("GlobalAvgPool") && mine.contains("global_avg_pool2d"), "{mine}");
}

#[test]
fn opt_runs_text_pipelines_and_shows_what_changed() {
    let run = Run::new();
    let model = digits("digits_cnn.onnx");
    let pipeline = "dynamic-batch, rules{files=\"cleanup fold_batchnorm\"}";
    let text = run.ok(&["opt", &model, "-p", pipeline, "--print-after", "change", "--timing", "-o", "o.qir"]);
    assert!(text.contains("// after rules{"), "{text}");
    let folded = String::from_utf8(run.bytes("o.qir")).unwrap();
    assert!(!folded.contains("batch_norm"), "{folded}");
    run.ok(&["check", "o.qir"]);
    run.ok(&["fmt", "--check", "o.qir"]);
    run.refused(&["opt", &model, "-p", "fold"], "Q0701");
    run.refused(&["opt", &model, "-p", "rules{files=nothing}"], "Q0703");
    run.refused(&["opt", &model, "-p", "quantize"], "Q0704");
    run.refused(&["opt", &model, "-p", "calibrate"], "Q0705");
}

#[test]
fn check_shows_the_bounds_of_a_quantized_model() {
    let run = Run::new();
    run.ok(&["compile", &digits("digits_cnn.onnx"), "--samples", &digits("x_calib.npy"), "-o", "d.onnx"]);
    let table = run.ok(&["check", "d.onnx"]);
    assert_eq!(table.lines().count(), 10, "{table}");
    assert!(table.contains("QuantizedDepthwise2DBiasedReLUScaled"), "{table}");
}

#[test]
fn the_session_in_the_readme_is_true() {
    let run = Run::new();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let session = readme.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let examples = format!("{}/examples/", root().display());
    for step in session.split("$ qirc ").skip(1) {
        let (command, expected) = step.split_once('\n').unwrap();
        let command = command.replace("examples/", &examples);
        let printed = run.ok(&command.split_whitespace().collect::<Vec<_>>());
        assert_eq!(printed.trim_end(), expected.trim_end(), "{command}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let run = Run::new();
    for args in [&["compile"][..], &["compile", "m.onnx", "--frobnicate"], &["run", "m.onnx"], &["nonsense"]]
    {
        assert_eq!(run.qirc(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn faults_of_the_input_are_named_and_leave_no_file() {
    let run = Run::new();
    let (model, samples) = (digits("digits_cnn.onnx"), digits("x_calib.npy"));
    run.refused(&["check", "missing.onnx"], "Q0401");
    run.refused(&["check", "missing.qir"], "Q0810");
    run.refused(&["check", "model.txt"], "Q0811");
    let compile = |extra: &[&str], code: &str| {
        run.refused(&[&["compile", &*model, "-o", "out.onnx"], extra].concat(), code);
    };
    compile(&["--samples", "missing.npy"], "Q0601");
    compile(&["--samples", &digits("y_test.npy")], "Q0605");
    compile(&["--samples", &samples, "--quantize-until", "nowhere"], "Q0525");
    compile(&["--samples", &samples, "--input-shape", "x=1,1,8,8"], "Q0707");
    compile(&["--samples", &samples, "--input-shape", "input=1,3,8,8"], "Q0416");
    fs::write(run.path("bad.json"), "{\"x\": {\"lowest\": [1], \"highest\": [0]}}").unwrap();
    compile(&["--ranges", "bad.json"], "Q0608");
    fs::write(run.path("other.json"), "{\"x\": {\"lowest\": [0], \"highest\": [1]}}").unwrap();
    compile(&["--ranges", "other.json"], "Q0609");
    let text = run
        .refused(&["compile", &digits("digits_mlp.onnx"), "--samples", &samples, "-o", "out.onnx"], "Q0611");
    assert!(text.contains("--input-dtype int8"), "{text}");
    run.refused(&["run", &model, "--output-dir", "o"], "Q0801");
    run.refused(
        &["run", &model, "--input", &format!("input={}", digits("y_test.npy")), "--output-dir", "o"],
        "Q0803",
    );
    assert_eq!(run.files(), ["bad.json", "other.json"]);
}

#[test]
fn formatting_keeps_comments_and_settles_at_once() {
    let run = Run::new();
    let ugly = "// top\nqir 1\ngraph @g(%x:f32[N,2])->(%y:f32[N,2]) {\n// what it does\n%y=relu %x:f32[N,2] // end\n return %y }\n";
    fs::write(run.path("g.qir"), ugly).unwrap();
    run.refused(&["fmt", "--check", "g.qir"], "Q0812");
    run.ok(&["fmt", "g.qir"]);
    run.ok(&["fmt", "--check", "g.qir"]);
    let text = String::from_utf8(run.bytes("g.qir")).unwrap();
    for comment in ["// top", "// what it does", "// end"] {
        assert!(text.contains(comment), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Damaged files of every kind end in success or in findings: never in a panic (exit code 3 or a
    /// signal), never in a half-written file.
    #[test]
    fn damaged_files_are_refused_or_read(kind in 0usize..4, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let run = Run::new();
        let (source, name) = [
            (digits("digits_cnn.onnx"), "m.onnx"),
            (root().join("examples/edges/edges.qir").display().to_string(), "m.qir"),
            (digits("x_calib.npy"), "x.npy"),
            (root().join("passes/cleanup.qrules").display().to_string(), "r.qrules"),
        ][kind].clone();
        let mut bytes = fs::read(source).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        fs::write(run.path(name), bytes).unwrap();
        let (model, samples) = (digits("digits_cnn.onnx"), digits("x_calib.npy"));
        let output = match kind {
            0 | 1 => run.qirc(&["compile", name, "--num-samples", "2", "-o", "out.onnx"]),
            2 => run.qirc(&["compile", &model, "--samples", "x.npy", "--num-samples", "2", "-o", "out.onnx"]),
            _ => run.qirc(&["compile", &model, "--samples", &samples, "--num-samples", "2", "--rules", name, "-o", "out.onnx"]),
        };
        let code = output.status.code();
        prop_assert!(matches!(code, Some(0 | 1)), "{:?}: {}", code, String::from_utf8_lossy(&output.stderr));
        let expected: &[&str] = if code == Some(0) { &["m", "o", "r", "x"] } else { &["m", "r", "x"] };
        for file in run.files() {
            prop_assert!(expected.iter().any(|start| file.starts_with(start)), "{file} was left");
        }
    }
}
