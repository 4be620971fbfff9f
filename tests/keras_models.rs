//! Whole models against what QuantizeML 0.7.1 and 1.2.5 recorded of them (`tests/keras/models`): with the calibrated ranges
//! and the weights on record, every output of every layer and every constant, each layer reading what ours gave before.

#[path = "common/figures.rs"]
mod figures;
#[path = "common/keras.rs"]
mod keras;
#[path = "common/keras_layers.rs"]
mod keras_layers;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keras::{Recorded, Tensors, equal_tensors, same};
use keras_layers::Layer;
use qirc::ops::fixed::{Constant, Context, Floats, LayerConfig, Output, Release};
use qirc::tensor::fixed::{Arithmetic, FixedPoint, InputQuantizer, PerChannel, QTensor};
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// QuantizeML's names of recorded variables, and ours.
const CONSTANTS: [(&str, &str); 25] = [
    ("weight_quantizer.qweights", "weights"),
    ("dw_weight_quantizer.qweights", "dw_weights"),
    ("pw_weight_quantizer.qweights", "pw_weights"),
    ("bias_quantizer.qweights", "bias"),
    ("bias_quantizer.shift", "bias_shift"),
    ("out_quantizer.qscales", "qscales"),
    ("out_quantizer.shift", "out_shift"),
    ("input_shift", "input_shift"),
    ("padding_value_quantizer.qweights", "padding"),
    ("padding_value_quantizer.shift", "padding_shift"),
    ("max_value_quantizer.qweights", "max_value"),
    ("max_value_quantizer.shift", "max_value_shift"),
    ("a_shift", "a_shift"),
    ("b_shift", "b_shift"),
    ("a_quantizer.qweights", "a"),
    ("b_quantizer.qweights", "b"),
    ("b_quantizer.shift", "b_shift"),
    ("gamma_quantizer.qweights", "gamma"),
    ("beta_quantizer.qweights", "beta"),
    ("beta_quantizer.shift", "beta_shift"),
    ("cls_quantizer.qweights", "cls"),
    ("cls_quantizer.shift", "cls_shift"),
    ("pe_quantizer.qweights", "pe"),
    ("pe_quantizer.shift", "pe_shift"),
    ("values_shift", "values_shift"),
];

struct Run<'a> {
    case: &'a Value,
    /// Keras configurations of the layers of the prepared network.
    layers: BTreeMap<String, Value>,
    weights: &'a Tensors,
    stored: &'a Tensors,
    /// Where weights are that the case does not store.
    base: Option<&'a Tensors>,
    release: Release,
    arithmetic: Arithmetic,
    /// Outputs so far; an attention has two.
    values: BTreeMap<String, Vec<QTensor>>,
}

impl<'a> Run<'a> {
    fn variable(&self, layer: &str, name: &str) -> Option<PerChannel<f32>> {
        self.stored.find(&format!("{layer}/{name}")).map(|stored| match stored.sizes[..] {
            [] => PerChannel::tensor(stored.floats[0]),
            _ => PerChannel::last(stored.floats.clone()),
        })
    }

    fn weight(&self, layer: &str, name: &str) -> Option<Floats<'a>> {
        let variable = match name {
            "pe" => format!("{layer}/pos_embedding:0"),
            _ => format!("{layer}/{name}:0"),
        };
        let changed = format!("weights/{variable}");
        let stored = self.stored.find(&changed).or_else(|| self.base?.find(&changed));
        let stored = stored.or_else(|| self.weights.find(&variable))?;
        Some(Floats { sizes: &stored.sizes, values: &stored.floats })
    }

    fn layer(
        &self,
        name: &str,
        class: &str,
        inputs: &[QTensor],
    ) -> Result<(Vec<QTensor>, Constants), String> {
        let config = self.case["config"].get(name).cloned().unwrap_or_else(|| serde_json::json!({}));
        let config: LayerConfig = serde_json::from_value(config).map_err(|error| error.to_string())?;
        let (range_max, rescaling_rate) =
            (self.variable(name, "range_max"), self.variable(name, "rescaling_rate"));
        let context = Context {
            config: &config,
            output: Output::Calibrated {
                range_max: range_max.as_ref(),
                rescaling_rate: rescaling_rate.as_ref(),
            },
            release: self.release,
        };
        let args = self.layers.get(name).cloned().unwrap_or(Value::Null);
        let floats = |parameter: &str| self.weight(name, parameter);
        let layer = Layer { class, args: &args, inputs, floats: &floats };
        let (found, mask) = layer.run(&context).map_err(|error| error.to_string())?;
        Ok((std::iter::once(found.output).chain(mask).collect(), found.recorded))
    }

    /// What the recorded outputs and constants of a layer say against ours.
    fn fault(&self, name: &str, found: &[QTensor], constants: &Constants) -> Option<String> {
        for output in self.case["outputs"].as_array().unwrap() {
            let index = output["index"].as_u64().unwrap() as usize;
            if output["layer"] != name || index >= found.len() {
                continue;
            }
            let Recorded::Quantized(want) = self.stored.recorded(output, self.arithmetic) else { continue };
            if !equal_tensors(&found[index], &want) {
                return Some(format!(
                    "output {index}: {:.300}\n  want {:.300}",
                    words(&found[index]),
                    words(&want)
                ));
            }
        }
        let none = serde_json::Map::new();
        for (theirs, recorded) in self.case["recorded"][name].as_object().unwrap_or(&none) {
            let Some((_, ours)) = CONSTANTS.iter().find(|(name, _)| name == theirs) else {
                return Some(format!("no constant {theirs}"));
            };
            let want = self.stored.recorded(recorded, self.arithmetic);
            let equal = match (constants.get(ours), &want) {
                (Some(Constant::Tensor(found)), Recorded::Quantized(want)) => equal_tensors(found, want),
                (Some(Constant::Shift(found)), Recorded::Int(_, shift)) => {
                    let want = PerChannel::last(shift.iter().map(|&v| v as i32).collect());
                    same(&PerChannel::last(found.entries().to_vec()), &want)
                }
                _ => false,
            };
            if !equal {
                return Some(format!("{theirs}: {:.300?}\n  want {want:.300?}", constants.get(ours)));
            }
        }
        None
    }
}

