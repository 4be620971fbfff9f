//! Files in, files out.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use crate::diag::Report;
use crate::ir::InputShapes;
use crate::onnx::file::{ExternalData, ModelFile};
use crate::onnx::import::import_file;
use crate::onnx::proto::tensor_proto::{DataLocation, DataType};
use crate::onnx::proto::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};
use crate::onnx::{OnnxError, emit, tensor};
use crate::ops::Registry;
use crate::tensor::{DType, Tensor};

const FILES: [&[u8]; 3] = [
    include_bytes!("../../../tests/data/onnx/conv.onnx"),
    include_bytes!("../../../tests/data/onnx/dense_quantized.onnx"),
    include_bytes!("../../../tests/data/onnx/padded_sanitized.onnx"),
];

fn nowhere() -> ExternalData {
    ExternalData::below("/nonexistent".as_ref())
}

fn decode(bytes: impl Into<Bytes>) -> Result<ModelFile, OnnxError> {
    ModelFile::decode("net.onnx", bytes.into(), nowhere())
}

fn initializers(file: &ModelFile) -> Result<Vec<Tensor>, OnnxError> {
    let graph = file.model.graph.iter();
    graph.flat_map(|g| &g.initializer).map(|t| tensor::decode("t", t, &file.external)).collect()
}

#[test]
fn decoding_and_encoding_a_file_gives_its_bytes() {
    for bytes in FILES {
        let file = decode(bytes).unwrap();
        assert_eq!(file.model.encode_to_vec(), bytes);
        assert!(!initializers(&file).unwrap().is_empty());
    }
}

#[test]
fn truncated_and_empty_files_are_refused() {
    for bytes in [&FILES[0][..0], &FILES[0][..200], b"\x89PNG\r\n\x1a\n"] {
        let error = decode(bytes).and_then(|file| file.graph().cloned()).unwrap_err();
        assert_eq!(error.code(), "Q0402");
    }
}

proptest! {
    #[test]
    fn damaged_files_do_not_panic(
        which in 0..FILES.len(),
        length in 0.0..1.0f64,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 0..8),
    ) {
        let mut bytes = FILES[which].to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let cut = (length * 2.0).min(1.0) * bytes.len() as f64;
        bytes.truncate(cut as usize);
        if let Ok(file) = decode(bytes) {
            let _ = initializers(&file);
            let _ = import_file(&file, &Registry::built_in(), &InputShapes::default());
        }
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(bytes);
    }

    #[test]
    fn tensors_of_every_type_round_trip(bytes in prop::collection::vec(any::<u8>(), 48)) {
        for dtype in DType::ALL {
            let sizes = [3, 16 / dtype.size()];
            let Some(made) = Tensor::from_le_bytes(dtype, &sizes, &bytes) else {
                return Err(TestCaseError::fail("48 bytes fit"));
            };
            let back = tensor::decode("t", &tensor::encode(None, &made), &nowhere()).unwrap();
            // By bytes, since NaN differs from itself.
            prop_assert_eq!(back.to_le_bytes(), made.to_le_bytes());
            prop_assert_eq!(back.sizes(), made.sizes());
        }
    }
}

fn typed(data_type: DataType, dims: &[i64]) -> TensorProto {
    TensorProto { data_type: Some(data_type as i32), dims: dims.to_vec(), ..TensorProto::default() }
}

fn code(proto: &TensorProto) -> &'static str {
    tensor::decode("t", proto, &nowhere()).unwrap_err().code()
}

#[test]
fn typed_fields_are_read() {
    let i8s = TensorProto { int32_data: vec![-128, 127], ..typed(DataType::Int8, &[2]) };
    assert_eq!(tensor::decode("t", &i8s, &nowhere()).unwrap(), Tensor::vector(vec![-128i8, 127]));
    let bools = TensorProto { int32_data: vec![0, 1], ..typed(DataType::Bool, &[1, 2]) };
    assert_eq!(
        tensor::decode("t", &bools, &nowhere()).unwrap(),
        Tensor::new(&[1, 2], vec![false, true]).unwrap()
    );
    let u32s = TensorProto { uint64_data: vec![u64::from(u32::MAX)], ..typed(DataType::Uint32, &[1]) };
    assert_eq!(tensor::decode("t", &u32s, &nowhere()).unwrap(), Tensor::vector(vec![u32::MAX]));
    let f64s = TensorProto { double_data: vec![0.1], ..typed(DataType::Double, &[]) };
    assert_eq!(tensor::decode("t", &f64s, &nowhere()).unwrap(), Tensor::scalar(0.1f64));
}

