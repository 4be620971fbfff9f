//! What can be wrong with a Keras model.

use thiserror::Error;

use crate::diag::Report;

/// An error of this room. Layers and settings are as the model writes them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KerasError {
    #[error("cannot read {path}: {cause}")]
    Read { path: String, cause: String },

    #[error("{path} is not a whole Keras model: {cause}")]
    Container { path: String, cause: String },

    #[error("the architecture cannot be as it is written: {problem}")]
    Architecture { problem: String },

    #[error("layers of class `{class}` are not supported")]
    Layer { class: String, way: Option<&'static str> },

    #[error("setting `{setting}` of class `{class}` {problem}")]
    Setting { class: String, setting: String, problem: String },

    #[error("weight `{weight}` {problem}")]
    Weight { weight: String, problem: String },

    #[error("input `{name}` {problem}")]
    Input { name: String, problem: String },

    #[error("class `{class}` needs {what}, which the model leaves open")]
    OpenSize { class: String, what: &'static str },

    #[error("a call of class `{class}` {problem}")]
    Call { class: String, problem: String },

    #[error("quantized layers have not been calibrated: {}", layers.join(", "))]
    NotCalibrated { layers: Vec<String> },
}

impl Report for KerasError {
    fn code(&self) -> &'static str {
        match self {
            KerasError::Read { .. } => "Q0901",
            KerasError::Container { .. } => "Q0902",
            KerasError::Architecture { .. } => "Q0903",
            KerasError::Layer { .. } => "Q0904",
            KerasError::Setting { .. } => "Q0905",
            KerasError::Weight { .. } => "Q0906",
            KerasError::Input { .. } => "Q0907",
            KerasError::OpenSize { .. } => "Q0908",
            KerasError::Call { .. } => "Q0909",
            KerasError::NotCalibrated { .. } => "Q0910",
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            KerasError::Layer { way, .. } => {
                vec![way.unwrap_or("build the model from the layers of docs/keras.md").to_owned()]
            }
            KerasError::OpenSize { .. } => {
                vec!["say the sizes of the inputs: --input-shape NAME=1,H,W,C".to_owned()]
            }
            KerasError::NotCalibrated { .. } => {
                let calibrate =
                    "calibrate them in QuantizeML, or import the float model and quantize it with --samples";
                vec![calibrate.to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
