//! What is refused, and with which words; damaged files.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::file::ModelFile;
use super::import::import_file;
use super::weights::Weights;
use crate::diag::Diagnostics;
use crate::ir::{Graph, InputShapes};
use crate::ops::Registry;
use crate::tensor::Tensor;

fn file(architecture: Json) -> ModelFile {
    let kernel = Tensor::new(&[3, 3, 2, 2], vec![0.5f32; 36]);
    let arrays = kernel.map(|kernel| ("conv/kernel:0".to_owned(), kernel)).into_iter().collect();
    ModelFile {
        name: "m.json".into(),
        architecture,
        major: 3,
        weights: Weights::Arrays(arrays),
        beside: None,
    }
}

fn read(architecture: Json, shapes: &InputShapes) -> Result<Graph, Diagnostics> {
    import_file(&file(architecture), &Registry::built_in(), shapes)
}

/// A sequential model behind an input of `sizes`.
fn chain(sizes: &[Option<usize>], layers: &[Json]) -> Json {
    let input = json!({"class_name": "InputLayer", "config": {"name": "x", "batch_shape": sizes}});
    let layers: Vec<Json> = [input].into_iter().chain(layers.iter().cloned()).collect();
    json!({"class_name": "Sequential", "config": {"name": "net", "layers": layers}})
}

const MAP: [Option<usize>; 4] = [None, Some(4), Some(4), Some(2)];

/// Code, message and way out of each finding about layers behind a map.
fn refused(layers: &[Json]) -> Vec<(&'static str, String, String)> {
    let found = read(chain(&MAP, layers), &InputShapes::default()).unwrap_err();
    let words = found.0.iter().map(|d| (d.code, d.message.clone(), d.notes.join(" ")));
    words.collect()
}

fn layer(class: &str, settings: Json) -> Json {
    let mut config = json!({"name": "l"});
    for (name, value) in settings.as_object().unwrap() {
        config[name] = value.clone();
    }
    json!({"class_name": class, "config": config})
}

#[test]
fn a_class_that_is_not_read_is_named_with_the_way_out() {
    let found = refused(&[layer("Attention", json!({}))]);
    assert_eq!(found[0].0, "Q0904");
    assert_eq!(found[0].1, "layers of class `Attention` are not supported");
    assert!(found[0].2.contains("docs/keras.md"));
    for (class, way) in [
        ("QuantizedShiftmax", "import the float model"),
        ("Custom>QuantizedAttention", "import the float model"),
        ("Lambda", "put layers in its place"),
        ("LSTM", "export a recurrent network to ONNX"),
        ("BufferTempConv", "export the model to ONNX"),
        ("QuantizedStatefulRecurrent", "export the model to ONNX"),
    ] {
        let found = refused(&[layer(class, json!({}))]);
        assert_eq!(found.len(), 1);
        assert!(found[0].2.contains(way), "{class}: {}", found[0].2);
    }
}

#[test]
fn the_place_is_the_layer() {
    let found = read(chain(&MAP, &[layer("Dot", json!({}))]), &InputShapes::default()).unwrap_err();
    let place = format!("{:?}", found.0[0].labels[0].place);
    assert!(place.contains("m.json") && place.contains("\"l\""), "{place}");
}

#[test]
fn settings_that_are_not_read_are_named() {
    for (class, settings, says) in [
        ("ReLU", json!({"dtype": "float16"}), "setting `dtype` of class `ReLU` is float16"),
        ("Activation", json!({"activation": "sparsemax"}), "is `sparsemax`, which is not supported"),
        (
            "MaxPooling2D",
            json!({"pool_size": [0, 2]}),
            "setting `pool_size` of class `MaxPooling2D` is [0, 2]",
        ),
        ("MaxPooling2D", json!({"padding": "full"}), "is `full`"),
        ("ZeroPadding2D", json!({"padding": [[1, -1], [0, 0]]}), "is not two sizes for each of 2 axes"),
        ("Cropping2D", json!({"cropping": [[2, 2], [0, 0]]}), "leaves nothing of 4"),
        ("Permute", json!({"dims": [1, 2]}), "is [0, 1, 2], for a value of 4 axes"),
        ("Reshape", json!({}), "is missing"),
        ("Softmax", json!({"axis": 4}), "is 4, for a value of 4 axes"),
        ("LayerNormalization", json!({"axis": 1}), "is not the last axes"),
    ] {
        let found = refused(&[layer(class, settings)]);
        assert_eq!(found[0].0, "Q0905");
        assert!(found[0].1.contains(says), "{}", found[0].1);
    }
}

