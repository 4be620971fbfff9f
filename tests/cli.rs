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
fn every_instruction_set_and_number_of_threads_gives_the_same_bytes() {
    let run = Run::new();
    let model = digits("digits_cnn.onnx");
    run.ok(&["compile", &model, "--samples", &digits("x_calib.npy"), "-o", "d.q.onnx"]);
    let input = format!("input={}", digits("x_test.npy"));
    let qirc = |isa: &str, threads: &str| {
        let args = ["run", "d.q.onnx", "--input", &input, "--output-dir", isa, "--threads", threads];
        let mut command = Command::new(env!("CARGO_BIN_EXE_qirc"));
        command.args(args).env("QIRC_ISA", isa).current_dir(run.dir.path()).output().unwrap()
    };
    let logits = |isa: &str| run.bytes(&format!("{isa}/logits_dequantize.npy"));
    assert!(qirc("portable", "1").status.success());
    for isa in ["avx2", "avxvnni", "avx512", "avx512vnni"] {
        for threads in ["1", "2"] {
            let output = qirc(isa, threads);
            if output.status.success() {
                assert_eq!(logits("portable"), logits(isa), "{isa}, {threads} threads");
            } else {
                let text = String::from_utf8(output.stderr).unwrap();
                assert!(text.contains(&format!("QIRC_ISA={isa}: this processor has ")), "{text}");
                println!("not tried: {isa}");
            }
        }
    }
    assert_eq!(qirc("mmx", "1").status.code(), Some(2));
}

