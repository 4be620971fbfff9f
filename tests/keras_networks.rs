//! Whole networks as a user quantizes them, against what QuantizeML 1.2.5 recorded (`tests/keras/models`): the prepared Keras
//! model and the samples go in, and the integers of every layer come out, calibrated and equalized by qirc.

#[path = "common/keras.rs"]
mod keras;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use keras::{Stored, Tensors};
use qirc::tensor::Tensor;
use qirc::tensor::npy::{NpyReader, write_npy};
use serde_json::Value;

/// The models were prepared by QuantizeML.
const PIPELINE: &str = "dynamic-batch, rules{files=\"layout movement cleanup\"}, rules{files=layers}, \
                        calibrate{scheme=fixed-point}, quantize{scheme=fixed-point}";

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn write(path: &Path, stored: &Stored) {
    let tensor = match &stored.ints[..] {
        [] => Tensor::new(&stored.sizes, stored.floats.clone()),
        // Pixels.
        ints => Tensor::new(&stored.sizes, ints.iter().map(|&v| v as u8).collect()),
    };
    write_npy(&tensor.unwrap(), &mut File::create(path).unwrap()).unwrap();
}

fn qirc(args: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_qirc")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Flags that say what `qparams` does.
fn flags(case: &Value) -> Vec<String> {
    let mut flags = Vec::new();
    for (name, value) in case["qparams"].as_object().unwrap() {
        let flag = format!("--{}", name.replace('_', "-"));
        match value {
            Value::Bool(true) => flags.push(flag),
            Value::String(text) => flags.extend([flag, text.clone()]),
            Value::Number(number) => flags.extend([flag, number.to_string()]),
            _ => {}
        }
    }
    for (flag, field) in [("--batch-size", "batch_size"), ("--epochs", "epochs")] {
        if let Some(number) = case[field].as_u64() {
            flags.extend([flag.to_owned(), number.to_string()]);
        }
    }
    flags
}

/// A map of the IR with its channels last.
fn channels_last(tensor: &Tensor) -> Vec<i64> {
    let wide = tensor.cast(qirc::tensor::DType::I64);
    let (elements, sizes) = (wide.elements::<i64>().unwrap(), wide.sizes());
    let &[n, c, h, w] = sizes else { return elements.to_vec() };
    let mut turned = Vec::with_capacity(elements.len());
    for (n, (y, x)) in (0..n).flat_map(|n| (0..h).flat_map(move |y| (0..w).map(move |x| (n, (y, x))))) {
        turned.extend((0..c).map(|channel| elements[((n * c + channel) * h + y) * w + x]));
    }
    turned
}

/// What differs first in a case; how many layers were compared otherwise.
fn fault(folder: &Path, model: &str, case: &Value, tmp: &Path) -> Result<usize, String> {
    let models = folder.join("models");
    let prepared = models.join(format!("{model}.sanitized.json"));
    let prepared = if prepared.exists() { prepared } else { models.join(format!("{model}.float.json")) };
    let data = Tensors::read_npz(&models.join(format!("{model}.data.npz")));
    let stored = Tensors::read_npz(&folder.join(case["file"].as_str().unwrap()));
    let [samples, x, config, out] =
        ["samples.npy", "x.npy", "config.json", "net.onnx"].map(|name| tmp.join(name));
    write(&samples, data.find("samples").unwrap());
    write(&x, data.find("x").unwrap());
    fs::write(&config, case["config"].to_string()).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut args = vec!["compile".to_owned(), path(&prepared)];
    args.extend(["--scheme", "fixed-point", "--pipeline", PIPELINE, "--emit", "qir"].map(str::to_owned));
    args.extend(["--config".to_owned(), path(&config), "--samples".to_owned(), path(&samples)]);
    args.extend(["-o".to_owned(), path(&out)]);
    args.extend(flags(case));
    qirc(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
    let text = out.with_extension("qir");
    let network = fs::read_to_string(&text).unwrap();
    let input = network.split("(%").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
    let values = tmp.join("values");
    let input = format!("{input}={}", path(&x));
    qirc(&["run", &path(&text), "--input", &input, "--output-dir", &path(&values), "--all-values"])?;
    let index = json(&values.join("values.json"));
    let mut compared = 0;
    for output in case["outputs"].as_array().unwrap() {
        let layer = output["layer"].as_str().unwrap();
        // Outputs of the network are floats, and their integers are called so.
        let found = [format!("{layer}/quantized"), layer.to_owned()];
        let Some(entry) = found.iter().find_map(|name| index.get(name)) else { continue };
        if output["type"] != "FixedPoint" && output["type"] != "QFloat"
            || entry["grid"]["value_bits"].is_null()
        {
            continue;
        }
        let file = File::open(values.join(entry["file"].as_str().unwrap())).unwrap();
        let ours = NpyReader::open(file).unwrap().read_all().unwrap();
        let theirs = &stored.get(&output["values"]).ints;
        let plain = ours.cast(qirc::tensor::DType::I64);
        if channels_last(&ours) != *theirs && plain.elements::<i64>() != Some(theirs) {
            return Err(format!("{layer} differs"));
        }
        compared += 1;
    }
    Ok(compared)
}

#[test]
fn networks_are_quantized_as_by_quantizeml() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/models/qml-1.2.5");
    let tmp = tempfile::tempdir().unwrap();
    let manifest = json(&folder.join("manifest.json"));
    let (mut networks, mut layers, mut faults) = (0, 0, Vec::new());
    for model in manifest["models"].as_array().unwrap() {
        let name = model["model"].as_str().unwrap();
        for case in model["cases"].as_array().unwrap().iter().filter(|case| case["status"] == "ok") {
            let case = case["case"].as_str().unwrap();
            let recorded = json(&folder.join(format!("cases/{name}.{case}.json")));
            networks += 1;
            match fault(&folder, name, &recorded, tmp.path()) {
                Ok(compared) => layers += compared,
                Err(what) => faults.push(format!("{name}.{case}: {what}")),
            }
        }
    }
    println!("{} of {networks} networks, {layers} layers", networks - faults.len());
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(networks > 50 && layers > 300, "{networks} networks, {layers} layers");
}
