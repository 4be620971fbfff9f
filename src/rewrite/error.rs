//! What can be wrong with rules, and with running them.

use thiserror::Error;

use crate::diag::Report;
use crate::ops::OpError;

/// What of a layer's declaration is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerFault {
    Name,
    Missing,
    Onnx,
    Operand,
    Attr,
    Storage,
    Body,
    Cost,
}

impl LayerFault {
    fn code(self) -> &'static str {
        match self {
            LayerFault::Name => "Q0530",
            LayerFault::Missing => "Q0531",
            LayerFault::Onnx => "Q0532",
            LayerFault::Operand => "Q0533",
            LayerFault::Attr => "Q0534",
            LayerFault::Storage => "Q0535",
            LayerFault::Body => "Q0536",
            LayerFault::Cost => "Q0537",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Error)]
pub enum RewriteError {
    #[error("the {what} `{name}` is defined twice")]
    Duplicate { what: &'static str, name: String },
    #[error("{0}")]
    Op(OpError),
    #[error("there is no helper `{name}`")]
    UnknownHelper { name: String, similar: Option<String> },
    #[error("`{name}` is not bound on the left side")]
    Unbound { name: String, similar: Option<String>, known: Vec<String> },
    #[error("{what} takes {expected}, found {found}")]
    Count { what: String, expected: String, found: usize },
    #[error("expected {expected}, found {found}")]
    Kind { expected: String, found: String },
    #[error("`{name}` is bound but never read")]
    Unused { name: String },
    #[error("the pattern says nothing about `{attr}`, which `{op}` always has")]
    OpenAttr { op: String, attr: String },
    #[error("{what} belongs to `driver greedy`, not to `driver saturate`")]
    GreedyOnly { what: &'static str },
    #[error("ruleset `{name}` is lossy and cannot be saturated: equality is transitive, error is not")]
    LossySaturated { name: String },
    #[error("{0}")]
    Shape(String),
    #[error("no rule says how {chain} becomes `{layer}`")]
    NoChain { chain: String, layer: String },
    #[error("{message}")]
    Layer { fault: LayerFault, message: String, hint: String },
    #[error("the rules make this value depend on itself")]
    Circular,
    #[error("a constant cannot be computed: {0}")]
    Constant(OpError),
    #[error("there is no value `{name}` to stop at")]
    NoUntil { name: String },
    #[error("there is no rule here")]
    Nothing,
    #[error("{path}: {error}")]
    Use { path: String, error: String },
}

impl Report for RewriteError {
    fn code(&self) -> &'static str {
        match self {
            RewriteError::Duplicate { .. } => "Q0501",
            RewriteError::Op(_) => "Q0502",
            RewriteError::UnknownHelper { .. } => "Q0503",
            RewriteError::Unbound { .. } => "Q0504",
            RewriteError::Count { .. } => "Q0505",
            RewriteError::Kind { .. } => "Q0506",
            RewriteError::Unused { .. } => "Q0507",
            RewriteError::OpenAttr { .. } => "Q0508",
            RewriteError::GreedyOnly { .. } => "Q0509",
            RewriteError::LossySaturated { .. } => "Q0510",
            RewriteError::Shape(_) => "Q0511",
            RewriteError::NoChain { .. } => "Q0512",
            RewriteError::Use { .. } => "Q0513",
            RewriteError::Layer { fault, .. } => fault.code(),
            RewriteError::Circular => "Q0523",
            RewriteError::Constant(_) => "Q0524",
            RewriteError::NoUntil { .. } => "Q0525",
            RewriteError::Nothing => "Q0527",
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            RewriteError::Op(error) => error.hints(),
            RewriteError::Unbound { name, similar: None, .. } if storage(name).is_some() => {
                vec![format!("a storage is called like `{}` here", storage(name).unwrap_or_default())]
            }
            RewriteError::Unbound { similar: None, known, .. } if !known.is_empty() => {
                let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                vec![format!("what the left side binds: {}", known.join(", "))]
            }
            RewriteError::Layer { hint, .. } => vec![hint.clone()],
            RewriteError::UnknownHelper { similar, .. } | RewriteError::Unbound { similar, .. } => {
                similar.iter().map(|name| format!("did you mean `{name}`?")).collect()
            }
            RewriteError::Unused { name } => match storage(name) {
                Some(meant) => vec![format!("this binds a new name; the storage is called `{meant}`")],
                None => vec![format!("write `_{name}` if that is meant")],
            },
            RewriteError::OpenAttr { attr, .. } => {
                vec![format!("bind it (`{attr} = v`), give its value, or write `..rest`")]
            }
            RewriteError::NoChain { .. } => vec!["write the pattern in its general form".to_owned()],
            RewriteError::LossySaturated { .. } => vec!["write `driver greedy`".to_owned()],
            RewriteError::GreedyOnly { .. } => vec!["write `driver greedy`, or leave it out".to_owned()],
            RewriteError::Duplicate { what: "name" | "rule" | "ruleset", .. } => {
                vec!["give one of them another name".to_owned()]
            }
            RewriteError::Duplicate { .. } => vec!["leave one of them out".to_owned()],
            RewriteError::Nothing => {
                vec![
                    "rules stand in sets: `ruleset name { contract real driver saturate rule … }`".to_owned(),
                ]
            }
            _ => Vec::new(),
        }
    }
}

/// The storage that other languages call so.
fn storage(name: &str) -> Option<&'static str> {
    Some(match name {
        "float" | "float32" | "fp32" | "single" => "f32",
        "double" | "float64" | "fp64" => "f64",
        "int8" => "i8",
        "uint8" => "u8",
        "int16" => "i16",
        "uint16" => "u16",
        "int" | "int32" => "i32",
        "uint" | "uint32" => "u32",
        "long" | "int64" => "i64",
        "uint64" => "u64",
        "boolean" => "bool",
        _ => return None,
    })
}
