//! The passes by name, and the named pipelines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diag::{Diagnostic, Diagnostics, Label, WithPlaces};
use crate::ir::{Graph, NodeId};
use crate::quant::{
    CalibrateOptions, Calibrated, QuantizeReport, Quantized, already_quantized, apply_ranges, calibrate,
    calibrate_fixed_point, device_values, errors, keep_activation_ranges, quantize_akida,
    quantize_fixed_point, quantized_elsewhere, ranges_of, refused_layers,
};
use crate::rewrite::{self, Applied, Contract, Driver, Options, Refused, Ruleset, Spared};
use crate::syntax::pipeline::PassCall;
use crate::tensor::{Dim, Tensor, TensorType};

use super::apply_weights::ApplyWeights;
use super::expose_state::ExposeState;
use super::frames::Frames;
use super::identity_convs::IdentityConvs;
use super::insert::{InsertLayer, InsertRescaling, Inserted};
use super::mad_normalization::MadNormalization;
use super::retype::retype;
use super::split_depthwise::SplitDepthwise;
use super::{Calibration, Context, Pass, PassError, RangeSource, RulesTrace, Stage};

/// A pass as documentation and messages show it.
pub struct PassInfo {
    pub name: &'static str,
    pub options: &'static [&'static str],
    pub doc: &'static str,
}

/// Every pass, in the order in which they usually run.
pub fn passes() -> &'static [PassInfo] {
    &[
        PassInfo {
            name: "dynamic-batch",
            options: &[],
            doc: "Make the first axis of every input the symbol `N`.",
        },
        PassInfo {
            name: "frames",
            options: &[],
            doc: "Make a network of three-dimensional convolutions over clips one over frames, with state.",
        },
        PassInfo {
            name: "rules",
            options: &["files", "device", "toward", "driver"],
            doc: "Apply built-in rule files of `passes/`, named without `.qrules` and separated by spaces; \
                  saturated rulesets share one e-graph. The choice among equal forms looks ahead to what \
                  the files of `toward` would make of them. Files of `device` are applied too, but for values \
                  that stay float all the same. `driver` (`greedy` or `saturate`) overrides \
                  what the rulesets say.",
        },
        PassInfo {
            name: "user-rules",
            options: &[],
            doc: "Apply the rulesets of `--rules` that make no layers.",
        },
        PassInfo {
            name: "split-depthwise",
            options: &[],
            doc: "Take 5×5 and 7×7 depthwise convolutions of stride 2 apart into stride 1 and a 3×3 pick.",
        },
        PassInfo {
            name: "identity-convs",
            options: &[],
            doc: "Insert 1×1 identity convolutions where the device cannot do without.",
        },
        PassInfo {
            name: "calibrate",
            options: &["scheme"],
            doc: "Give every float value its range, from samples or from a file. With `scheme=fixed-point`, only \
                  those on which quantizers stand have one, a moving average over the batches.",
        },
        PassInfo {
            name: "fuse",
            options: &["files", "device", "driver", "repeat"],
            doc: "Fuse chains of operators into hardware layers: the greedy rulesets of `--rules` that make layers \
                  first, then the built-in rule files, with the saturated ones of `--rules` in the same e-graph. A \
                  layer needs the range of its result. Files of `device` make layers only for what runs on the \
                  device. With `repeat=never` a value \
                  that has several readers, or is an output, ends its chain, and nothing is computed twice.",
        },
        PassInfo {
            name: "quantize",
            options: &["scheme"],
            doc: "Compute the integers of every layer that hangs on the input. Where those of a layer that a rule of \
                  `--rules` made do not exist, the fusion before is done again without it. With `scheme=fixed-point` layers are those of \
                  QuantizeML, and a network of them gets other configurations.",
        },
        PassInfo {
            name: "remainder",
            options: &[],
            doc: "Take back in what stays float what only the device needed: identity convolutions, concatenations in \
                  pairs, and operators that are computed twice.",
        },
        PassInfo {
            name: "insert-layer",
            options: &["after", "kind"],
            doc: "Put an `OutputQuantizer` or a `Dequantizer` (`kind`) on every link behind the value or node `after`.",
        },
        PassInfo {
            name: "insert-rescaling",
            options: &["scale", "offset"],
            doc: "Multiply every input by `scale` and add `offset` (0 if it is not given).",
        },
        PassInfo {
            name: "apply-weights",
            options: &["file"],
            doc: "Take constants by their names from an `.npz` or `.safetensors` file, and say what did not match.",
        },
        PassInfo {
            name: "mad-normalization",
            options: &[],
            doc: "Put `LayerMadNormalization` in the place of `LayerNormalization`, with the gamma and beta that come nearest on \
                  the samples, and say how near.",
        },
        PassInfo {
            name: "expose-state",
            options: &[],
            doc: "Make states inputs and outputs of the network, for runtimes that run it frame by frame.",
        },
    ]
}

