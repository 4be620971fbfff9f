//! Pipelines of passes over one graph.
//!
//! Guarantees: a pipeline is text and prints back; the graph is verified after every pass; a
//! graph that a pass broke is a bug of qirc, reported with the graph before it.

mod apply_weights;
mod builtin;
mod compile;
mod explain;
mod expose_state;
mod frames;
mod identity_convs;
mod idle;
mod insert;
mod mad_normalization;
mod retype;
mod split_depthwise;
mod trace;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::diag::{Diagnostic, Diagnostics, Report, Sources, Span, WithPlaces};
use crate::ir::{Graph, Range};
use crate::ops::Registry;
use crate::ops::fixed::LayerConfig;
use crate::quant::{
    AkidaOptions, CalibrateOptions, FixedPointOptions, QuantizeReport, Samples, already_quantized,
};
use crate::rewrite::{Applied, Ruleset};
use crate::syntax::pipeline::PassCall;
use crate::tensor::Shape;
use crate::verify::verify;

use builtin::Fusion;
pub use builtin::{PIPELINES, PassInfo, named_pipeline, passes};
pub use compile::{Compile, Outcome, Source, compile};
pub use explain::{Explain, explain_rules};
use retype::retype;
pub use trace::{PassTrace, RangeSource, RulesTrace, Trace};

/// A predicate on graphs, checked before and after passes that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Any,
    /// No integer layer.
    Float,
    /// Float, and the input and some value computed from it have a range.
    Calibrated,
    /// The input runs into an `InputQuantizer`, or becomes fixed-point numbers.
    Quantized,
}

impl Stage {
    fn holds(self, graph: &Graph) -> bool {
        let quantized = || already_quantized(graph).is_some();
        match self {
            Stage::Any => true,
            Stage::Float => !quantized(),
            Stage::Calibrated => {
                !quantized() && graph.values().any(|value| graph.value(value).range.is_some())
            }
            Stage::Quantized => quantized(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Stage::Any => "any graph",
            Stage::Float => "a float graph",
            Stage::Calibrated => "a float graph with calibrated ranges",
            Stage::Quantized => "a quantized graph",
        }
    }
}

/// A transformation of the whole graph.
pub trait Pass {
    fn requires(&self) -> Stage;
    fn ensures(&self) -> Stage;
    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics>;
}

/// What passes share: the operators, the user's rules and wishes, and what they tell.
pub struct Context<'a> {
    pub registry: &'a Registry,
    /// Where the texts of rule files are kept, so that findings can show them.
    pub sources: &'a mut Sources,
    /// Rulesets of the user's rule files, in the order given.
    pub user_rules: &'a [Ruleset],
    pub calibration: Calibration,
    pub calibrate: CalibrateOptions,
    pub akida: AkidaOptions,
    pub fixed_point: FixedPointOptions,
    /// The report is to say how far values are from the float ones.
    pub measure: bool,
    /// What each layer of QuantizeML was quantized with, by node name.
    pub layer_config: BTreeMap<String, LayerConfig>,
    /// Told the number of samples done during calibration.
    pub progress: &'a mut dyn FnMut(usize),
    /// Ranges of all values that were calibrated, also of those that layers took in since, and of
    /// the float graph that `quantize` saw.
    pub ranges: BTreeMap<String, Range>,
    pub warnings: Diagnostics,
    /// Applications of rules, in order.
    pub rewrites: Vec<Applied>,
    pub report: Option<QuantizeReport>,
    /// The last fusion, if rules of the user took part.
    pub(super) fusion: Option<Fusion>,
    /// Kept only for those who ask.
    pub trace: Option<&'a mut Trace>,
    /// The runs of rules of the pass under way, for the trace.
    rules: Vec<RulesTrace>,
}

/// What `calibrate` draws on.
pub enum Calibration {
    None,
    Samples(Box<dyn Samples>),
    Ranges { ranges: BTreeMap<String, Range>, file: String },
}