#[test]
fn hostile_tensors_are_refused() {
    assert_eq!(code(&typed(DataType::Float16, &[1])), "Q0403");
    assert_eq!(code(&typed(DataType::Undefined, &[1])), "Q0403");
    assert_eq!(code(&TensorProto { data_type: Some(99), ..TensorProto::default() }), "Q0403");
    assert_eq!(code(&typed(DataType::Float, &[-1])), "Q0404");
    assert_eq!(code(&typed(DataType::Float, &[i64::MAX, 4])), "Q0404");
    assert_eq!(code(&typed(DataType::Int8, &[0, i64::MAX, i64::MAX])), "Q0404");
    assert_eq!(code(&typed(DataType::Float, &[1 << 40])), "Q0405");
    let raw = Some(Bytes::from_static(&[0; 7]));
    assert_eq!(code(&TensorProto { raw_data: raw, ..typed(DataType::Float, &[2]) }), "Q0405");
    assert_eq!(code(&TensorProto { int32_data: vec![128], ..typed(DataType::Int8, &[1]) }), "Q0406");
}

fn external(entries: &[(&str, &str)]) -> TensorProto {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: entries.iter().map(entry).collect(),
        ..typed(DataType::Float, &[2])
    }
}

#[test]
fn external_data_stays_below_the_model_and_inside_its_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("w"), [0u8; 12]).unwrap();
    let read =
        |entries: &[(&str, &str)]| tensor::decode("t", &external(entries), &ExternalData::below(dir.path()));
    assert!(read(&[("location", "w")]).is_ok());
    assert!(read(&[("location", "./w"), ("offset", "4"), ("length", "8")]).is_ok());
    let absolute = dir.path().join("w").display().to_string();
    for entries in [
        &[][..],
        &[("location", "")],
        &[("location", "missing")],
        &[("location", ".")],
        &[("location", "../w")],
        &[("location", "x/../w")],
        &[("location", &absolute)],
        &[("location", "w"), ("offset", "5")],
        &[("location", "w"), ("offset", "-1")],
        &[("location", "w"), ("offset", "18446744073709551615")],
        &[("location", "w"), ("length", "4")],
    ] {
        assert_eq!(read(entries).unwrap_err().code(), "Q0408", "{entries:?}");
    }
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("w"), [0u8; 8]).unwrap();
        std::os::unix::fs::symlink(outside.path().join("w"), dir.path().join("away")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("w"), dir.path().join("here")).unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read(&[("location", "here")]).is_ok());
        let problem = |location| read(&[("location", location)]).unwrap_err().to_string();
        assert!(problem("away").contains("leads out of"), "{}", problem("away"));
        assert!(problem("pipe").contains("is not a file"), "{}", problem("pipe"));
    }
    let mut huge = external(&[("location", "w")]);
    huge.dims = vec![1 << 50];
    let external = ExternalData::below(dir.path());
    assert_eq!(tensor::decode("t", &huge, &external).unwrap_err().code(), "Q0408");
}

fn weights(sizes: &[usize]) -> ModelProto {
    let weight = |(at, &size): (usize, &usize)| {
        tensor::encode(Some(&format!("w{at}")), &Tensor::vector((0..size).map(|v| v as f32).collect()))
    };
    let initializer = sizes.iter().enumerate().map(weight).collect();
    let graph = Some(GraphProto { initializer, ..GraphProto::default() });
    ModelProto { graph, ..ModelProto::default() }
}

fn listing(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn large_models_round_trip_through_a_data_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.onnx");
    let model = weights(&[300, 1, 2000, 0]);
    emit::persist(emit::prepare_below(&path, model.clone(), 1000).unwrap()).unwrap();
    assert_eq!(listing(dir.path()), ["net.onnx", "net.onnx.data"]);
    assert_eq!(std::fs::metadata(dir.path().join("net.onnx.data")).unwrap().len(), 4096 + 8000);

    let file = ModelFile::open(&path).unwrap();
    let small = decode(model.encode_to_vec()).unwrap();
    assert_eq!(initializers(&file).unwrap(), initializers(&small).unwrap());
}

#[test]
fn models_that_fit_are_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.onnx");
    std::fs::write(&path, "old").unwrap();
    let model = weights(&[300]);
    emit::write(&path, model.clone()).unwrap();
    assert_eq!(listing(dir.path()), ["net.onnx"]);
    assert_eq!(std::fs::read(&path).unwrap(), model.encode_to_vec());
}

#[test]
fn a_failed_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Thousands of small initializers are too large even when the large ones leave.
    let error =
        emit::prepare_below(&dir.path().join("net.onnx"), weights(&[10; 100]), 1000).map(drop).unwrap_err();
    assert_eq!(error.code(), "Q0409");
    assert!(listing(dir.path()).is_empty());
    assert!(emit::write(&dir.path().join("missing/net.onnx"), weights(&[1])).is_err());
}