/// The named pipelines: their names and texts.
pub const PIPELINES: &[(&str, &str)] = &[
    ("akida", include_str!("../../passes/akida.pipeline")),
    ("akida-as-is", include_str!("../../passes/akida-as-is.pipeline")),
    ("fixed-point", include_str!("../../passes/fixed-point.pipeline")),
    ("fixed-point-mad", include_str!("../../passes/fixed-point-mad.pipeline")),
];

pub fn named_pipeline(name: &str) -> Option<&'static str> {
    PIPELINES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The pass of a call.
pub(super) fn make(call: &PassCall) -> Result<Box<dyn Pass>, Diagnostics> {
    let fail = |error: PassError| Diagnostics::from(super::at(error, call.span));
    let Some(info) = passes().iter().find(|info| info.name == call.name) else {
        return Err(fail(PassError::Unknown { name: call.name.clone() }));
    };
    if let Some(option) = call.options.iter().find(|option| !info.options.contains(&option.name.as_str())) {
        let (pass, name) = (call.name.clone(), option.name.clone());
        let error = PassError::UnknownOption { pass, option: name, known: info.options };
        return Err(super::at(error, option.span).into());
    }
    let given = |name: &str| call.options.iter().find(|option| option.name == name);
    let option = |name: &str| given(name).map(|option| option.value.as_str());
    let wrong = |name: &str, expected: &str| {
        let (pass, option, value) =
            (call.name.clone(), name.to_owned(), option(name).unwrap_or("").to_owned());
        let error = PassError::OptionValue { pass, option, value, expected: expected.to_owned() };
        Diagnostics::from(super::at(error, given(name).map_or(call.span, |option| option.span)))
    };
    let driver = match option("driver") {
        None => None,
        Some("greedy") => Some(Driver::Greedy),
        Some("saturate") => Some(Driver::Saturate),
        Some(_) => return Err(wrong("driver", "`greedy` or `saturate`")),
    };
    let once = match option("repeat") {
        None => false,
        Some("never") => true,
        Some(_) => return Err(wrong("repeat", "`never`")),
    };
    let fixed_point = match option("scheme") {
        None | Some("akida") => false,
        Some("fixed-point") => true,
        Some(_) => return Err(wrong("scheme", "`akida` or `fixed-point`")),
    };
    let needed = |name: &str, expected: &str| option(name).ok_or_else(|| wrong(name, expected));
    let number = |name: &str, default: Option<f32>| match (option(name), default) {
        (None, Some(default)) => Ok(default),
        (text, _) => text
            .and_then(|text| text.parse::<f32>().ok())
            .filter(|number| number.is_finite())
            .ok_or_else(|| wrong(name, "a number")),
    };
    Ok(match info.name {
        "insert-layer" => {
            let kind = option("kind").and_then(Inserted::named);
            let kind = kind.ok_or_else(|| wrong("kind", "`OutputQuantizer` or `Dequantizer`"))?;
            let after = needed("after", "the name of a value or node")?.to_owned();
            Box::new(InsertLayer { after, kind })
        }
        "insert-rescaling" => {
            Box::new(InsertRescaling { scale: number("scale", None)?, offset: number("offset", Some(0.0))? })
        }
        "apply-weights" => {
            Box::new(ApplyWeights { file: needed("file", "an .npz or .safetensors file")?.into() })
        }
        "dynamic-batch" => Box::new(DynamicBatch),
        "rules" | "fuse" => {
            let names = |name: &str| -> Result<Vec<&'static str>, Diagnostics> {
                let wishes = option(name).unwrap_or_default().split_whitespace();
                let find = |wish: &str| rewrite::BUILT_IN.iter().find(|(name, _)| *name == wish);
                let known: Vec<&str> = rewrite::BUILT_IN.iter().map(|(name, _)| *name).collect();
                wishes.map(|wish| find(wish).map(|(name, _)| *name)).collect::<Option<_>>().ok_or_else(|| {
                    wrong(name, &format!("names out of {}, separated by spaces", known.join(", ")))
                })
            };
            let (files, device, toward) = (names("files")?, names("device")?, names("toward")?);
            if files.is_empty() {
                return Err(wrong("files", "at least one name"));
            }
            match info.name {
                "rules" => Box::new(Rules { files, device, toward, driver }),
                _ => Box::new(Fuse { files, device, driver, once }),
            }
        }
        "user-rules" => Box::new(UserRules),
        "mad-normalization" => Box::new(MadNormalization),
        "expose-state" => Box::new(ExposeState),
        "remainder" => Box::new(Remainder),
        "frames" => Box::new(Frames),
        "split-depthwise" => Box::new(SplitDepthwise),
        "identity-convs" => Box::new(IdentityConvs),
        "calibrate" => Box::new(Calibrate { fixed_point }),
        _ if fixed_point => Box::new(QuantizeFixedPoint),
        _ => Box::new(Quantize),
    })
}