fn words(x: &QTensor) -> String {
    format!("{x:?}")
}

type Constants = BTreeMap<&'static str, Constant>;

/// Every layer of one case, up to the floats at the end; returns what differs first. Of a network that was quantized again,
/// `base` is the file of the network before.
fn replay(
    folder: &Path,
    model: &str,
    case: &Value,
    base: Option<&Tensors>,
    release: Release,
    arithmetic: Arithmetic,
) -> Option<String> {
    let models = folder.join("models");
    let prepared = models.join(format!("{model}.sanitized.json"));
    let prepared = if prepared.exists() { prepared } else { models.join(format!("{model}.float.json")) };
    let weights = Tensors::read_npz(&prepared.with_extension("npz"));
    let stored = Tensors::read_npz(&folder.join(case["file"].as_str().unwrap()));
    let data = Tensors::read_npz(&models.join(format!("{model}.data.npz")));
    let architecture = json(&prepared);
    let layers = architecture["config"]["layers"].as_array().unwrap().iter();
    let layers =
        layers.map(|layer| (layer["config"]["name"].as_str().unwrap().to_owned(), layer["config"].clone()));
    let mut run = Run {
        case,
        layers: layers.collect(),
        weights: &weights,
        stored: &stored,
        base,
        release,
        arithmetic,
        values: BTreeMap::new(),
    };
    let x = data.find("x").unwrap();
    // An unsigned input has a zero point, which is around the map, too.
    let zero_point = case["input_quantizer"]["signed"] == false;
    let mut first = true;
    for layer in case["layers"].as_array().unwrap() {
        let (name, class) = (layer[0].as_str().unwrap(), layer[1].as_str().unwrap());
        let inbound: Vec<&str> =
            layer[2].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let (found, constants) = if class == "InputQuantizer" {
            let config = &case["input_quantizer"];
            let quantizer = InputQuantizer {
                bitwidth: config["bitwidth"].as_u64().unwrap() as u32,
                signed: config["signed"].as_bool().unwrap(),
                range_min: run.variable(name, "range_min").unwrap(),
                range_max: run.variable(name, "range_max").unwrap(),
            };
            let found = match quantizer.quantize(&x.sizes, &x.floats) {
                Ok(QTensor::Fixed(fixed)) => fixed.with(arithmetic).into(),
                Ok(QTensor::Float(float)) => {
                    float.map(|fixed| Ok(fixed.clone().with(arithmetic))).unwrap().into()
                }
                Err(error) => return Some(format!("{name}: {error}")),
            };
            (vec![found], Constants::new())
        } else if class.starts_with("Quantized") {
            let inputs: Option<Vec<QTensor>> =
                inbound.iter().map(|from| run.values.get(*from).map(|values| values[0].clone())).collect();
            let inputs = inputs.unwrap_or_else(|| {
                // Whole numbers right from the input; the old release takes floats for them.
                let values: Vec<i64> = match &x.ints[..] {
                    [] => x.floats.iter().map(|&v| v as i64).collect(),
                    ints => ints.to_vec(),
                };
                let signed = release != Release::V0_7 && values.iter().any(|&v| v < 0);
                let bits = if signed { 7 } else { 8 };
                let whole = FixedPoint::new_in(arithmetic, &x.sizes, values, bits, PerChannel::tensor(0));
                vec![whole.unwrap().into()]
            });
            if first && zero_point && class == "QuantizedConv2D" {
                let config = run.layers.get_mut(name).unwrap();
                if config["padding"] == "same" && config["padding_value"].is_null() {
                    config["padding_value"] = serde_json::json!([0.0]);
                }
            }
            first &= !run.case["config"][name]["weight_quantizer"].is_object();
            match run.layer(name, class, &inputs) {
                Ok(found) => found,
                Err(error) => return Some(format!("{name} ({class}): {error}")),
            }
        } else if class == "Dequantizer" {
            let Some(from) = run.values.get(inbound[0]) else { continue };
            let output = case["outputs"].as_array().unwrap().iter().find(|output| output["layer"] == name);
            let want = stored.recorded(output.unwrap(), arithmetic);
            let (sizes, numbers) = (from[0].fixed().sizes().to_vec(), from[0].to_float());
            if want != Recorded::Float(sizes, numbers) {
                return Some(format!("{name} (Dequantizer)"));
            }
            continue;
        } else {
            continue;
        };
        if let Some(fault) = run.fault(name, &found, &constants) {
            return Some(format!("{name} ({class}), {fault}"));
        }
        run.values.insert(name.to_owned(), found);
    }
    None
}