#[test]
fn classes_of_other_modules_are_none_that_are_known() {
    let mut own = layer("ReLU", json!({}));
    own["module"] = json!("my_net.layers");
    assert_eq!(refused(&[own])[0].1, "layers of class `my_net.layers.ReLU` are not supported");
    let function = json!({"module": "my_net", "class_name": "function", "config": "relu"});
    let found = refused(&[layer("Activation", json!({"activation": function}))]);
    assert!(found[0].1.contains("is of `my_net`"), "{}", found[0].1);
    assert_eq!(refused(&[layer("my>Dense", json!({}))])[0].1, "layers of class `my>Dense` are not supported");
}

#[test]
fn every_fault_is_told_at_once_and_its_readers_are_silent() {
    let second = json!({"class_name": "Dot", "config": {"name": "m"}});
    assert_eq!(refused(&[layer("Lambda", json!({})), second]).len(), 1);
    let call = |layer: &str| json!([[[layer, 0, 0, {}]]]);
    let model = json!({"class_name": "Functional", "config": {
        "name": "net",
        "layers": [
            {"class_name": "InputLayer", "name": "x", "config": {"batch_input_shape": [null, 3]}, "inbound_nodes": []},
            {"class_name": "Lambda", "name": "a", "config": {}, "inbound_nodes": call("x")},
            {"class_name": "Dot", "name": "b", "config": {}, "inbound_nodes": call("x")},
        ],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["a", 0, 0], ["b", 0, 0]],
    }});
    assert_eq!(read(model, &InputShapes::default()).unwrap_err().0.len(), 2);
}

#[test]
fn missing_weights_and_values_are_named() {
    let found = refused(&[layer("Dense", json!({}))]);
    assert_eq!((found[0].0, &*found[0].1), ("Q0906", "weight `kernel` is not in the file"));
    let conv = json!({"class_name": "Conv2D", "config": {"name": "conv", "use_bias": true}});
    assert_eq!(refused(&[conv])[0].1, "weight `bias` is not in the file");
    let found = refused(&[layer("Add", json!({}))]);
    assert_eq!(found[0].0, "Q0909");
    let loose = json!({"class_name": "Functional", "config": {
        "name": "net",
        "layers": [{"class_name": "InputLayer", "name": "x", "config": {"batch_shape": [null, 3]}}],
        "input_layers": ["x", 0, 0],
        "output_layers": ["y", 0, 0],
    }});
    assert_eq!(read(loose, &InputShapes::default()).unwrap_err().0[0].code, "Q0903");
}

#[test]
fn same_padding_of_open_sizes_needs_them() {
    let conv = |strides: i64| {
        json!({"class_name": "Conv2D", "config":
            {"name": "conv", "padding": "same", "strides": [strides, strides], "use_bias": false}})
    };
    let open = [None, None, None, Some(2)];
    assert!(read(chain(&open, &[layer("ReLU", json!({}))]), &InputShapes::default()).is_ok());
    let found = read(chain(&open, &[conv(2)]), &InputShapes::default()).unwrap_err();
    assert_eq!(found.0[0].code, "Q0908");
    assert!(found.0[0].notes[0].contains("--input-shape"));
    let mut shapes = InputShapes::default();
    shapes.named.insert("x".to_owned(), vec![1, 8, 8, 2]);
    assert!(read(chain(&open, &[conv(2)]), &shapes).is_ok());
    shapes.named.insert("x".to_owned(), vec![1, 8, 8, 3]);
    assert_eq!(read(chain(&open, &[conv(2)]), &shapes).unwrap_err().0[0].code, "Q0907");
}

