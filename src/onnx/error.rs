//! What can be wrong with a model file.

use thiserror::Error;

use crate::diag::Report;
use crate::ops::ONNX_OPSET;

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

    #[error("{file} is of ONNX IR version {found}; versions 3 to {NEWEST_IR} are read")]
    IrVersion { file: String, found: i64 },

    #[error(
        "{file} imports opset {found} of ONNX's operators; opsets {OLDEST_OPSET} to {NEWEST_OPSET} are read"
    )]
    Opset { file: String, found: i64 },

    #[error("no opset of domain `{domain}` is imported")]
    NotImported { domain: String },

    #[error("domain `{domain}` is imported as opset {first} and as opset {second}")]
    ImportedTwice { domain: String, first: i64, second: i64 },

    #[error("two values are called `{name}`")]
    Duplicate { name: String },

    #[error("nothing makes the value `{name}`")]
    UnknownValue { name: String },

    #[error("nodes wait for each other: {nodes}")]
    Cycle { nodes: String },

    #[error("graph input `{name}` {problem}")]
    InputType { name: String, problem: String },

    #[error("graph output `{name}` is declared as {declared}, and is {found}")]
    OutputType { name: String, declared: String, found: String },

    #[error("the graph has no outputs")]
    NoOutputs,

    #[error("initializer `{name}` is sparse")]
    Sparse { name: String },

    #[error("operator `{op}` is not supported")]
    Operator { op: String, way: Option<&'static str> },

    #[error("operator `{op}` of opset {found} is not supported: its version of opset {since} and later is")]
    OperatorVersion { op: String, found: i64, since: i64 },

    #[error("attribute `{attr}` {problem}")]
    Attribute { attr: String, problem: String },

    #[error("output {position} (`{name}`) of `{op}` is not supported")]
    Output { op: String, position: usize, name: String },

    #[error("function `{function}` {problem}")]
    Function { function: String, problem: &'static str },

    #[error("graph input and output are both called `{name}`, and are different values")]
    InputIsOutput { name: String },
}

/// The newest IR version that is read: that of the checked-in protobuf code.
pub(super) const NEWEST_IR: i64 = super::proto::Version::IrVersion as i64;

/// The opsets of domain `""` whose operators are read, each by its own version rules.
pub(super) const OLDEST_OPSET: i64 = 7;
pub(super) const NEWEST_OPSET: i64 = 28;

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
            OnnxError::IrVersion { .. } => "Q0410",
            OnnxError::Opset { .. } => "Q0411",
            OnnxError::NotImported { .. } | OnnxError::ImportedTwice { .. } => "Q0412",
            OnnxError::Duplicate { .. } => "Q0413",
            OnnxError::UnknownValue { .. } => "Q0414",
            OnnxError::Cycle { .. } => "Q0415",
            OnnxError::InputType { .. } => "Q0416",
            OnnxError::NoOutputs => "Q0417",
            OnnxError::Sparse { .. } => "Q0418",
            OnnxError::Operator { .. } | OnnxError::OperatorVersion { .. } => "Q0419",
            OnnxError::Attribute { .. } => "Q0420",
            OnnxError::Output { .. } => "Q0421",
            OnnxError::Function { .. } => "Q0422",
            OnnxError::InputIsOutput { .. } => "Q0423",
            OnnxError::OutputType { .. } => "Q0424",
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            OnnxError::ElementType { .. } => vec!["convert the model to float32 before compiling it".into()],
            OnnxError::Segments { .. } => vec!["store the tensor whole, for example by onnx.save".into()],
            OnnxError::External { .. } => {
                vec!["external data lies beside the model, or below its directory".into()]
            }
            OnnxError::Opset { .. } | OnnxError::OperatorVersion { .. } => {
                vec![format!(
                    "convert the model, for example by onnx.version_converter to opset {ONNX_OPSET}"
                )]
            }
            OnnxError::Sparse { .. } => vec!["store it as a dense tensor".into()],
            OnnxError::Operator { way: Some(way), .. } => vec![(*way).into()],
            _ => Vec::new(),
        }
    }
}