/// The symbol of the batch axis.
const BATCH: &str = "N";

struct DynamicBatch;

impl Pass for DynamicBatch {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let types = graph
            .inputs()
            .filter(|&value| graph.ty(value).shape.rank() > 0)
            .map(|value| {
                let ty = graph.ty(value);
                let mut dims = ty.shape.to_vec();
                dims[0] = Dim::Symbol(BATCH.into());
                (value, TensorType { shape: dims.into(), grid: ty.grid.clone() })
            })
            .collect();
        // A network that does something with its batch axis keeps it as it is.
        if let Err(error) = retype(graph, cx.registry, &types) {
            let message = format!("the batch size stays fixed: {}", error.error);
            let mut warning = Diagnostic::warning("Q0720", message);
            for (place, text) in error.places {
                warning = warning.at(place, text);
            }
            cx.warnings.push(warning);
        }
        Ok(())
    }
}

/// Built-in rule files.
struct Rules {
    files: Vec<&'static str>,
    /// Files whose rules are for the device alone.
    device: Vec<&'static str>,
    toward: Vec<&'static str>,
    driver: Option<Driver>,
}

impl Pass for Rules {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let mut rulesets = built_in(&self.files, cx)?;
        let device = built_in(&self.device, cx)?;
        let names: Vec<Arc<str>> = device.iter().map(|set| set.name.clone()).collect();
        rulesets.extend(device);
        let mut toward = built_in(&self.toward, cx)?;
        if !toward.is_empty() {
            // What a user's pattern fuses must not be folded into another form before.
            let lasting = |set: &Ruleset| set.contract != Contract::Lossy;
            toward.extend(user_rules(cx, true).into_iter().filter(lasting));
        }
        let options = Options { driver: self.driver, toward: &toward, ..Options::default() };
        apply_on_device(graph, &rulesets, &names, options, cx)
    }
}

/// Rounds in which rules for the device are taken back where a value stays float.
const MOST_ROUNDS: usize = 4;

/// Applies the rulesets. Those named `device` are worth it only for what runs on the device: where a value
/// stays float all the same, and behind it, they are left out.
fn apply_on_device(
    graph: &mut Graph,
    rulesets: &[Ruleset],
    device: &[Arc<str>],
    options: Options,
    cx: &mut Context,
) -> Result<(), Diagnostics> {
    let before = graph.clone();
    let (rewrites, traces, warnings) = (cx.rewrites.len(), cx.rules.len(), cx.warnings.0.len());
    let mut spared = Spared { sets: device.iter().cloned().collect(), values: BTreeSet::new() };
    for round in 1.. {
        apply(graph, rulesets, Options { spared: Some(&spared), ..options }, cx)?;
        let made: Vec<&Applied> =
            cx.rewrites.iter().skip(rewrites).filter(|applied| device.contains(&applied.ruleset)).collect();
        if made.is_empty() || round == MOST_ROUNDS {
            break;
        }
        let ahead = Options { until: cx.akida.until.as_deref(), ..Options::default() };
        let fused = match options.toward {
            [] => None,
            toward => Some(rewrite::apply(graph.clone(), cx.registry, toward, &ahead)?.0),
        };
        let fused = fused.as_ref().unwrap_or(graph);
        let float = float_values(&before, &device_values(fused, cx.registry, &cx.akida));
        if !made.iter().any(|applied| applied.replaced.iter().any(|value| float.contains(value))) {
            break;
        }
        spared.values.extend(float);
        *graph = before.clone();
        cx.rewrites.truncate(rewrites);
        cx.rules.truncate(traces);
        cx.warnings.0.truncate(warnings);
    }
    Ok(())
}

