//! What can be wrong with one operator node.

use thiserror::Error;

use super::fixed;
use crate::diag::{Report, nearest};

#[derive(Clone, Debug, PartialEq, Error)]
pub enum OpError {
    #[error("there is no operator `{op}`")]
    UnknownOp { op: String, similar: Option<String> },
    #[error("`{op}` takes {expected} operands, found {found}")]
    Arity { op: String, expected: String, found: usize },
    #[error("`{op}` needs operand `{operand}`")]
    MissingOperand { op: String, operand: String },
    #[error("`{op}` has no attribute `{attr}`")]
    UnknownAttr { op: String, attr: String, known: Vec<String> },
    #[error("`{op}` of opset {opset} has no attribute `{attr}`: it is of another version")]
    AttrOfOtherVersion { op: String, attr: String, opset: i64 },
    #[error("`{op}` needs attribute `{attr}`")]
    MissingAttr { op: String, attr: String },
    #[error("attribute `{attr}` of `{op}` is {expected}, found {found}")]
    AttrKind { op: String, attr: String, expected: &'static str, found: &'static str },
    /// A numbered constraint of the operator's documentation does not hold.
    #[error("`{op}` {label}: {message}")]
    Constraint { op: String, label: &'static str, message: String },
    /// A condition of a declared layer does not hold.
    #[error("`{op}` is declared for operands and attributes with `{condition}`")]
    Condition { op: String, condition: String },
    /// Fixed-point numbers on these grids have no result.
    #[error("`{op}`: {error}")]
    FixedPoint { op: String, error: fixed::LayerError },
    /// A node of a model breaks the definition of its ONNX operator.
    #[error("ONNX `{op}`: {message}")]
    Invalid { op: String, message: String },
    /// Valid, but not something this compiler does.
    #[error("`{op}`: {what} is not supported")]
    Unsupported { op: String, what: String, way_out: Option<String> },
}

impl Report for OpError {
    fn code(&self) -> &'static str {
        match self {
            OpError::UnknownOp { .. } => "Q0301",
            OpError::Arity { .. } => "Q0302",
            OpError::MissingOperand { .. } => "Q0303",
            OpError::UnknownAttr { .. } | OpError::AttrOfOtherVersion { .. } => "Q0304",
            OpError::MissingAttr { .. } => "Q0305",
            OpError::AttrKind { .. } => "Q0306",
            OpError::Constraint { .. } | OpError::Condition { .. } => "Q0307",
            OpError::Unsupported { .. } => "Q0308",
            OpError::Invalid { .. } => "Q0309",
            OpError::FixedPoint { .. } => "Q0310",
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            OpError::UnknownOp { similar: Some(name), .. } => vec![format!("did you mean `{name}`?")],
            // Operators have small letters, and layers begin with a large one.
            OpError::UnknownOp { op, similar: None } if op.starts_with(|c: char| c.is_ascii_uppercase()) => {
                vec![format!(
                    "a layer of your own is declared in a rule file (`layer {op} {{ … }}`): --rules FILE"
                )]
            }
            OpError::UnknownAttr { op, known, .. } if known.is_empty() => {
                vec![format!("`{op}` has no attributes")]
            }
            OpError::UnknownAttr { attr, known, .. } => {
                match nearest(attr, known.iter().map(String::as_str)) {
                    Some(meant) => vec![format!("did you mean `{meant}`?")],
                    None => vec![format!("attributes are: {}", known.join(", "))],
                }
            }
            OpError::Constraint { op, label, .. } => {
                vec![format!("{label} is explained under `{op}` in docs/ops.md")]
            }
            OpError::Unsupported { way_out: Some(way_out), .. } => vec![way_out.clone()],
            _ => Vec::new(),
        }
    }
}