#[test]
fn whole_models_are_those_of_quantizeml() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/models");
    let mut lines = Vec::new();
    for (version, release) in [("qml-0.7.1", Release::V0_7), ("qml-1.2.5", Release::V1_2)] {
        let folder = root.join(version);
        let mut files: Vec<_> =
            fs::read_dir(folder.join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        for (words, arithmetic) in [("integers", Arithmetic::Exact), ("24 bits", release.arithmetic())] {
            let (mut count, mut faults) = (0, Vec::new());
            for path in &files {
                let case = json(path);
                let name = path.file_stem().unwrap().to_str().unwrap();
                // What is refused has no outputs.
                if case["error"].is_array() {
                    continue;
                }
                let model = name.split('.').next().unwrap();
                count += 1;
                if let Some(fault) = replay(&folder, model, &case, None, release, arithmetic) {
                    faults.push(format!("{name}: {fault}"));
                }
            }
            lines.push(format!("{version} {words}: {} of {count}", count - faults.len()));
            assert!(faults.is_empty(), "{}, {words}, differ:\n{}", lines.join("; "), faults.join("\n"));
        }
    }
    figures::show(&lines.join("; "));
}

/// 0.7.1 quantizes a quantized network again with the weights and ranges that it has, whatever the configuration says of bits.
#[test]
fn networks_that_are_quantized_again_are_those_of_quantizeml() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/models/qml-0.7.1");
    let mut kinds = Vec::new();
    for case in json(&folder.join("requantize.json")).as_array().unwrap() {
        if case["status"] != "ok" {
            continue;
        }
        let (model, kind) = (case["model"].as_str().unwrap(), case["kind"].as_str().unwrap());
        let before = json(&folder.join(format!("cases/{model}.default.json")));
        let base = Tensors::read_npz(&folder.join(before["file"].as_str().unwrap()));
        let mut case = case.clone();
        case["config"] = case["config_after"].take();
        // The record names layers without what they read, which is what they read before.
        let names = |layers: &Value| -> Vec<Value> {
            layers.as_array().unwrap().iter().map(|layer| serde_json::json!([layer[0], layer[1]])).collect()
        };
        assert_eq!(names(&case["layers"]), names(&before["layers"]));
        case["layers"] = before["layers"].clone();
        for arithmetic in [Arithmetic::Exact, Release::V0_7.arithmetic()] {
            let fault = replay(&folder, model, &case, Some(&base), Release::V0_7, arithmetic);
            assert_eq!(fault, None, "{model} {kind}");
        }
        kinds.push(kind.to_owned());
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["bits_changed", "complete", "complete_changed", "incomplete", "none"]);
}

/// The networks that QuantizeML's check was asked about, with its own configurations: the shifts are those that it saw. One
/// saturates, which its arithmetic does at another bound than that of integers.
#[test]
fn checked_networks_have_the_shifts_of_quantizeml() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/models/qml-0.7.1");
    let mut checked = 0;
    for case in json(&folder.join("check.json")).as_array().unwrap() {
        let (model, name) = (case["model"].as_str().unwrap(), case["name"].as_str().unwrap());
        // The others have no record of their own.
        if !case["file"].is_string() {
            continue;
        }
        let before = json(&folder.join(format!("cases/{model}.default.json")));
        let mut case = case.clone();
        case["layers"] = before["layers"].clone();
        let base = Tensors::read_npz(&folder.join(before["file"].as_str().unwrap()));
        let fault = replay(&folder, model, &case, Some(&base), Release::V0_7, Release::V0_7.arithmetic());
        assert_eq!(fault, None, "{name}");
        checked += 1;
    }
    assert_eq!(checked, 3);
}