/// Names of the values of a graph that no value among `device` depends on and that are not among them
/// either: what the device computes, it computes from what it computed.
fn float_values(graph: &Graph, device: &BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
    let mut needed = BTreeSet::new();
    let mut float = BTreeSet::new();
    for id in graph.order().into_iter().rev() {
        let node = graph.node(id);
        if needed.contains(&id) || node.results.iter().any(|value| device.contains(&value.name)) {
            needed.extend(node.operands.iter().flatten().map(|value| value.node));
        } else {
            float.extend(node.results.iter().map(|value| value.name.clone()));
        }
    }
    float
}

fn built_in(names: &[&str], cx: &mut Context) -> Result<Vec<Ruleset>, Diagnostics> {
    let mut rulesets = Vec::new();
    for name in names {
        let sets = rewrite::built_in(cx.sources, cx.registry, name);
        rulesets.extend(sets.transpose()?.into_iter().flatten());
    }
    Ok(rulesets)
}

fn apply(
    graph: &mut Graph,
    rulesets: &[Ruleset],
    options: Options,
    cx: &mut Context,
) -> Result<(), Diagnostics> {
    let until = cx.akida.until.clone();
    let record = cx.trace.is_some();
    let options = Options { until: until.as_deref(), record, ..options };
    let before = record.then(|| graph.clone());
    let (new, log) = rewrite::apply(std::mem::take(graph), cx.registry, rulesets, &options)?;
    *graph = new;
    cx.rules.extend(before.map(|before| RulesTrace {
        before,
        after: graph.clone(),
        sets: rulesets.to_vec(),
        toward: options.toward.to_vec(),
        driver: options.driver,
        once: options.once,
        demand_ranges: options.demand_ranges,
        spared: options.spared.cloned(),
        applied: log.applied.clone(),
        record: log.record,
    }));
    for warning in log.warnings.0 {
        // A fusion that is done again says the same.
        if !cx.warnings.0.contains(&warning) {
            cx.warnings.push(warning);
        }
    }
    cx.rewrites.extend(log.applied);
    Ok(())
}

/// The user's rulesets that make layers, or those that do not.
fn user_rules(cx: &Context, layers: bool) -> Vec<Ruleset> {
    cx.user_rules.iter().filter(|set| set.makes_layers(cx.registry) == layers).cloned().collect()
}

struct UserRules;

impl Pass for UserRules {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        apply(graph, &user_rules(cx, false), Options::default(), cx)
    }
}

struct Calibrate {
    /// By the scheme `fixed-point`.
    fixed_point: bool,
}

impl Pass for Calibrate {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Calibrated
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        match &mut cx.calibration {
            Calibration::None => return Err(WithPlaces::new(PassError::NothingToCalibrate).into()),
            Calibration::Ranges { ranges, file } => {
                let warnings = apply_ranges(graph, ranges, file)?;
                cx.warnings.extend(warnings);
                if let Some(trace) = &mut cx.trace {
                    trace.ranges = RangeSource::File(file.clone());
                }
            }
            Calibration::Samples(samples) if self.fixed_point => {
                let CalibrateOptions { batch_size, num_samples, .. } = cx.calibrate;
                let (options, samples) = (&cx.fixed_point, &mut **samples);
                calibrate_fixed_point(
                    graph,
                    cx.registry,
                    samples,
                    options,
                    batch_size,
                    num_samples,
                    cx.progress,
                )?;
                if let Some(trace) = &mut cx.trace {
                    // A moving average is of no one sample.
                    trace.ranges = RangeSource::Samples { seen: BTreeMap::new(), batch: batch_size };
                }
            }
            Calibration::Samples(samples) => {
                let Calibrated { seen, batch, warnings } =
                    calibrate(graph, cx.registry, &mut **samples, cx.calibrate, cx.progress)?;
                cx.warnings.extend(warnings);
                if let Some(trace) = &mut cx.trace {
                    trace.ranges = RangeSource::Samples { seen, batch };
                }
            }
        }
        cx.ranges = ranges_of(graph);
        Ok(())
    }
}

