//! Quantized networks that are quantized again, with other configurations of their layers: what QuantizeML was asked for
//! (`tests/keras/models/*/requantize.json`), and what of it stays exact.

#[path = "common/keras.rs"]
mod keras;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use keras::{Stored, Tensors};
use qirc::tensor::Tensor;
use qirc::tensor::npy::{NpyReader, write_npy};
use serde_json::{Value, json};

/// The models were prepared by QuantizeML.
const PIPELINE: &str = "dynamic-batch, rules{files=\"layout movement cleanup\"}, rules{files=layers}, \
                        calibrate{scheme=fixed-point}, quantize{scheme=fixed-point}";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/models/qml-1.2.5")
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn write(path: &Path, stored: &Stored) {
    let tensor = Tensor::new(&stored.sizes, stored.floats.clone()).unwrap();
    write_npy(&tensor, &mut File::create(path).unwrap()).unwrap();
}

fn qirc(args: &[&str]) -> Result<(), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_qirc")).args(args).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// A directory with a recorded network, quantized from floats with `config`, as `net.qir`.
struct Net {
    directory: tempfile::TempDir,
    model: String,
}

impl Net {
    fn new(model: &str, config: &Value) -> Self {
        let net = Self { directory: tempfile::tempdir().unwrap(), model: model.to_owned() };
        let data = Tensors::read_npz(&folder().join(format!("models/{model}.data.npz")));
        write(&net.path("samples.npy"), data.find("samples").unwrap());
        write(&net.path("x.npy"), data.find("x").unwrap());
        net.quantize(config, "net");
        net
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Quantizes the float network.
    fn quantize(&self, config: &Value, name: &str) {
        fs::write(self.path("floats.json"), config.to_string()).unwrap();
        let prepared = folder().join(format!("models/{}.sanitized.json", self.model));
        let prepared = if prepared.exists() {
            prepared
        } else {
            folder().join(format!("models/{}.float.json", self.model))
        };
        let mut args =
            vec!["compile", prepared.to_str().unwrap(), "--scheme", "fixed-point", "--emit", "qir,config"];
        let (samples, config, out) =
            (self.text("samples.npy"), self.text("floats.json"), self.text(&format!("{name}.onnx")));
        args.extend(["--pipeline", PIPELINE, "--samples", &samples, "--batch-size", "4"]);
        args.extend(["--config", &config, "-o", &out]);
        qirc(&args).unwrap();
    }

    /// Quantizes `net.qir` again.
    fn again(&self, config: &Value, name: &str) -> Result<(), String> {
        fs::write(self.path("again.json"), config.to_string()).unwrap();
        let (net, config, out) =
            (self.text("net.qir"), self.text("again.json"), self.text(&format!("{name}.onnx")));
        // Bits that are said otherwise count for float layers alone.
        let bits = ["--weight-bits", "5"];
        let mut args = vec!["compile", &net, "--scheme", "fixed-point", "--config", &config];
        args.extend(bits);
        args.extend(["--emit", "qir,config", "-o", &out]);
        qirc(&args)
    }

    /// Every value of a network, by its name.
    fn values(&self, name: &str) -> Vec<(String, Value, Tensor)> {
        let values = self.path("values");
        let _ = fs::remove_dir_all(&values);
        let net = self.text(&format!("{name}.qir"));
        let text = fs::read_to_string(&net).unwrap();
        let input = text.split("(%").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
        let input = format!("{input}={}", self.text("x.npy"));
        qirc(&["run", &net, "--input", &input, "--output-dir", values.to_str().unwrap(), "--all-values"])
            .unwrap();
        let index = read_json(&values.join("values.json"));
        let values = index.as_object().unwrap().iter().map(|(name, entry)| {
            let file = File::open(values.join(entry["file"].as_str().unwrap())).unwrap();
            (name.clone(), entry["grid"].clone(), NpyReader::open(file).unwrap().read_all().unwrap())
        });
        values.collect()
    }
}

fn recorded() -> Vec<Value> {
    read_json(&folder().join("requantize.json")).as_array().unwrap().clone()
}

/// The recorded configurations count the same in 1.2.5, which refuses all of them.
#[test]
fn complete_configurations_are_taken_and_others_say_what_they_lack() {
    let mut asked = Vec::new();
    for case in recorded() {
        let (model, kind) = (case["model"].as_str().unwrap(), case["kind"].as_str().unwrap());
        assert_eq!(case["error"], "ValueError");
        let default = read_json(&folder().join(format!("cases/{model}.default.json")))["config"].clone();
        let net = Net::new(model, &default);
        let config = match &case["q_config"] {
            Value::Null => json!({}),
            config => config.clone(),
        };
        let found = net.again(&config, "again");
        let first = found.as_ref().err().map_or("", |text| text.lines().next().unwrap_or_default());
        let lacks = "[Q0628] Error: the network is quantized already, and the configuration has no entry for";
        match kind {
            "complete" | "complete_changed" => assert_eq!(found, Ok(()), "{model} {kind}"),
            "incomplete" => assert_eq!(first, format!("{lacks} conv_5, relu_7, head")),
            "none" => {
                let text = found.unwrap_err();
                assert!(
                    text.contains("[Q0612]") && text.contains("a configuration for all of its layers"),
                    "{text}"
                );
            }
            _ => assert_eq!(first, format!("{lacks} conv_1, conv_5, relu_7, head"), "{kind}"),
        }
        if kind == "complete" {
            assert!(net.values("again") == net.values("net"), "{model} is another");
            assert_eq!(read_json(&net.path("again.config.json")), read_json(&net.path("net.config.json")));
        }
        asked.push(kind.to_owned());
    }
    assert_eq!(asked.len(), 9);
}

fn cnn() -> (Net, Value) {
    let default = read_json(&folder().join("cases/cnn.default.json"))["config"].clone();
    let net = Net::new("cnn", &default);
    let config = read_json(&net.path("net.config.json"));
    (net, config)
}

#[test]
fn what_needs_the_floats_is_refused() {
    let (net, config) = cnn();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut config = config.clone();
        change(&mut config);
        net.again(&config, "again").unwrap_err().lines().next().unwrap().to_owned()
    };
    let axis = refused(&|config| config["relu_3"]["output_quantizer"]["axis"] = json!("per-tensor"));
    let head = "[Q0629] Error: `relu_3` cannot be quantized again: its output quantizer has a range for each channel, and not one";
    assert!(axis.starts_with(head), "{axis}");
    let dropped = refused(&|config| config["relu_3"] = json!({"buffer_bitwidth": 32}));
    let head = "[Q0629] Error: `conv_5` cannot be quantized again: `Conv2D`: 27 value bits hold less than the 32 of the operand";
    assert!(dropped.starts_with(head), "{dropped}");
    let added = refused(&|config| config["conv_1"]["output_quantizer"] = json!({"axis": "per-axis"}));
    let head = "[Q0629] Error: `conv_1` cannot be quantized again: it has no output quantizer so far, and so no range";
    assert!(added.starts_with(head), "{added}");
    let foreign = refused(&|config| config["conv_9"] = json!({}));
    assert!(foreign.starts_with("[Q0619]"), "{foreign}");
}

