//! Files of quantized models that QuantizeML wrote (`tests/data/keras_quantized`, made by `tests/peers/keras_quantized.py`):
//! every bit of what they compute, and what is wrong with some.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Write};
use std::path::{Path, PathBuf};

use qirc::diag::Diagnostics;
use qirc::interp::Plan;
use qirc::ir::{Graph, InputShapes};
use qirc::keras;
use qirc::ops::{Arithmetic, Registry};
use qirc::tensor::Tensor;
use qirc::tensor::npy::{NpyReader, write_npy};
use qirc::verify::verify;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/keras_quantized")
}

fn import(path: &Path) -> Result<Graph, Diagnostics> {
    let registry = Registry::built_in();
    let graph = keras::import(path, &registry, &InputShapes::default())?;
    verify(&graph, &registry).unwrap();
    Ok(graph)
}

/// The one array of a directory, and its name.
fn array(directory: &Path) -> (String, Tensor) {
    let path = fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    let tensor = NpyReader::open(BufReader::new(File::open(&path).unwrap())).unwrap().read_all().unwrap();
    (path.file_stem().unwrap().to_string_lossy().into_owned(), tensor)
}

#[test]
fn every_bit_is_that_of_quantizeml() {
    let mut cases = 0;
    for entry in fs::read_dir(data()).unwrap() {
        let case = entry.unwrap().path();
        let form = case.to_str().unwrap().rsplit_once('-').unwrap().1.to_owned();
        let graph = import(&case.join("model").with_extension(form)).unwrap();
        let ((input, x), (output, y)) = (array(&case.join("in")), array(&case.join("out")));
        let registry = Registry::built_in();
        let plan = Plan::new(&graph, &registry, Arithmetic::Exact).unwrap();
        let found = plan.run(&BTreeMap::from([(input, x)]), &mut |_, _| {}).unwrap();
        assert_eq!(*graph.outputs()[0].name, output);
        assert_eq!(found[0].sizes(), y.sizes());
        assert_eq!(found[0].elements::<f32>(), y.elements::<f32>(), "{}", case.display());
        cases += 1;
    }
    assert_eq!(cases, 4);
}

#[test]
fn layers_are_integer_forms_under_their_names() {
    let graph = import(&data().join("image-h5/model.h5")).unwrap();
    for id in graph.order() {
        let node = graph.node(id);
        let Some(op) = node.op() else { continue };
        let ends = ["to_fixed_point", "to_float"].contains(&op);
        let on_grids = node.operands.iter().flatten().all(|&value| graph.ty(value).grid.fixed().is_some());
        assert!(ends || op == "transpose" || on_grids, "{op} {}", node.name);
    }
    let op = |name: &str| graph.node(graph.find(name).unwrap().node).op();
    assert_eq!(op("conv2d"), Some("Conv2D"));
    assert_eq!(op("separable_conv2d"), Some("SeparableConv2D"));
    assert_eq!(op("classes"), Some("Dense"));
    let pool = graph.order().into_iter().find(|&id| &*graph.node(id).name == "global_average_pooling2d");
    assert_eq!(graph.node(pool.unwrap()).op(), Some("GlobalAveragePooling2D"));
}

/// The tokens' model with another architecture and other variables.
fn changed(
    architecture: impl Fn(String) -> String,
    variable: impl Fn(&str, Tensor) -> Option<Tensor>,
) -> Result<Graph, Diagnostics> {
    let case = data().join("tokens-json");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.json");
    let text = fs::read_to_string(case.join("model.json")).unwrap();
    fs::write(&path, architecture(text)).unwrap();
    let mut archive = ZipArchive::new(File::open(case.join("model.npz")).unwrap()).unwrap();
    let mut written = ZipWriter::new(File::create(path.with_extension("npz")).unwrap());
    for at in 0..archive.len() {
        let member = archive.by_index(at).unwrap();
        let name = member.name().to_owned();
        let tensor = NpyReader::open(member).unwrap().read_all().unwrap();
        let Some(tensor) = variable(&name, tensor) else { continue };
        let mut bytes = Cursor::new(Vec::new());
        write_npy(&tensor, &mut bytes).unwrap();
        written.start_file(name, SimpleFileOptions::default()).unwrap();
        written.write_all(bytes.get_ref()).unwrap();
    }
    written.finish().unwrap();
    import(&path)
}

fn same(_: &str, tensor: Tensor) -> Option<Tensor> {
    Some(tensor)
}

fn ones(tensor: &Tensor) -> Tensor {
    let elements = vec![1f32; tensor.sizes().iter().product()];
    Tensor::new(tensor.sizes(), elements).unwrap()
}

#[test]
fn layers_without_ranges_are_listed() {
    changed(|text| text, same).unwrap();
    let of = |name: &str| {
        ["dense_1|", "add|"].iter().any(|layer| name.starts_with(layer)) && name.contains("range_max")
    };
    let found = changed(|text| text, |name, tensor| Some(if of(name) { ones(&tensor) } else { tensor }));
    let found = found.unwrap_err().0;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "Q0910");
    assert_eq!(found[0].message, "quantized layers have not been calibrated: dense_1, add");
}

#[test]
fn what_is_missing_or_another_releases_is_named() {
    let refused = |found: Result<Graph, Diagnostics>| {
        let found = found.unwrap_err().0;
        (found[0].code, found[0].message.clone(), format!("{:?}", found[0]))
    };
    let no_rates = |name: &str, tensor| (!name.contains("rescaling_rate")).then_some(tensor);
    let (code, message, _) = refused(changed(|text| text, no_rates));
    assert_eq!((code, &*message), ("Q0906", "weight `output_quantizer/rescaling_rate` is not in the file"));
    let (code, message, whole) =
        refused(changed(|text| text.replace("QuantizedReLU", "QuantizedShiftmax"), same));
    assert_eq!((code, &*message), ("Q0904", "layers of class `QuantizedShiftmax` are not supported"));
    assert!(
        whole.contains("re_lu") && whole.contains("of older releases, import the float model"),
        "{whole}"
    );
    let (code, message, _) =
        refused(changed(|text| text.replace("\"weight_quantizer\"", "\"weight_quantiser\""), same));
    assert_eq!(code, "Q0905");
    assert!(message.contains("`quant_config` of class `QuantizedDense` is not read"), "{message}");
    let (code, message, _) = refused(changed(|text| text.replace("\"InputQuantizer\"", "\"Dropout\""), same));
    assert_eq!(code, "Q0909");
    assert!(message.contains("gives it numbers of f32"), "{message}");
}