#[derive(Clone)]
struct Fuse {
    files: Vec<&'static str>,
    /// See [`Rules::device`].
    device: Vec<&'static str>,
    driver: Option<Driver>,
    /// See [`Options::once`].
    once: bool,
}

impl Pass for Fuse {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Any
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let before = (!user_rules(cx, true).is_empty()).then(|| (graph.clone(), cx.rewrites.len()));
        self.fuse(graph, &[], cx)?;
        cx.fusion = before.map(|(before, rewrites)| Fusion {
            fuse: self.clone(),
            before,
            after: graph.clone(),
            rewrites,
        });
        Ok(())
    }
}

impl Fuse {
    fn fuse(&self, graph: &mut Graph, refused: &[Refused], cx: &mut Context) -> Result<(), Diagnostics> {
        let options = Options { demand_ranges: true, once: self.once, refused, ..Options::default() };
        let (greedy, mut saturated): (Vec<Ruleset>, Vec<Ruleset>) =
            user_rules(cx, true).into_iter().partition(|set| set.driver == Driver::Greedy);
        let before = graph.clone();
        apply(graph, &greedy, options, cx)?;
        // In one e-graph with the built-in rules, so that they compete by cost.
        saturated.extend(built_in(&self.files, cx)?);
        let device = built_in(&self.device, cx)?;
        let names: Vec<Arc<str>> = device.iter().map(|set| set.name.clone()).collect();
        saturated.extend(device);
        apply_on_device(graph, &saturated, &names, Options { driver: self.driver, ..options }, cx)?;
        keep_activation_ranges(&before, graph, cx.registry);
        Ok(())
    }
}

/// What it takes to do a fusion again without layers whose parameters turn out not to exist.
pub struct Fusion {
    fuse: Fuse,
    before: Graph,
    after: Graph,
    /// Number of applications of rules before it.
    rewrites: usize,
}

/// Layers of one network that users' rules make and that are refused one after the other.
const MOST_REFUSED: usize = 32;

/// Does the fusion again until every layer that a rule of the user made has parameters. Where one
/// has none, the next right side of the rule, or another rule, takes its place.
fn settle(graph: &mut Graph, fusion: &Fusion, cx: &mut Context) -> Result<(), Diagnostics> {
    let mut refused: Vec<Refused> = Vec::new();
    while refused.len() < MOST_REFUSED {
        let mut found = Vec::new();
        for (value, why) in refused_layers(graph, cx.registry, &cx.akida) {
            let made = |applied: &&Applied| applied.replaced.contains(&value);
            let Some(applied) = cx.rewrites.iter().skip(fusion.rewrites).rfind(made) else { continue };
            let set = cx.user_rules.iter().find(|set| set.name == applied.ruleset);
            let rule = set.and_then(|set| set.rules.iter().find(|rule| rule.name == applied.rule));
            let Some(rule) = rule else { continue };
            let message = format!(
                "the layer that rule `{}` makes of `{value}` has no parameters: {why}; what comes next is tried",
                rule.name
            );
            let warning = Diagnostic::warning("Q0529", message).at(rule.span, "").at_loc(&applied.loc, "");
            found.push((
                Refused {
                    ruleset: applied.ruleset.clone(),
                    rule: applied.rule.clone(),
                    arm: applied.arm,
                    value,
                    why,
                },
                warning,
            ));
        }
        found.retain(|(new, _)| !refused.contains(new));
        if found.is_empty() {
            break;
        }
        for (new, warning) in found {
            refused.push(new);
            cx.warnings.push(warning);
        }
        *graph = fusion.before.clone();
        cx.rewrites.truncate(fusion.rewrites);
        cx.rules.clear();
        fusion.fuse.fuse(graph, &refused, cx)?;
    }
    // Where nothing comes next, the warning that says so gives the reasons.
    let unmade: Vec<Label> =
        cx.warnings.0.iter().filter(|w| w.code == "Q0526").flat_map(|w| w.labels.first().cloned()).collect();
    let tells = |label: &Label| unmade.iter().any(|other| other.place == label.place);
    cx.warnings.0.retain(|w| w.code != "Q0529" || !w.labels.first().is_some_and(tells));
    Ok(())
}

