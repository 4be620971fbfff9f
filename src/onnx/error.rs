//! What can be wrong with a model file.

use thiserror::Error;

use crate::diag::Report;

/// An error of this room. `path` and `tensor` are as the user and the file write them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OnnxError {
    #[error("cannot read {path}: {cause}")]
    Read { path: String, cause: String },

    #[error("{path} is not a whole ONNX model: {cause}")]
    Decode { path: String, cause: String },

    #[error("tensor `{tensor}` has element type {element_type}, which qirc does not store")]
    ElementType { tensor: String, element_type: String },

    #[error("tensor `{tensor}` has sizes {sizes}, which no tensor can have")]
    Sizes { tensor: String, sizes: String },

    #[error("tensor `{tensor}` of {sizes} {element_type} needs {wanted} {unit}, the file has {found}")]
    DataLength {
        tensor: String,
        sizes: String,
        element_type: &'static str,
        unit: &'static str,
        wanted: usize,
        found: usize,
    },

    #[error("tensor `{tensor}` has element {value}, outside of its type {element_type}")]
    ElementRange { tensor: String, element_type: &'static str, value: String },

    #[error("tensor `{tensor}` is stored in segments")]
    Segments { tensor: String },

    #[error("tensor `{tensor}`: its external data {problem}")]
    External { tensor: String, problem: String },

    #[error("cannot write {path}: {cause}")]
    Write { path: String, cause: String },
}

impl Report for OnnxError {
    fn code(&self) -> &'static str {
        match self {
            OnnxError::Read { .. } => "Q0401",
            OnnxError::Decode { .. } => "Q0402",
            OnnxError::ElementType { .. } => "Q0403",
            OnnxError::Sizes { .. } => "Q0404",
            OnnxError::DataLength { .. } => "Q0405",
            OnnxError::ElementRange { .. } => "Q0406",
            OnnxError::Segments { .. } => "Q0407",
            OnnxError::External { .. } => "Q0408",
            OnnxError::Write { .. } => "Q0409",
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            OnnxError::ElementType { .. } => vec!["convert the model to float32 before compiling it".into()],
            OnnxError::Segments { .. } => vec!["store the tensor whole, for example by onnx.save".into()],
            OnnxError::External { .. } => {
                vec!["external data lies beside the model, or below its directory".into()]
            }
            _ => Vec::new(),
        }
    }
}
