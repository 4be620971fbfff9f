//! One run of the compiler: from a graph and the user's wishes through a pipeline to the result.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::diag::{Diagnostic, Diagnostics, Sources, WithPlaces};
use crate::ir::{Graph, Range, ValueId};
use crate::ops::Registry;
use crate::ops::fixed::LayerConfig;
use crate::quant::{
    AkidaOptions, CalibrateOptions, FixedPointOptions, QuantError, QuantizeReport, RandomSamples,
    SampleFiles, Samples, already_quantized, device_limits,
};
use crate::rewrite::{Applied, Ruleset};
use crate::syntax::pipeline::PassCall;
use crate::tensor::{Shape, TensorType};

use super::{Calibration, Context, Failure, PassError, Step, Trace, idle, retype, run};

/// Random samples drawn when no number is asked for.
const RANDOM_SAMPLES: usize = 1024;

/// What calibration draws on.
pub enum Source {
    None,
    Files(Vec<PathBuf>),
    Random { seed: u64 },
    Ranges { ranges: BTreeMap<String, Range>, file: String },
}

/// The wishes of one run.
pub struct Compile<'a> {
    pub source: Source,
    /// Sizes of inputs, by name.
    pub input_shapes: Vec<(String, Vec<usize>)>,
    pub calibrate: CalibrateOptions,
    pub akida: AkidaOptions,
    pub fixed_point: FixedPointOptions,
    /// What the device's tools do not take is an error, not a warning.
    pub strict: bool,
    /// The report says how far the values of each layer are from the float ones, on the samples.
    pub measure: bool,
    pub user_rules: &'a [Ruleset],
    /// Where the texts of rule files are kept, so that findings can show them.
    pub sources: &'a mut Sources,
    /// Told the number of samples done, and of all.
    pub progress: Box<dyn FnMut(usize, usize) + 'a>,
    /// Takes what explanations need, also where the run fails.
    pub trace: Option<&'a mut Trace>,
}

impl<'a> Compile<'a> {
    /// No wishes but the user's rules.
    pub fn with_rules(user_rules: &'a [Ruleset], sources: &'a mut Sources) -> Self {
        Self {
            source: Source::None,
            input_shapes: Vec::new(),
            calibrate: CalibrateOptions::default(),
            akida: AkidaOptions::default(),
            fixed_point: FixedPointOptions::default(),
            strict: false,
            measure: false,
            user_rules,
            sources,
            progress: Box::new(|_, _| {}),
            trace: None,
        }
    }
}

/// The result of one run.
pub struct Outcome {
    pub graph: Graph,
    /// Ranges of the values that were calibrated, and of the float graph that was quantized.
    pub ranges: BTreeMap<String, Range>,
    /// What each layer of QuantizeML was quantized with, by node name.
    pub layer_config: BTreeMap<String, LayerConfig>,
    /// Present if the graph was quantized.
    pub report: Option<QuantizeReport>,
    /// The rules that were applied.
    pub rewrites: Vec<Applied>,
    pub warnings: Diagnostics,
}