struct Quantize;

impl Pass for Quantize {
    fn requires(&self) -> Stage {
        Stage::Calibrated
    }

    fn ensures(&self) -> Stage {
        Stage::Quantized
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        // A graph that came with its ranges was not calibrated here.
        let mut ranges = ranges_of(graph);
        ranges.append(&mut cx.ranges);
        cx.ranges = ranges;
        if let Some(fusion) = cx.fusion.take().filter(|fusion| graph.same_as(&fusion.after)) {
            settle(graph, &fusion, cx)?;
        }
        let result = quantize_akida(graph, cx.registry, &cx.akida);
        let stays = match &result {
            Ok((_, report)) => &report.stays,
            Err(unquantized) => &unquantized.stays,
        };
        let elsewhere = quantized_elsewhere(stays);
        if let Some(trace) = &mut cx.trace {
            trace.fused = Some(graph.clone());
            trace.stays = stays.clone();
        }
        let (quantized, report) = result.map_err(|mut unquantized| {
            unquantized.found.extend(elsewhere.clone());
            unquantized
        })?;
        cx.warnings.extend(elsewhere);
        cx.report = Some(measured(graph, &quantized, report, &BTreeMap::new(), cx)?);
        *graph = quantized;
        Ok(())
    }
}

/// The report with the errors of the layers, if they are asked for and there are samples.
fn measured(
    float: &Graph,
    quantized: &Graph,
    mut report: QuantizeReport,
    multiplied: &BTreeMap<String, Tensor>,
    cx: &mut Context,
) -> Result<QuantizeReport, Diagnostics> {
    if let (Calibration::Samples(samples), true) = (&mut cx.calibration, cx.measure) {
        let found =
            errors(float, quantized, cx.registry, &mut **samples, cx.calibrate.batch_size, multiplied)?;
        let by_node = |id: NodeId| {
            let node = quantized.node(id);
            Some((node.name.clone(), *found.get(&*node.results.first()?.name)?))
        };
        let by_node: BTreeMap<Arc<str>, f64> = quantized.order().into_iter().filter_map(by_node).collect();
        for layer in &mut report.layers {
            layer.error = by_node.get(&*layer.node).copied();
        }
    }
    Ok(report)
}

struct QuantizeFixedPoint;

impl Pass for QuantizeFixedPoint {
    fn requires(&self) -> Stage {
        Stage::Any
    }

    fn ensures(&self) -> Stage {
        Stage::Quantized
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let mut ranges = ranges_of(graph);
        ranges.append(&mut cx.ranges);
        cx.ranges = ranges;
        let Quantized { graph: quantized, report, config, multiplied } =
            quantize_fixed_point(graph, cx.registry, &cx.fixed_point)?;
        if let Some(trace) = &mut cx.trace {
            trace.fused = Some(graph.clone());
            trace.stays = report.stays.clone();
        }
        // A network that was quantized before has no floats to compare with.
        cx.report = Some(match already_quantized(graph) {
            Some(_) => report,
            None => measured(graph, &quantized, report, &multiplied, cx)?,
        });
        cx.layer_config = config;
        *graph = quantized;
        Ok(())
    }
}

struct Remainder;

impl Pass for Remainder {
    fn requires(&self) -> Stage {
        Stage::Quantized
    }

    fn ensures(&self) -> Stage {
        Stage::Quantized
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let names = |graph: &Graph| -> BTreeSet<Arc<str>> {
            graph.order().into_iter().map(|id| graph.node(id).name.clone()).collect()
        };
        let sets = built_in(&["remainder"], cx)?;
        let before = names(graph);
        // Where quantization was to end, it did.
        let until = cx.akida.until.take();
        let done = apply(graph, &sets, Options::default(), cx);
        cx.akida.until = until;
        done?;
        let after = names(graph);
        let reported = cx.report.as_mut().map(|report| &mut report.stays);
        let traced = cx.trace.as_mut().map(|trace| &mut trace.stays);
        for stays in reported.into_iter().chain(traced) {
            let mut told = BTreeSet::new();
            // Of an operator that was computed twice, the second went as well.
            stays.retain(|stay| {
                let went = before.contains(&*stay.node) && !after.contains(&*stay.node);
                !went && told.insert(stay.node.clone())
            });
        }
        Ok(())
    }
}
