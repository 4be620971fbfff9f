//! The digits network that ships with the project: accuracy of the integers against the labels, and
//! their distance from the float network, for the ONNX file and for the same network as text.

#[path = "common/figures.rs"]
mod figures;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use qirc::diag::Sources;
use qirc::interp::Plan;
use qirc::ir::Graph;
use qirc::ir::InputShapes;
use qirc::ops::{Arithmetic, Registry};
use qirc::pass::{self, Compile, Source};
use qirc::tensor::Tensor;
use qirc::tensor::npy::NpyReader;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits").join(name)
}

fn npy(name: &str) -> Tensor {
    NpyReader::open(BufReader::new(File::open(file(name)).unwrap())).unwrap().read_all().unwrap()
}

fn logits(graph: &Graph) -> Vec<f32> {
    let registry = Registry::built_in();
    let plan = Plan::new(graph, &registry, Arithmetic::Exact).unwrap();
    let name = graph.value(graph.inputs().next().unwrap()).name.to_string();
    let outputs = plan.run(&BTreeMap::from([(name, npy("x_test.npy"))]), &mut |_, _| {}).unwrap();
    outputs[0].elements::<f32>().unwrap().to_vec()
}

fn quantized(graph: Graph) -> Graph {
    let registry = Registry::built_in();
    let mut sources = Sources::default();
    let text = pass::named_pipeline("akida").unwrap();
    let id = sources.add("akida", text).unwrap();
    let calls = qirc::syntax::pipeline::parse(text, id).unwrap().0;
    let source = Source::Files(vec![file("x_calib.npy")]);
    let wishes = Compile { source, ..Compile::with_rules(&[], &mut sources) };
    match pass::compile(graph, &registry, &calls, wishes, None, &mut |_, _| {}) {
        Ok(outcome) => outcome.graph,
        Err(_) => panic!("the digits network does not compile"),
    }
}

fn correct(logits: &[f32]) -> usize {
    let labels = npy("y_test.npy");
    let labels = labels.elements::<i64>().unwrap();
    let best =
        |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).unwrap();
    logits.chunks(10).zip(labels).filter(|(row, label)| best(row) as i64 == **label).count()
}

/// Signal-to-quantization-noise ratio in dB.
fn sqnr(float: &[f32], quantized: &[f32]) -> f64 {
    let power = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let signal = power(&mut float.iter().map(|&v| f64::from(v)));
    let noise = power(&mut float.iter().zip(quantized).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    10.0 * (signal / noise).log10()
}

/// The reference gets 445 of 450 right, at 34.84 dB.
fn check(name: &str, graph: Graph) {
    let float = logits(&graph);
    let integer = logits(&quantized(graph));
    let (right, db) = (correct(&integer), sqnr(&float, &integer));
    figures::show(&format!("{name}: {right} of 450 correct, {db:.2} dB against the float logits"));
    assert!(right >= 445, "{name}: {right} of 450 correct");
    assert!(db >= 34.8, "{name}: {db} dB");
}

#[test]
fn onnx() {
    let graph = qirc::onnx::import(&file("digits_cnn.onnx"), &Registry::built_in(), &InputShapes::default());
    check("digits_cnn.onnx", graph.unwrap());
}

#[test]
fn text() {
    let text = fs::read_to_string(file("digits_cnn.qir")).unwrap();
    let id = Sources::default().add("digits_cnn.qir", text.clone()).unwrap();
    let registry = Registry::built_in();
    let graph = qirc::syntax::qir::parse(&text, id, &registry, &mut |name| Ok(fs::read(file(name))?.into()));
    check("digits_cnn.qir", graph.unwrap());
}