#[test]
fn buffers_and_bits_of_scales_are_those_of_the_float_network() {
    let (net, config) = cnn();
    let mut buffers = config.clone();
    buffers.as_object_mut().unwrap().values_mut().for_each(|layer| layer["buffer_bitwidth"] = json!(24));
    net.quantize(&buffers, "wanted");
    net.again(&buffers, "again").unwrap();
    assert!(net.values("again") == net.values("wanted"));

    // From many bits of scales to few.
    let mut wide = config.clone();
    for layer in ["relu_3", "relu_7"] {
        wide[layer]["output_quantizer"]["scale_bits"] = json!(16);
    }
    let net = Net::new("cnn", &wide);
    net.quantize(&config, "wanted");
    assert!(net.values("net") != net.values("wanted"));
    net.again(&config, "again").unwrap();
    assert!(net.values("again") == net.values("wanted"));
}

#[test]
fn fewer_bits_of_outputs_keep_their_ranges() {
    let (net, config) = cnn();
    let mut fewer = config.clone();
    fewer["relu_3"]["output_quantizer"]["bitwidth"] = json!(5);
    net.again(&fewer, "again").unwrap();
    let frac = |name: &str| -> Vec<i64> {
        let values = net.values(name);
        let (_, grid, _) = values.iter().find(|(name, ..)| name == "relu_3").unwrap();
        grid["frac_bits"].as_array().unwrap().iter().map(|bits| bits.as_i64().unwrap()).collect()
    };
    let wanted: Vec<i64> = frac("net").iter().map(|bits| bits - 3).collect();
    assert_eq!(frac("again"), wanted);
    // The layers before it are as they were.
    let value = |name: &str| net.values(name).into_iter().find(|(value, ..)| value == "pool_4").unwrap();
    assert!(value("net") == value("again"));
}

