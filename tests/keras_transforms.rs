//! Networks before and after the transforms of QuantizeML 0.7.1 and 1.2.5 (`tests/keras/transforms`): qirc reads them, computes
//! what Keras computed, and its own rules keep that, also where the reference's transform did not.

#[path = "common/keras.rs"]
mod keras;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::Path;

use keras::{Stored, Tensors};
use qirc::diag::Sources;
use qirc::interp::Plan;
use qirc::ir::{Graph, InputShapes};
use qirc::ops::{Arithmetic, Registry};
use qirc::pass::{Compile, compile};
use qirc::syntax::pipeline;
use qirc::tensor::npy::write_npy;
use qirc::tensor::{DType, Tensor};
use serde_json::Value;
use zip::write::SimpleFileOptions;

const RULES: &str = "rules{files=\"order cleanup activations linear fold_batchnorm pooling of_one\"}, rules{files=\"order constants cleanup activations movement fold_batchnorm linear pooling bounds of_one \
                     layout elementwise_first\"}";

/// Both sides add float32 products in different orders, and folding multiplies weights before they are added: of sums of
/// some hundred products of either sign, that is some units of 2^-24 of the largest.
const TOLERANCE: f32 = 2e-5;

/// Classes that a reader of networks does not have; they are refused by name.
const REFUSED: [&str; 2] = ["BufferTempConv", "DepthwiseBufferTempConv"];

fn tensor(stored: &Stored) -> Tensor {
    let tensor = match &stored.ints[..] {
        [] => Tensor::new(&stored.sizes, stored.floats.clone()),
        ints => Tensor::new(&stored.sizes, ints.to_vec()),
    };
    tensor.unwrap()
}

/// The architecture with its weights beside it, as Keras's users have them.
fn unpack(architecture: &Path, tensors: &Tensors, side: &str, tmp: &Path) -> std::path::PathBuf {
    let model = tmp.join("model.json");
    fs::copy(architecture, &model).unwrap();
    let mut archive = zip::ZipWriter::new(File::create(model.with_extension("npz")).unwrap());
    for (name, stored) in tensors.iter() {
        let name = name.replace('|', "/");
        let Some(name) = name.strip_prefix(&format!("{side}/")) else { continue };
        let mut bytes = Cursor::new(Vec::new());
        write_npy(&tensor(stored), &mut bytes).unwrap();
        archive.start_file(format!("{}.npy", name.replace('/', "|")), SimpleFileOptions::default()).unwrap();
        archive.write_all(&bytes.into_inner()).unwrap();
    }
    archive.finish().unwrap();
    model
}

fn run(graph: &Graph, registry: &Registry, tensors: &Tensors) -> Vec<Tensor> {
    let is_input = |name: &str| name == "x" || name.starts_with("x/") || name.starts_with("x|");
    let inputs = tensors.iter().filter(|(name, _)| is_input(name));
    let feeds: BTreeMap<String, Tensor> = graph
        .inputs()
        .zip(inputs)
        .map(|(input, (_, stored))| {
            let value = graph.value(input);
            (value.name.to_string(), tensor(stored).cast(value.ty.storage()))
        })
        .collect();
    Plan::new(graph, registry, Arithmetic::Exact).unwrap().run(&feeds, &mut |_, _| {}).unwrap()
}

fn near(found: &Tensor, expected: &[f32]) -> bool {
    let found = found.cast(DType::F32);
    let found = found.elements::<f32>().unwrap();
    let most = expected.iter().fold(1.0, |most: f32, y| most.max(y.abs()));
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= TOLERANCE * most)
}

fn elements(tensor: &Tensor) -> Vec<f32> {
    tensor.cast(DType::F32).elements::<f32>().unwrap().to_vec()
}

/// The network by qirc's rules.
fn rewritten(graph: Graph, registry: &Registry) -> Graph {
    let mut sources = Sources::default();
    let id = sources.add("pipeline", RULES).unwrap();
    let calls = pipeline::parse(RULES, id).unwrap().0;
    let wishes = Compile::with_rules(&[], &mut sources);
    match compile(graph, registry, &calls, wishes, None, &mut |_, _| {}) {
        Ok(outcome) => outcome.graph,
        Err(_) => panic!("the rules fail"),
    }
}

fn count(graph: &Graph, op: &str) -> usize {
    graph.order().into_iter().filter(|&id| graph.node(id).op() == Some(op)).count()
}

#[test]
fn transforms_keep_what_networks_compute() {
    let registry = Registry::built_in();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/transforms");
    let tmp = tempfile::tempdir().unwrap();
    let (mut cases, mut folded, mut faults) = (0, 0, Vec::new());
    for version in ["qml-0.7.1", "qml-1.2.5"] {
        let folder = root.join(version);
        let manifest: Value =
            serde_json::from_str(&fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap();
        for case in manifest["cases"].as_array().unwrap() {
            cases += 1;
            let name = case["case"].as_str().unwrap();
            let tensors = Tensors::read_npz(&folder.join(format!("{name}.npz")));
            for side in ["before", "after"] {
                let architecture = folder.join(format!("{name}.{side}.json"));
                if !architecture.exists() {
                    continue;
                }
                let model = unpack(&architecture, &tensors, side, tmp.path());
                let graph = match qirc::keras::import(&model, &registry, &InputShapes::default()) {
                    Ok(graph) => graph,
                    Err(found) => {
                        let said =
                            found.0.iter().any(|one| REFUSED.iter().any(|class| one.message.contains(class)));
                        assert!(said, "{version} {name}: {found:?}");
                        continue;
                    }
                };
                let results = run(&graph, &registry, &tensors);
                let recorded: Vec<&Stored> = tensors
                    .iter()
                    .filter(|(key, _)| key.starts_with(&format!("y_{side}")))
                    .map(|(_, stored)| stored)
                    .collect();
                for stored in recorded {
                    if !results.iter().any(|found| near(found, &stored.floats)) {
                        faults.push(format!("{version} {name} {side}: not what Keras computed"));
                    }
                }
                let after = rewritten(graph, &registry);
                let again = run(&after, &registry, &tensors);
                let kept = results.iter().zip(&again).all(|(old, new)| near(new, &elements(old)));
                if !kept || results.len() != again.len() {
                    faults.push(format!("{version} {name} {side}: qirc's rules change it"));
                }
                // What the reference folds and that is sound, qirc folds, too.
                let sound = case["max_abs_diff"].as_f64().zip(case["max_abs"].as_f64());
                let sound = sound.is_some_and(|(diff, most)| diff <= 1e-4 * most);
                if side == "before" && case["transform"] == "fold_batchnorms" && sound {
                    let layers = case["layers_after"].as_array().unwrap();
                    let left = layers.iter().filter(|layer| layer[1] == "BatchNormalization").count();
                    folded += 1;
                    if count(&after, "batch_norm") > left {
                        faults.push(format!("{version} {name}: a batch normalization stays"));
                    }
                }
            }
        }
    }
    println!("{cases} cases, {folded} of them with batch normalizations to fold");
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(cases, 209);
}
