//! The number system and the layers on it against recorded cases of QuantizeML 1.2.5 and 0.7.1 (`tests/keras/core`), in
//! integers and in 24-bit arithmetic.

#[path = "../common/figures.rs"]
mod figures;
mod graph;
#[path = "../common/keras.rs"]
mod keras;
#[path = "../common/keras_layers.rs"]
mod keras_layers;
mod layers;
mod operations;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use keras::{Recorded, Tensors, equal_tensors};
use operations::Packets;
use qirc::ops::fixed;
use qirc::tensor::fixed::Arithmetic;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/core")
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Release {
    Old,
    New,
}

impl Release {
    fn of_layers(self) -> fixed::Release {
        match self {
            Release::Old => fixed::Release::V0_7,
            Release::New => fixed::Release::V1_2,
        }
    }
}

fn equal(found: &Recorded, want: &Recorded) -> bool {
    match (found, want) {
        (Recorded::Quantized(a), Recorded::Quantized(b)) => equal_tensors(a, b),
        (Recorded::Float(a, x), Recorded::Float(b, y)) => a == b && x == y,
        (Recorded::Int(a, x), Recorded::Int(b, y)) => a == b && x == y,
        _ => false,
    }
}

/// The cases of one family that were run, and those that differ, by the arithmetic that they need.
#[derive(Default)]
struct Count {
    cases: usize,
    differ: BTreeMap<String, Vec<String>>,
}

/// Runs every case in one arithmetic. Families are `op`, `layer` and `stress`.
fn replay(release: Release, arithmetic: Arithmetic) -> BTreeMap<String, Count> {
    let text = fs::read_to_string(folder().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let packets = Packets::read();
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for group in manifest["groups"].as_array().unwrap() {
        let name = group["group"].as_str().unwrap();
        if release == Release::New && group["reference"] == "0.7.1" {
            continue;
        }
        let count = counts.entry(name.split('.').next().unwrap().to_owned()).or_default();
        let file = group["file"].as_str().unwrap();
        let tensors = Tensors::read(&folder().join(file));
        let old = folder().join(file.replace(".safetensors", ".v071.safetensors"));
        let old = old.exists().then(|| Tensors::read(&old));
        for case in group["cases"].as_array().unwrap() {
            if release == Release::Old && case["v0.7.1"] == "unsupported" {
                continue;
            }
            let inputs = case["inputs"].as_array().unwrap();
            let inputs = inputs.iter().map(|input| tensors.recorded(input, arithmetic)).collect();
            let (want, stored) = match &old {
                Some(old) if release == Release::Old && case["v0.7.1"].is_object() => (&case["v0.7.1"], old),
                _ => (case, &tensors),
            };
            let fault = if case["kind"] == "op" {
                let run =
                    operations::Case { args: &case["args"], inputs, release, arithmetic, packets: &packets };
                let want = stored.recorded(&want["output"], arithmetic);
                match run.run(case["name"].as_str().unwrap()) {
                    Ok(found) if equal(&found, &want) => None,
                    found => Some(format!("{found:?}\n  want {want:?}")),
                }
            } else {
                let layer = layers::Case { case, tensors: &tensors, inputs, release, arithmetic };
                // Where both releases give the same output, the constants on record are those of the newer.
                let constants = release == Release::New || want != case || group["reference"] == "0.7.1";
                layer.fault(want, stored, constants)
            };
            count.cases += 1;
            if let Some(fault) = fault {
                let container = if release == Release::Old { "container_071" } else { "container" };
                let container = case[container].as_str().unwrap_or("exact").to_owned();
                let id = case["id"].as_str().unwrap();
                count.differ.entry(container).or_default().push(format!("{id}: {fault}"));
            }
        }
    }
    counts
}

/// In integers, every case holds whose intermediates binary32 does not round; in 24 bits, every one but those whose
/// sums depend on the reference's order.
#[test]
fn operations_and_layers_are_those_of_quantizeml() {
    let mut lines = Vec::new();
    for release in [Release::New, Release::Old] {
        for (words, arithmetic, free) in [
            ("integers", Arithmetic::Exact, &["f32", "order"][..]),
            ("24 bits", release.of_layers().arithmetic(), &["order"]),
        ] {
            for (family, count) in replay(release, arithmetic) {
                let differ: usize = count.differ.values().map(Vec::len).sum();
                lines.push(format!(
                    "{release:?} {words} {family}: {} of {}",
                    count.cases - differ,
                    count.cases
                ));
                for (container, faults) in count.differ {
                    assert!(
                        free.contains(&container.as_str()),
                        "{release:?}, {words}, {family}: {} of {} differ:\n{}",
                        faults.len(),
                        count.cases,
                        faults.join("\n")
                    );
                }
            }
        }
    }
    figures::show(&lines.join("; "));
}

/// Operators of the IR give the bits that are on record, for every operation that is one.
#[test]
fn operators_are_those_of_quantizeml() {
    let text = fs::read_to_string(folder().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let (mut run, mut faults) = (BTreeMap::<String, usize>::new(), Vec::new());
    for group in manifest["groups"].as_array().unwrap() {
        let tensors = Tensors::read(&folder().join(group["file"].as_str().unwrap()));
        for case in group["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == "op") {
            // Where the package rounds to 24 bits, integers are others.
            if case["container"].as_str().is_some_and(|container| container != "exact") {
                continue;
            }
            let inputs = case["inputs"].as_array().unwrap().iter();
            let inputs: Vec<_> = inputs.map(|input| tensors.recorded(input, Arithmetic::Exact)).collect();
            let name = case["name"].as_str().unwrap();
            let Some(found) = graph::run(name, &case["args"], &inputs) else { continue };
            *run.entry(name.to_owned()).or_default() += 1;
            let want = tensors.recorded(&case["output"], Arithmetic::Exact);
            if !found.as_ref().is_ok_and(|found| equal(found, &want)) {
                faults.push(format!("{}: {found:?}\n  want {want:?}", case["id"]));
            }
        }
    }
    let cases: usize = run.values().sum();
    assert!(faults.is_empty(), "{} of {cases} differ:\n{}", faults.len(), faults.join("\n"));
    figures::show(&format!("{cases} cases of {} operations by operators", run.len()));
}