#[derive(Clone, Debug, Error)]
pub enum PassError {
    #[error("there is no pass `{name}`")]
    Unknown { name: String },
    #[error("pass `{pass}` has no option `{option}`")]
    UnknownOption { pass: String, option: String, known: &'static [&'static str] },
    #[error("option `{option}` of pass `{pass}` cannot be `{value}`")]
    OptionValue { pass: String, option: String, value: String, expected: String },
    #[error("pass `{pass}` needs {needed}")]
    Requires { pass: String, needed: &'static str },
    #[error("there are neither samples nor ranges to calibrate with")]
    NothingToCalibrate,
    #[error("the network has no input `{name}`")]
    InputName { name: String, known: Vec<String> },
    #[error("input `{name}` has shape {shape}, it cannot become {sizes:?}")]
    InputShape { name: String, shape: Shape, sizes: Vec<usize> },
    #[error("neither the network nor what it becomes has a value `{name}`")]
    UnknownValue { name: String, similar: Option<String> },
    #[error("pass `{pass}` needs samples")]
    NoSamples { pass: &'static str },
    #[error("an output quantizer cannot stand behind `{name}`, which {links} operators and outputs read")]
    SeveralLinks { name: String, links: usize },
    #[error("`{node}` cannot run frame by frame: {why}")]
    Conv3d { node: String, why: String },
    #[error("input `{input}` holds {frames} frames, a network over frames takes one at a time")]
    Clip { input: String, frames: usize },
    #[error("pass `{pass}` left a graph that is not valid; this is a bug in qirc")]
    Broken { pass: String },
}

impl Report for PassError {
    fn code(&self) -> &'static str {
        match self {
            PassError::Unknown { .. } => "Q0701",
            PassError::UnknownOption { .. } => "Q0702",
            PassError::OptionValue { .. } => "Q0703",
            PassError::Requires { .. } => "Q0704",
            PassError::NothingToCalibrate => "Q0705",
            PassError::Broken { .. } => "Q0706",
            PassError::InputName { .. } => "Q0707",
            PassError::InputShape { .. } => "Q0708",
            PassError::UnknownValue { .. } => "Q0709",
            PassError::Conv3d { .. } => "Q0710",
            PassError::Clip { .. } => "Q0711",
            PassError::SeveralLinks { .. } => "Q0712",
            PassError::NoSamples { .. } => "Q0713",
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            PassError::Unknown { .. } => {
                let names: Vec<&str> = passes().iter().map(|pass| pass.name).collect();
                vec![format!("passes are: {}", names.join(", "))]
            }
            PassError::UnknownOption { known: [], .. } => {
                vec!["it has no options".to_owned()]
            }
            PassError::UnknownOption { known, .. } => vec![format!("its options are: {}", known.join(", "))],
            PassError::OptionValue { expected, .. } => vec![format!("expected {expected}")],
            PassError::NothingToCalibrate => vec![
                "`qirc compile` takes --samples FILE.npy or --ranges FILE.json, and any pipeline".to_owned(),
            ],
            PassError::InputName { known, .. } => vec![format!("its inputs are: {}", known.join(", "))],
            PassError::UnknownValue { similar, .. } => {
                similar.iter().map(|name| format!("did you mean `{name}`?")).collect()
            }
            PassError::Conv3d { .. } => vec![
                "the device convolves rows and columns of a frame, or each frame with those before it: write it as \
                 one after the other, causal in time"
                    .to_owned(),
            ],
            PassError::Clip { .. } => vec![
                "export the network with a time axis (axis 2) of 1 or left open; padding stands for the frames before"
                    .to_owned(),
            ],
            PassError::NoSamples { .. } => vec!["`qirc compile` takes --samples FILE.npy".to_owned()],
            PassError::SeveralLinks { .. } => {
                vec!["put it behind each of those that read it, or in front of the value".to_owned()]
            }
            PassError::Requires { .. } | PassError::Broken { .. } | PassError::InputShape { .. } => {
                Vec::new()
            }
        }
    }
}

/// What happened to the graph in one pass.
#[derive(Clone, Debug)]
pub struct Step {
    pub pass: String,
    pub time: Duration,
    pub verify: Duration,
    pub changed: bool,
}

/// Why a pipeline ended early.
#[derive(Debug)]
pub enum Failure {
    /// The input is at fault.
    Input(Diagnostics),
    /// A pass broke the graph. Holds what reproduces it: the graph before the pass, and its call.
    Bug { found: Diagnostics, before: Box<Graph>, pass: String },
}

/// Runs the calls in order. `after` sees the graph after each pass.
pub fn run(
    graph: &mut Graph,
    calls: &[PassCall],
    cx: &mut Context,
    after: &mut dyn FnMut(&Step, &Graph),
) -> Result<(), Failure> {
    let made: Vec<Box<dyn Pass>> =
        calls.iter().map(|call| builtin::make(call)).collect::<Result<_, _>>().map_err(Failure::Input)?;
    for (call, pass) in calls.iter().zip(&made) {
        if !pass.requires().holds(graph) {
            if let Some(found) = already_quantized(graph) {
                return Err(Failure::Input(found.into()));
            }
            let error = PassError::Requires { pass: call.name.clone(), needed: pass.requires().words() };
            return Err(Failure::Input(at(error, call.span).into()));
        }
        let before = graph.clone();
        let start = Instant::now();
        pass.run(graph, cx).map_err(Failure::Input)?;
        let time = start.elapsed();
        let start = Instant::now();
        let valid = verify(graph, cx.registry).and_then(|()| {
            let holds = pass.ensures().holds(graph);
            if holds { Ok(()) } else { Err(Diagnostics::default()) }
        });
        if let Err(mut found) = valid {
            found.push(at(PassError::Broken { pass: call.name.clone() }, call.span));
            return Err(Failure::Bug { found, before: Box::new(before), pass: call.to_string() });
        }
        let changed = !graph.same_as(&before);
        if let Some(trace) = &mut cx.trace {
            let rules = std::mem::take(&mut cx.rules);
            trace.passes.push(PassTrace { call: call.to_string(), before, after: graph.clone(), rules });
        }
        after(&Step { pass: call.to_string(), time, verify: start.elapsed(), changed }, graph);
    }
    Ok(())
}

fn at(error: PassError, span: Span) -> Diagnostic {
    WithPlaces::new(error).at(span, "").into()
}
