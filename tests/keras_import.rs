//! Files that Keras wrote (`tests/data/keras`, made by `tests/peers/keras_fixtures.py`) compute what Keras
//! computed from them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use qirc::interp::Plan;
use qirc::ir::{Graph, InputShapes};
use qirc::keras;
use qirc::ops::{Arithmetic, Registry};
use qirc::tensor::Tensor;
use qirc::tensor::npy::NpyReader;
use qirc::verify::verify;

/// Both sides add float32 products, in different orders: sums of up to 72 products of about 1 differ by some
/// units of 2^-24, and nothing in these networks amplifies a difference more than a few times.
const TOLERANCE: f32 = 2e-6;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/keras")
}

/// The arrays of a directory by their names.
fn arrays(directory: &Path) -> BTreeMap<String, Tensor> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let tensor =
                NpyReader::open(BufReader::new(File::open(&path).unwrap())).unwrap().read_all().unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), tensor)
        })
        .collect()
}

fn model(case: &Path) -> PathBuf {
    let models = ["keras", "h5", "json"].map(|form| case.join("model").with_extension(form));
    models.into_iter().find(|path| path.exists()).unwrap()
}

fn import(path: &Path) -> Graph {
    let registry = Registry::built_in();
    let graph = keras::import(path, &registry, &InputShapes::default()).unwrap();
    verify(&graph, &registry).unwrap();
    graph
}

fn check(case: &Path, graph: &Graph) {
    let expected = arrays(&case.join("out"));
    let registry = Registry::built_in();
    let plan = Plan::new(graph, &registry, Arithmetic::Exact).unwrap();
    let found = plan.run(&arrays(&case.join("in")), &mut |_, _| {}).unwrap();
    assert_eq!(found.len(), expected.len());
    for (output, found) in graph.outputs().iter().zip(found) {
        let expected = &expected[&*output.name];
        assert_eq!(found.sizes(), expected.sizes(), "{}", case.display());
        let pairs = found.elements::<f32>().unwrap().iter().zip(expected.elements::<f32>().unwrap());
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= TOLERANCE, "{}: `{}` differs by {worst}", case.display(), output.name);
    }
}

#[test]
fn every_format_computes_what_keras_does() {
    let cases: Vec<PathBuf> = fs::read_dir(data()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(cases.len(), 10);
    for case in cases {
        check(&case, &import(&model(&case)));
    }
}

/// Keras 2.12 writes so.
#[test]
fn hdf5_under_the_name_of_an_archive_is_read() {
    let case = data().join("nested-h5-2");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.keras");
    fs::copy(model(&case), &path).unwrap();
    check(&case, &import(&path));
}

/// The arrays of an archive by their names.
fn archive(path: &Path) -> BTreeMap<String, Tensor> {
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|at| {
            let member = archive.by_index(at).unwrap();
            let name = member.name().trim_end_matches(".npy").to_owned();
            (name, NpyReader::open(member).unwrap().read_all().unwrap())
        })
        .collect()
}

/// Architectures and weights on record (`tests/keras/models`), with QuantizeML's own layers among them.
#[test]
fn recorded_models_compute_what_keras_did() {
    let mut models = 0;
    for release in ["qml-0.7.1", "qml-1.2.5"] {
        let directory =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/models").join(release).join("models");
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some((name, stage)) = name.strip_suffix(".json").and_then(|stem| stem.split_once('.')) else {
                continue;
            };
            let graph = import(&path);
            let data = archive(&directory.join(format!("{name}.data.npz")));
            let input = graph.value(graph.inputs().next().unwrap()).name.to_string();
            let registry = Registry::built_in();
            let plan = Plan::new(&graph, &registry, Arithmetic::Exact).unwrap();
            let found = plan.run(&BTreeMap::from([(input, data["x"].clone())]), &mut |_, _| {}).unwrap();
            let expected = &data[&format!("y_{stage}")];
            assert_eq!(found[0].sizes(), expected.sizes());
            let expected = expected.elements::<f32>().unwrap();
            let largest = expected.iter().fold(1f32, |most, v| v.abs().max(most));
            let pairs = found[0].elements::<f32>().unwrap().iter().zip(expected);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
            assert!(worst <= TOLERANCE, "{}: differs by {worst} of the largest", path.display());
            models += 1;
        }
    }
    assert_eq!(models, 56);
}

#[test]
fn maps_are_transposed_once_on_the_way_in_and_where_they_are_flattened() {
    let count = |case: &str| {
        let graph = import(&model(&data().join(case)));
        graph.order().into_iter().filter(|&id| graph.node(id).op() == Some("transpose")).count()
    };
    assert_eq!(count("image-keras-3"), 2);
    // Two inputs, and an output that is a map.
    assert_eq!(count("nested-keras-3"), 3);
}

#[test]
fn layers_keep_their_names() {
    let graph = import(&model(&data().join("nested-keras-3")));
    for name in ["shared", "inner/conv", "both", "mean", "map"] {
        assert!(graph.find(name).is_some(), "{name}");
    }
    let chain = import(&model(&data().join("chain-h5-3")));
    assert!(["conv", "norm", "end", "end/inner"].iter().all(|name| chain.find(name).is_some()));
    let both = graph.find("both").unwrap();
    let place = graph.node(both.node).loc.nodes().next().unwrap().1.to_owned();
    assert_eq!(place, "both");
}