#[test]
fn bench_times_every_layer() {
    let run = Run::new();
    let model = digits("digits_cnn.onnx");
    run.ok(&["compile", &model, "--samples", &digits("x_calib.npy"), "-o", "d.q.onnx"]);
    let input = format!("input={}", digits("x_test.npy"));
    let args = ["bench", "d.q.onnx", "--input", &input, "--repeat", "3", "--threads", "2"];
    let table = run.ok(&args);
    assert!(table.contains("QuantizedConv2D") && table.contains("3 runs on 2 threads"), "{table}");
    let report = run.ok(&[&args[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["threads"], 2);
    assert_eq!(report["repeat"], 3);
    let milliseconds = |of: &serde_json::Value| {
        let [least, median] = ["min_ms", "median_ms"].map(|key| of[key].as_f64().unwrap());
        assert!(0.0 < least && least <= median, "{of}");
        least
    };
    let layers = report["layers"].as_array().unwrap();
    let of_layers: f64 = layers.iter().map(milliseconds).sum();
    assert!(of_layers <= milliseconds(&report["total"]));
    assert!(layers.iter().any(|layer| layer["op"] == "QuantizedDense1D" && layer["name"].is_string()));
    assert!(report["peak_bytes"].as_u64().unwrap() > 100_000);
}

/// Each form goes wherever a model goes, and no output replaces a file that it was read from.
#[test]
fn keras_models_are_models() {
    let run = Run::new();
    let case = |file: &str| format!("{}/tests/data/keras/{file}", env!("CARGO_MANIFEST_DIR"));
    for (directory, model) in [("image-keras-3", "model.keras"), ("image-h5-2", "model.h5")] {
        let (model, x) = (case(&format!("{directory}/{model}")), case(&format!("{directory}/in/image.npy")));
        let x = format!("image={x}");
        run.ok(&["import", &model, "-o", "net.qir"]);
        let direct = run.ok(&["run", &model, "--input", &x, "--output-dir", "a"]);
        let text = run.ok(&["run", "net.qir", "--input", &x, "--output-dir", "b"]);
        assert_eq!(direct, text);
        assert_eq!(run.bytes("a/classes.npy"), run.bytes("b/classes.npy"));
        run.ok(&["compile", &model, "--num-samples", "2", "-o", "net.q.onnx"]);
    }
    for file in ["model.json", "model.npz"] {
        fs::copy(case(&format!("functions-json-2/{file}")), run.path(file)).unwrap();
    }
    run.ok(&["import", "model.json", "-o", "net.qir"]);
    run.refused(&["import", "model.npz", "-o", "net.qir"], "Q0811");
    fs::remove_file(run.path("model.npz")).unwrap();
    run.refused(&["import", "model.json", "-o", "net.qir"], "Q0901");
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
    // The pattern takes convolution and relu, so the pool behind them goes into a layer of its own.
    let mine = run.ok(&[&args[..], &["--rules", "mine.qrules"]].concat());
    assert!(
        !mine.contains("GlobalAvgPoolReLU") && mine.contains("QuantizedConv2DGlobalAvgPoolScaled"),
        "{mine}"
    );
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
    run.ok(&["opt", &model, "-p", pipeline, "-o", "o.onnx"]);
    assert!(run.ok(&["opt", "o.onnx", "-p", "dynamic-batch"]).contains("conv2d"));
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
fn the_scheme_akida_has_its_numbers_and_says_who_has_others() {
    let run = Run::new();
    let model = digits("digits_cnn.onnx");
    for flags in [
        &["--weight-bits", "4"][..],
        &["--activation-bits", "4"],
        &["--output-bits", "16"],
        &["--last-output-bits", "16"],
        &["--buffer-bits", "28"],
        &["--scale-bits", "12"],
        &["--epochs", "2"],
        &["--momentum", "0.5"],
        &["--config", "config.json"],
    ] {
        let output = run.qirc(&[&["compile", &*model], flags].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(said.contains(flags[0]) && said.contains("--scheme fixed-point"), "{flags:?}: {said}");
    }
    let all = ["--weight-bits", "8", "--buffer-bits", "32", "--epochs", "1", "--num-samples", "2"];
    assert!(run.qirc(&[&["compile", &*model, "-o", "a.onnx"], &all[..]].concat()).status.success());
}

#[test]
fn a_configuration_that_is_written_gives_the_same_network_again() {
    let run = Run::new();
    let (model, samples) = (digits("digits_cnn.onnx"), digits("x_calib.npy"));
    let compile = |flags: &[&str], name: &str| {
        let out = format!("{name}.onnx");
        let common = ["compile", &*model, "--scheme", "fixed-point", "--samples", &*samples];
        let rest = ["--num-samples", "20", "--emit", "qir,config", "-o", &*out];
        let output = run.qirc(&[&common[..], flags, &rest].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |extension: &str| fs::read_to_string(run.path(&format!("{name}.{extension}"))).unwrap();
        (read("qir").replace(&format!("{name}.safetensors"), ""), read("config.json"))
    };
    let first = compile(&["--weight-bits", "5", "--activation-bits", "6"], "a");
    assert_eq!(compile(&["--config", "a.config.json"], "b"), first);
    assert_ne!(compile(&[], "c"), first);
    fs::write(run.path("wrong.json"), "{\"/0/Conv\": {\"weight_quantiser\": {}}}").unwrap();
    let wrong = ["compile", &*model, "--scheme", "fixed-point", "--config", "wrong.json", "-o", "d.onnx"];
    run.refused(&wrong, "Q0625");
}

#[test]
fn scale_bits_are_those_of_every_output_quantizer() {
    let run = Run::new();
    let (model, samples) = (digits("digits_cnn.onnx"), digits("x_calib.npy"));
    let compile = |flags: &[&str]| {
        let common = ["compile", &*model, "--scheme", "fixed-point", "--samples", &*samples];
        let rest = ["--num-samples", "20", "--last-output-bits", "16", "--emit", "config", "-o", "a.onnx"];
        let output = run.qirc(&[&common[..], flags, &rest].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let config = fs::read_to_string(run.path("a.config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let layers = config.as_object().unwrap().values();
        let bits = layers.filter_map(|layer| layer["output_quantizer"]["scale_bits"].as_u64());
        let mut bits: Vec<u64> = bits.collect();
        bits.sort_unstable();
        bits
    };
    let default = compile(&[]);
    assert!(
        default.len() > 1 && default.ends_with(&[16]) && default[..default.len() - 1].iter().all(|&b| b == 8)
    );
    assert_eq!(compile(&["--scale-bits", "12"]), vec![12; default.len()]);
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

/// What a command says that is refused as wrong usage; it leaves all files as they are.
fn unwanted(run: &Run, args: &[&str]) -> String {
    let before: Vec<_> = run.files().into_iter().map(|name| (fs::read(run.path(&name)).ok(), name)).collect();
    let output = run.qirc(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    let after: Vec<_> = run.files().into_iter().map(|name| (fs::read(run.path(&name)).ok(), name)).collect();
    assert!(before == after, "{args:?} changed a file");
    text
}

const SMALL: &str = "qir 1\n\ngraph @g(%x: f32[N, 1, 2, 2]) -> (%y: f32[N, 1, 2, 2]) {\n  %y = relu %x : f32[N, 1, 2, 2]\n  return %y\n}\n";

#[test]
fn outputs_never_replace_what_was_read_nor_each_other() {
    let run = Run::new();
    run.ok(&["import", &digits("digits_cnn.onnx"), "-o", "d.qir"]);
    fs::copy(digits("digits_cnn.onnx"), run.path("m.onnx")).unwrap();
    fs::copy(digits("x_calib.npy"), run.path("x.npy")).unwrap();
    for name in ["m.onnx", "new.safetensors", "new"] {
        unwanted(&run, &["import", "m.onnx", "-o", name]);
    }
    unwanted(&run, &["import", "d.qir", "-o", "d.qir"]);
    unwanted(&run, &["import", "d.qir", "-o", "./d.qir"]);
    unwanted(&run, &["opt", "d.qir", "-p", "dynamic-batch", "-o", "d.v2"]);
    unwanted(&run, &["opt", "m.onnx", "-p", "dynamic-batch", "-o", "m.onnx"]);
    unwanted(&run, &["opt", "d.qir", "-p", "dynamic-batch", "-o", "d.safetensors"]);
    unwanted(&run, &["calibrate", "m.onnx", "--samples", "x.npy", "-o", "x.npy"]);
    let compile = ["compile", "d.qir", "--samples", "x.npy", "-o"];
    unwanted(&run, &[&compile[..], &["d.onnx", "--emit", "onnx,qir"]].concat());
    unwanted(&run, &[&compile[..], &["new.qir", "--emit", "qir"]].concat());
    unwanted(&run, &["compile", "m.onnx", "--samples", "x.npy", "-o", "m.onnx"]);
    run.ok(&["calibrate", "m.onnx", "--samples", "x.npy", "-o", "a.ranges.json"]);
    unwanted(&run, &["compile", "m.onnx", "--ranges", "a.ranges.json", "-o", "a.onnx", "--emit", "ranges"]);
    // An output of that name would replace the input that it is made from.
    fs::write(run.path("small.qir"), SMALL).unwrap();
    fs::copy(run.path("x.npy"), run.path("y.npy")).unwrap();
    let text = unwanted(&run, &["run", "small.qir", "--input", "x=y.npy", "--output-dir", "."]);
    assert!(text.contains("y.npy"), "{text}");
    unwanted(&run, &["run", "small.qir", "--input", "x=y.npy", "--output-dir", "new/.."]);
    // What is replaced need not be called alike.
    fs::write(run.path("use.qrules"), "use \"sub/mine.qrules\"\n").unwrap();
    fs::create_dir(run.path("sub")).unwrap();
    fs::write(run.path("sub/mine.qrules"), "ruleset mine {\n  contract real\n  driver greedy\n}\n").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("m.onnx", run.path("link.onnx")).unwrap();
        symlink("both.onnx", run.path("both.qir")).unwrap();
        symlink("sub/mine.qrules", run.path("rules.qir")).unwrap();
        unwanted(&run, &["compile", "m.onnx", "--samples", "x.npy", "-o", "link.onnx"]);
        unwanted(&run, &["opt", "m.onnx", "-p", "dynamic-batch", "--rules", "use.qrules", "-o", "rules.qir"]);
        let text = unwanted(
            &run,
            &["compile", "m.onnx", "--samples", "x.npy", "-o", "both.onnx", "--emit", "qir,onnx"],
        );
        assert!(text.contains("one file"), "{text}");
    }
}

#[test]
fn a_text_can_be_changed_in_place() {
    let run = Run::new();
    run.ok(&["import", &digits("digits_cnn.onnx"), "-o", "d.qir"]);
    let pipeline = "dynamic-batch, rules{files=\"cleanup fold_batchnorm\"}";
    run.ok(&["opt", "d.qir", "-p", pipeline, "-o", "e.qir"]);
    run.ok(&["opt", "d.qir", "-p", pipeline, "-o", "d.qir"]);
    assert_eq!(run.bytes("d.safetensors"), run.bytes("e.safetensors"));
    run.ok(&["check", "d.qir"]);
}

#[test]
fn outputs_of_a_command_appear_together_or_not_at_all() {
    let run = Run::new();
    let model = digits("digits_cnn.onnx");
    for (dir, emit) in [("a.report.txt", "onnx,qir,report"), ("a.qir", "onnx,ranges,qir")] {
        fs::create_dir(run.path(dir)).unwrap();
        let args = ["compile", &*model, "--samples", &digits("x_calib.npy"), "-o", "a.onnx", "--emit", emit];
        run.refused(&args, "Q0810");
        assert_eq!(run.files(), [dir]);
        fs::remove_dir(run.path(dir)).unwrap();
    }
    fs::create_dir(run.path("d.safetensors")).unwrap();
    run.refused(&["import", &model, "-o", "d.qir"], "Q0810");
    run.refused(&["import", &model, "-o", "missing/d.qir"], "Q0810");
    assert_eq!(run.files(), ["d.safetensors"]);
}

#[test]
fn a_run_that_fails_leaves_no_values() {
    let run = Run::new();
    let input = format!("input={}", digits("x_test.npy"));
    let text = "qir 1\n\ngraph @g(%input: f32[N, 1, 8, 8]) -> (%z: f32[N, 1, 4, 4]) {\n  %y = relu %input : f32[N, 1, 8, 8]\n  %z = max_pool2d %y {kernel_shape = [2, 2], strides = [2, 2]} : f32[N, 1, 4, 4]\n  return %z\n}\n";
    fs::write(run.path("g.qir"), text).unwrap();
    let args = ["run", "g.qir", "--input", &input, "--all-values", "--output-dir", "a/b"];
    fs::create_dir_all(run.path("a/b/z.npy")).unwrap();
    run.refused(&args, "Q0810");
    assert_eq!(fs::read_dir(run.path("a/b")).unwrap().count(), 1);
    fs::remove_dir(run.path("a/b/z.npy")).unwrap();
    run.ok(&args);
    assert_eq!(fs::read_dir(run.path("a/b")).unwrap().count(), 4);
    let missing = ["run", "g.qir", "--all-values", "--output-dir", "new/dir"];
    run.refused(&missing, "Q0801");
    assert_eq!(run.files(), ["a", "g.qir"]);
}

#[cfg(target_os = "linux")]
mod streams {
    use std::io::pipe;
    use std::process::Stdio;

    use super::*;

    fn full() -> Stdio {
        fs::File::options().write(true).open("/dev/full").unwrap().into()
    }

    fn broken() -> Stdio {
        pipe().unwrap().1.into()
    }

    fn command(run: &Run, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qirc"));
        command.args(args).current_dir(run.dir.path());
        command
    }

    #[test]
    fn lost_output_is_a_fault_unless_the_reader_has_left() {
        let run = Run::new();
        let (model, samples) = (digits("digits_cnn.onnx"), digits("x_calib.npy"));
        for args in [
            &["opt", &model, "-p", "dynamic-batch"][..],
            &["opt", &model, "-p", "dynamic-batch", "--print-after", "all", "-o", "o.qir"],
            &["check", &model],
            &["compile", &model, "--samples", &samples, "-o", "q.onnx"],
            &["run", &model, "--input", &format!("input={samples}"), "--output-dir", "out"],
            &["--help"],
            &["--version"],
        ] {
            let output = command(&run, args).stdout(full()).stderr(Stdio::piped()).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(1) && text.contains("[Q0810]"), "{args:?}: {text}");
            assert!(run.files().is_empty(), "{args:?} left {:?}", run.files());
            let output = command(&run, args).stdout(broken()).stderr(Stdio::piped()).output().unwrap();
            assert_eq!(
                output.status.code(),
                Some(0),
                "{args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            for name in run.files() {
                let path = run.path(&name);
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            }
        }
    }

    #[test]
    fn a_closed_stderr_changes_no_exit_code() {
        let run = Run::new();
        let model = root().join("examples/edges/edges.qir").display().to_string();
        for (args, code) in [
            (&["check", "missing.qir"][..], 1),
            (&["compile", &model, "--num-samples", "2", "-o", "q.onnx"], 0),
            (&["run", "m.onnx"], 2),
            (&["calibrate", "m.onnx", "-o", "m.onnx"], 2),
        ] {
            for stderr in [full(), broken()] {
                let output = command(&run, args).stderr(stderr).output().unwrap();
                assert_eq!(output.status.code(), Some(code), "{args:?}");
            }
        }
    }
}

#[test]
fn a_printed_text_is_complete() {
    let run = Run::new();
    let model = digits("digits_cnn.onnx");
    let text = run.ok(&["opt", &model, "-p", "dynamic-batch"]);
    fs::write(run.path("printed.qir"), text).unwrap();
    run.ok(&["opt", "printed.qir", "-p", "dynamic-batch", "-o", "o.qir"]);
    run.ok(&["opt", &model, "-p", "dynamic-batch", "-o", "same.qir"]);
    assert_eq!(run.bytes("o.safetensors"), run.bytes("same.safetensors"));
    let shown = run.ok(&["opt", &model, "-p", "dynamic-batch", "--print-after", "all", "-o", "o.qir"]);
    assert!(shown.contains("unwritten.safetensors is not written"), "{shown}");
}

#[test]
fn threads_are_limited() {
    let run = Run::new();
    for threads in ["0", "1025", "20000", "99999999999999999999", "-1", "many"] {
        unwanted(&run, &["opt", "m.qir", "-p", "dynamic-batch", "--threads", threads]);
    }
}

#[test]
fn formatting_goes_on_behind_a_file_with_faults() {
    let run = Run::new();
    let ugly = SMALL.replace("  %y", "%y");
    fs::write(run.path("ugly.qir"), &ugly).unwrap();
    fs::write(run.path("bad.qir"), "qir 1 graph").unwrap();
    let text = run.refused(&["fmt", "--check", "missing.qir", "bad.qir", "x.txt", "ugly.qir"], "Q0810");
    for code in ["Q0102", "Q0811", "Q0812"] {
        assert!(text.contains(code), "{code}: {text}");
    }
    run.refused(&["fmt", "missing.qir", "ugly.qir"], "Q0810");
    assert_eq!(run.bytes("ugly.qir"), SMALL.as_bytes());
}

#[cfg(unix)]
#[test]
fn formatting_keeps_modes_and_links() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let run = Run::new();
    let ugly = SMALL.replace("  %y", "%y");
    fs::create_dir(run.path("sub")).unwrap();
    fs::write(run.path("sub/ugly.qir"), &ugly).unwrap();
    fs::set_permissions(run.path("sub/ugly.qir"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("sub/ugly.qir", run.path("link.qir")).unwrap();
    run.ok(&["fmt", "link.qir"]);
    assert_eq!(run.bytes("sub/ugly.qir"), SMALL.as_bytes());
    assert_eq!(fs::metadata(run.path("sub/ugly.qir")).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(run.path("link.qir").is_symlink());
    run.ok(&["opt", &digits("digits_cnn.onnx"), "-p", "dynamic-batch", "-o", "link.qir"]);
    assert!(run.path("link.qir").is_symlink());
    run.ok(&["check", "link.qir"]);
}

#[test]
fn faults_of_writing_name_no_file_but_the_users() {
    let run = Run::new();
    let text = run.refused(&["import", &digits("digits_cnn.onnx"), "-o", "missing/d.qir"], "Q0810");
    assert!(text.contains("missing/d.qir") && !text.contains(".tmp"), "{text}");
}

#[test]
fn rule_files_use_what_lies_beside_them() {
    let run = Run::new();
    fs::create_dir_all(run.path("sub/below")).unwrap();
    fs::write(run.path("sub/a.qrules"), "use \"below/b.qrules\"\n").unwrap();
    fs::write(run.path("sub/below/b.qrules"), "ruleset b {\n  contract real\n  driver greedy\n}\n").unwrap();
    fs::write(run.path("small.qir"), SMALL).unwrap();
    run.ok(&["opt", "small.qir", "-p", "dynamic-batch", "--rules", "sub/a.qrules"]);
    for path in ["/etc/passwd", "../small.qir", "../.."] {
        fs::write(run.path("sub/a.qrules"), format!("use \"{path}\"\n")).unwrap();
        let text =
            run.refused(&["opt", "small.qir", "-p", "dynamic-batch", "--rules", "sub/a.qrules"], "Q0513");
        assert!(text.contains("leads away") && !text.contains("root:"), "{text}");
    }
}

#[test]
fn names_of_a_model_do_not_reach_the_terminal_raw() {
    let run = Run::new();
    let name = "\\u{1b}[2J\\nfake";
    let text = SMALL.replace("%y", &format!("%\"{name}\""));
    fs::write(run.path("n.qir"), &text).unwrap();
    fs::write(run.path("bad.qir"), text.replace("relu", "relo")).unwrap();
    fs::write(run.path("raw.qir"), SMALL.replace("relu", "\u{1b}[2J")).unwrap();
    fs::copy(digits("x_calib.npy"), run.path("x.npy")).unwrap();
    for args in [
        &["check", "bad.qir"][..],
        &["check", "raw.qir"],
        &["compile", "n.qir", "--num-samples", "2", "-o", "q.onnx"],
        &["run", "n.qir", "--input", "x=x.npy", "--output-dir", "o"],
        &["opt", "n.qir", "-p", "dynamic-batch"],
        &["opt", "n.qir", "-p", "\u{1b}[2J"],
    ] {
        let output = run.qirc(args);
        for text in [output.stdout, output.stderr] {
            let text = String::from_utf8(text).unwrap();
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {text:?}");
            assert!(!text.contains("\nfake"), "{args:?}: {text:?}");
        }
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

#[test]
fn strict_writes_nothing_that_the_device_does_not_take() {
    let run = Run::new();
    let model = root().join("tests/golden/device/limits.qir").display().to_string();
    let compile = ["compile", &model, "--pipeline", "akida-as-is", "--num-samples", "8", "-o", "net.onnx"];
    let text = run.refused(&[&compile[..], &["--strict"]].concat(), "Q0643");
    assert!(text.contains("[Q0644]") && text.contains("[Q0670]"), "{text}");
    assert!(run.files().is_empty());

    run.ok(&compile);
    run.ok(&["check", "net.onnx"]);
    run.refused(&["check", "net.onnx", "--strict"], "Q0643");
}