/// Weights are rounded twice: at most one unit besides the number that the floats give.
#[test]
fn fewer_bits_of_weights_are_near_those_of_the_floats() {
    let (net, config) = cnn();
    let mut fewer = config.clone();
    fewer["head"]["weight_quantizer"]["bitwidth"] = json!(5);
    net.quantize(&fewer, "wanted");
    net.again(&fewer, "again").unwrap();
    let weights = |name: &str| -> Vec<i64> {
        let values = net.values(name);
        let (_, grid, tensor) = values.iter().find(|(name, ..)| name == "head_weights").unwrap();
        assert_eq!(grid["value_bits"], 4);
        tensor.cast(qirc::tensor::DType::I64).elements::<i64>().unwrap().to_vec()
    };
    let (found, wanted) = (weights("again"), weights("wanted"));
    assert_eq!(found.len(), wanted.len());
    let other = found.iter().zip(&wanted).filter(|(found, wanted)| found != wanted).count();
    assert!(found.iter().zip(&wanted).all(|(found, wanted)| (found - wanted).abs() <= 1));
    assert!(other * 10 < found.len(), "{other} of {} differ", found.len());
}

/// Every layer of a transformer block is made anew, as its scales get other bits and back.
#[test]
fn layers_that_are_made_anew_have_the_constants_that_they_had() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let block = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fixed_point/vit_block.qir");
    let compile = |from: &str, config: Option<&Value>, name: &str| {
        let (given, out) = (path("given.json"), path(&format!("{name}.onnx")));
        let mut args = vec!["compile", from, "--scheme", "fixed-point", "--emit", "qir,config", "-o", &out];
        args.extend(["--num-samples", "8"]);
        if let Some(config) = config {
            fs::write(&given, config.to_string()).unwrap();
            args.extend(["--config", &given]);
        }
        qirc(&args).unwrap();
        read_json(Path::new(&path(&format!("{name}.config.json"))))
    };
    let config = compile(block.to_str().unwrap(), None, "net");
    let mut wide = config.clone();
    let quantizers = wide.as_object_mut().unwrap().values_mut();
    quantizers
        .filter_map(|layer| layer.get_mut("output_quantizer"))
        .for_each(|output| output["scale_bits"] = json!(9));
    compile(&path("net.qir"), Some(&wide), "wide");
    compile(&path("wide.qir"), Some(&config), "back");
    let constants = |name: &str| {
        let text = fs::read_to_string(path(&format!("{name}.qir"))).unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("data "))
            .map(|line| line.replace(&format!("{name}.safetensors"), "").split_whitespace().collect())
            .collect();
        lines.sort();
        lines
    };
    assert!(constants("net").len() > 40);
    assert_ne!(constants("wide"), constants("net"));
    assert_eq!(constants("back"), constants("net"));
}
