//! What can be wrong with samples, ranges and the network as a whole.

use thiserror::Error;

use crate::diag::{Report, nearest};
use crate::interp::InterpError;
use crate::ops::OpError;
use crate::tensor::npy::NpyError;
use crate::tensor::{DType, Shape};

#[derive(Debug, Error)]
pub enum QuantError {
    #[error("{file}: {error}")]
    Npy { file: String, error: NpyError },
    #[error("{file}: {error}")]
    Zip { file: String, error: String },
    #[error("{file} holds no array")]
    EmptyArchive { file: String },
    #[error("there are no samples")]
    NoSamples,
    #[error("samples of {file} are {found_dtype}{found:?}, input `{input}` is {dtype}{expected}")]
    SampleType {
        file: String,
        input: String,
        dtype: DType,
        expected: Shape,
        found_dtype: DType,
        found: Vec<usize>,
    },
    #[error("{file} is an array of {found:?}: its samples have no elements")]
    EmptySamples { file: String, found: Vec<usize> },
    #[error("a random input of shape {sizes:?} is too large")]
    RandomSize { sizes: Vec<usize> },
    #[error("on these samples no value of the network is finite throughout")]
    NoFiniteValue,
    #[error("the network has {found} inputs; calibration and the akida scheme take networks with one")]
    Inputs { found: usize },
    #[error("input `{input}` has shape {shape}: random samples need every size but the first")]
    RandomShape { input: String, shape: Shape },
    #[error(transparent)]
    Interp(#[from] InterpError),
    #[error(transparent)]
    Op(#[from] OpError),
    #[error("{file}: {error}")]
    Ranges { file: String, error: String },
    #[error("no value of the network has a range in {file}")]
    ForeignRanges { file: String },
    #[error("input `{input}` has no calibrated range")]
    NoInputRange { input: String },
    #[error("%{value} has no calibrated range, and an output quantizer stands there")]
    NoRange { value: String },
    #[error("the configuration names `{name}`, which is no layer of the network that is quantized")]
    ForeignConfig { name: String, known: Vec<String> },
    #[error("the configuration of `{layer}` has an output quantizer, which {op} does not have")]
    NoOutputQuantizer { layer: String, op: String },
    #[error("{file}: {error}")]
    Arrays { file: String, error: String },
    #[error("{file}: {error}")]
    Config { file: String, error: String },
    #[error("no part of the network can be quantized")]
    NothingQuantized { reasons: Vec<String> },
    #[error("the network is quantized already: `{node}` is an integer layer, {op}")]
    AlreadyQuantized { node: String, op: String },
    #[error("the network is quantized already, and the configuration has no entry for {}", layers.join(", "))]
    NoConfig { layers: Vec<String> },
    #[error("`{layer}` cannot be quantized again: {why}")]
    NotAgain { layer: String, why: String },
    #[error("`{name}` names no value of the network")]
    UnknownUntil { name: String },
}

impl Report for QuantError {
    fn code(&self) -> &'static str {
        match self {
            QuantError::Npy { .. } => "Q0601",
            QuantError::Zip { .. } => "Q0602",
            QuantError::EmptyArchive { .. } => "Q0603",
            QuantError::NoSamples => "Q0604",
            QuantError::SampleType { .. } => "Q0605",
            QuantError::Inputs { .. } => "Q0606",
            QuantError::RandomShape { .. } => "Q0607",
            QuantError::Interp(error) => error.code(),
            QuantError::Op(error) => error.code(),
            QuantError::Ranges { .. } => "Q0608",
            QuantError::ForeignRanges { .. } => "Q0609",
            QuantError::NoInputRange { .. } => "Q0610",
            QuantError::NothingQuantized { .. } => "Q0611",
            QuantError::AlreadyQuantized { .. } => "Q0612",
            QuantError::UnknownUntil { .. } => "Q0613",
            QuantError::NoFiniteValue => "Q0614",
            QuantError::RandomSize { .. } => "Q0615",
            QuantError::EmptySamples { .. } => "Q0616",
            QuantError::NoRange { .. } => "Q0618",
            QuantError::ForeignConfig { .. } => "Q0619",
            QuantError::Config { .. } => "Q0625",
            QuantError::Arrays { .. } => "Q0626",
            QuantError::NoOutputQuantizer { .. } => "Q0627",
            QuantError::NoConfig { .. } => "Q0628",
            QuantError::NotAgain { .. } => "Q0629",
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            QuantError::SampleType { file, .. } if file.contains(".npz/") => {
                vec!["every array of an .npz is taken as samples: leave labels out of it".to_owned()]
            }
            QuantError::SampleType { dtype, found_dtype, .. } if dtype != found_dtype => {
                vec![format!("save them as {dtype} (in NumPy: x.astype(...))")]
            }
            QuantError::SampleType { .. } => vec!["samples are stacked along the first axis".to_owned()],
            QuantError::RandomShape { input, .. } => {
                vec![format!("give --samples, or --input-shape {input}=1,...")]
            }
            QuantError::ForeignConfig { name, known } => {
                match nearest(name, known.iter().map(String::as_str)) {
                    Some(meant) => vec![format!("did you mean `{meant}`?")],
                    None => vec![format!("layers are: {}", known.join(", "))],
                }
            }
            QuantError::NoRange { .. } | QuantError::NoInputRange { .. } => {
                vec!["calibrate with --samples, or give --ranges".to_owned()]
            }
            QuantError::ForeignRanges { .. } => {
                vec![
                    "ranges are keyed by value name; `qirc calibrate` writes them for this network"
                        .to_owned(),
                ]
            }
            QuantError::AlreadyQuantized { op, .. } if op == "to_fixed_point" => {
                vec!["a configuration for all of its layers quantizes it again: --scheme fixed-point --config FILE".to_owned()]
            }
            QuantError::NoConfig { .. } => {
                let all =
                    "a layer that stays as it is needs its entry, too: --emit config writes all of them";
                vec![all.to_owned()]
            }
            QuantError::NothingQuantized { reasons } => reasons.clone(),
            QuantError::RandomSize { .. } => {
                vec!["give --samples, a smaller --batch-size, or --input-shape".to_owned()]
            }
            QuantError::NoFiniteValue => vec!["the samples hold inf or NaN: clean them".to_owned()],
            QuantError::Interp(error) => error.hints(),
            QuantError::Op(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