#[test]
fn a_constant_beside_a_value_is_not_lost() {
    let call = json!([{"args": [
        {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}, 2.5], "kwargs": {}}]);
    let model = json!({"class_name": "Functional", "config": {
        "name": "net",
        "layers": [
            {"class_name": "InputLayer", "name": "x", "config": {"batch_shape": [null, 3]}, "inbound_nodes": []},
            // Files of HDF5 keep no modules: the function has the name of the layer.
            {"class_name": "Add", "name": "plus", "config": {}, "inbound_nodes": call},
        ],
        "input_layers": ["x", 0, 0],
        "output_layers": ["plus", 0, 0],
    }});
    let graph = read(model, &InputShapes::default()).unwrap();
    let plus = graph.outputs()[0].value;
    assert_eq!(graph.node(plus.node).operands.len(), 2);
}

#[test]
fn models_that_call_each_other_without_end_are_refused() {
    let input = json!({"class_name": "InputLayer", "name": "x", "config": {"batch_shape": [null, 3]}});
    let mut model = json!({"class_name": "ReLU", "config": {}});
    for _ in 0..20 {
        model["name"] = json!("a");
        model["inbound_nodes"] = json!([[["x", 0, 0, {}]], [["a", 0, 0, {}]]]);
        let config = json!({
            "name": "m",
            "layers": [input, model],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["a", 1, 0]],
        });
        model = json!({"class_name": "Functional", "config": config});
    }
    let found = read(model, &InputShapes::default()).unwrap_err();
    assert_eq!(found.0.len(), 1);
    assert!(found.0[0].message.contains("more than 100000 calls"), "{}", found.0[0].message);
}

const FILES: [(&str, &[u8]); 4] = [
    ("h5", include_bytes!("../../tests/data/keras/nested-h5-2/model.h5")),
    ("keras", include_bytes!("../../tests/data/keras/functions-keras-3/model.keras")),
    ("json", include_bytes!("../../tests/data/keras/functions-json-2/model.json")),
    ("h5", include_bytes!("../../tests/data/keras_quantized/image-h5/model.h5")),
];

fn import_bytes(directory: &Path, form: &str, bytes: &[u8]) {
    let path = directory.join("model").with_extension(form);
    std::fs::write(&path, bytes).unwrap();
    let arrays = include_bytes!("../../tests/data/keras/functions-json-2/model.npz");
    std::fs::write(path.with_extension("npz"), arrays).unwrap();
    let registry = Registry::built_in();
    if let Ok(graph) = super::import(&path, &registry, &InputShapes::default()) {
        let _ = crate::verify::verify(&graph, &registry);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_files_do_not_panic(
        which in 0..FILES.len(),
        length in 0.0..2.0f64,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 0..8),
    ) {
        let (form, bytes) = FILES[which];
        let mut bytes = bytes.to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        bytes.truncate((length.min(1.0) * bytes.len() as f64) as usize);
        let directory = tempfile::tempdir().unwrap();
        import_bytes(directory.path(), form, &bytes);
    }
}

#[test]
fn files_that_are_no_models_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::built_in();
    let code = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        super::import(&path, &registry, &InputShapes::default()).unwrap_err().0[0].clone()
    };
    assert_eq!(code("a.keras", b"hello").code, "Q0902");
    assert_eq!(code("a.h5", &FILES[0].1[..1000]).code, "Q0902");
    assert_eq!(code("a.json", b"{}").code, "Q0901");
    std::fs::write(
        directory.path().join("a.npz"),
        include_bytes!("../../tests/data/keras/functions-json-2/model.npz"),
    )
    .unwrap();
    assert_eq!(code("a.json", b"{}").code, "Q0903");
    let own = br#"{"class_name": "MyModel", "config": {"name": "m"}}"#;
    assert!(code("a.json", own).message.contains("`MyModel` is a class of its own"));
    let missing = super::import(Path::new("nowhere.keras"), &registry, &InputShapes::default());
    assert_eq!(missing.unwrap_err().0[0].code, "Q0901");
}