/// Runs the calls in order, the last one of pass `until` last. `after` sees the graph after each pass.
pub fn compile(
    mut graph: Graph,
    registry: &Registry,
    calls: &[PassCall],
    wishes: Compile,
    until: Option<&str>,
    after: &mut dyn FnMut(&Step, &Graph),
) -> Result<Outcome, Failure> {
    let Compile {
        source,
        input_shapes,
        calibrate,
        akida,
        fixed_point,
        strict,
        measure,
        user_rules,
        sources,
        mut progress,
        trace,
    } = wishes;
    set_shapes(&mut graph, registry, &input_shapes).map_err(Failure::Input)?;
    let calls = match until.and_then(|name| calls.iter().rposition(|call| call.name == name)) {
        Some(last) => &calls[..=last],
        None => calls,
    };
    // Integers are neither prepared nor calibrated: they are quantized again.
    let again = already_quantized(&graph).is_some() && !fixed_point.config.is_empty();
    let calls = match calls.iter().rposition(|call| call.name == "quantize" && again) {
        Some(last) => &calls[last..],
        None => calls,
    };
    let seed = match source {
        Source::Random { seed } => Some(seed),
        Source::None | Source::Files(_) | Source::Ranges { .. } => None,
    };
    let calibration = match source {
        _ if !calls.iter().any(|call| call.name == "calibrate") => Calibration::None,
        Source::None => Calibration::None,
        Source::Ranges { ranges, file } => Calibration::Ranges { ranges, file },
        Source::Files(paths) => Calibration::Samples(open_files(&graph, &paths).map_err(Failure::Input)?),
        Source::Random { seed } => {
            let count = calibrate.num_samples.unwrap_or(RANDOM_SAMPLES);
            Calibration::Samples(random(&graph, count, seed).map_err(Failure::Input)?)
        }
    };
    let mut warnings = Diagnostics::default();
    if let (Calibration::Samples(samples), Some(seed)) = (&calibration, seed) {
        let message =
            format!("no samples are given: ranges come from {} random inputs (seed {seed})", samples.count());
        warnings.push(
            Diagnostic::warning("Q0622", message).note("real inputs give better ranges: --samples FILE.npy"),
        );
    }
    let of = match &calibration {
        Calibration::Samples(samples) => {
            fixed_point.epochs * calibrate.num_samples.unwrap_or(usize::MAX).min(samples.count())
        }
        Calibration::None | Calibration::Ranges { .. } => 0,
    };
    let mut cx = Context {
        registry,
        sources,
        user_rules,
        calibration,
        calibrate,
        akida,
        fixed_point,
        measure,
        layer_config: BTreeMap::new(),
        progress: &mut |done| progress(done, of),
        ranges: BTreeMap::new(),
        warnings,
        rewrites: Vec::new(),
        report: None,
        fusion: None,
        trace,
        rules: Vec::new(),
    };
    let result = run(&mut graph, calls, &mut cx, after);
    let Context { ranges, layer_config, mut warnings, rewrites, report, trace, .. } = cx;
    // An explanation tells it of each rule.
    if result.is_ok() && until.is_none() && trace.is_none() {
        idle::warn(user_rules, &rewrites, &mut warnings);
    }
    let mut result = result;
    if result.is_ok() && report.is_some() {
        let limits = device_limits(&graph, registry);
        if strict && !limits.0.is_empty() {
            result = Err(Failure::Input(limits.as_errors()));
        } else {
            warnings.extend(limits);
        }
    }
    match result {
        Ok(()) => Ok(Outcome { graph, ranges, layer_config, report, rewrites, warnings }),
        // What was noticed on the way may explain the fault.
        Err(Failure::Input(found)) => {
            let mut all = warnings;
            all.extend(found);
            Err(Failure::Input(all))
        }
        Err(bug) => Err(bug),
    }
}

/// The one input of the graph.
fn only_input(graph: &Graph) -> Result<ValueId, QuantError> {
    let inputs: Vec<ValueId> = graph.inputs().collect();
    match inputs[..] {
        [input] => Ok(input),
        _ => Err(QuantError::Inputs { found: inputs.len() }),
    }
}

fn set_shapes(
    graph: &mut Graph,
    registry: &Registry,
    shapes: &[(String, Vec<usize>)],
) -> Result<(), Diagnostics> {
    let mut types = BTreeMap::new();
    for (name, sizes) in shapes {
        let input = graph.inputs().find(|&input| *graph.value(input).name == **name);
        let Some(input) = input else {
            let known = graph.inputs().map(|input| graph.value(input).name.to_string()).collect();
            return Err(WithPlaces::new(PassError::InputName { name: name.clone(), known }).into());
        };
        let ty = graph.ty(input);
        if !ty.shape.admits(sizes) {
            let (shape, sizes) = (ty.shape.clone(), sizes.clone());
            return Err(WithPlaces::new(PassError::InputShape { name: name.clone(), shape, sizes }).into());
        }
        types.insert(input, TensorType { shape: Shape::fixed(sizes), grid: ty.grid.clone() });
    }
    if types.is_empty() {
        return Ok(());
    }
    retype(graph, registry, &types).map_err(|error| error.into())
}

fn open_files(graph: &Graph, paths: &[PathBuf]) -> Result<Box<dyn Samples>, Diagnostics> {
    let fail = |error: QuantError| Diagnostics::from(WithPlaces::new(error));
    let value = graph.value(only_input(graph).map_err(fail)?);
    let files = SampleFiles::open(paths, &value.name, value.ty.storage(), &value.ty.shape).map_err(fail)?;
    Ok(Box::new(files))
}

fn random(graph: &Graph, count: usize, seed: u64) -> Result<Box<dyn Samples>, Diagnostics> {
    let fail = |error: QuantError| Diagnostics::from(WithPlaces::new(error));
    let value = graph.value(only_input(graph).map_err(fail)?);
    let samples = RandomSamples::new(&value.name, value.ty.storage(), &value.ty.shape, count, seed);
    Ok(Box::new(samples.map_err(fail)?))
}
