//! A quantized network with other configurations of its layers (quantizers §9). Nothing is calibrated: ranges are those that
//! the grids of outputs tell, and the weights those that the integers stand for.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::{completed, layer_names};
use super::{FixedPointOptions, Quantized, layer_of};
use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Attrs, Graph, Kind, Node, NodeId, ValueId};
use crate::ops::fixed::{Bits, FixedCall, FixedForm, LayerConfig, LayerNames, OutputAxis};
use crate::ops::{Arithmetic, Call, OpError, Registry};
use crate::quant::QuantError;
use crate::quant::report::{LayerNote, QuantizeReport};
use crate::tensor::fixed::PerChannel;
use crate::tensor::round::power_of_two;
use crate::tensor::{DType, Dim, FixedGrid, Grid, Tensor, TensorType};

/// The network with its layers as `options.config` says. A layer whose configuration and operands are as they were stays
/// as it is.
///
/// # Errors
/// Layers without an entry, entries without a layer, and what cannot be without the float network: an output quantizer that
/// has no range, or another number of ranges.
pub fn requantize(
    graph: &Graph,
    registry: &Registry,
    options: &FixedPointOptions,
) -> Result<Quantized, Diagnostics> {
    let names = layer_names(graph, registry);
    let names: BTreeMap<NodeId, String> =
        names.into_iter().filter(|(id, _)| is_integer_form(graph, *id)).collect();
    let mut work = Work { graph: graph.clone(), old: graph, registry, options };
    let complete = work.complete(&names)?;
    let mut layers = Vec::new();
    let mut config = BTreeMap::new();
    for id in graph.order() {
        let Some(name) = names.get(&id) else {
            work.moved(id)?;
            continue;
        };
        let node = graph.node(id);
        let new = complete.get(&id).cloned().unwrap_or_default();
        work.layer(id, name, &new)?;
        layers.push(LayerNote {
            node: node.name.to_string(),
            op_type: format!("Quantized{}", node.op().unwrap_or_default()),
            error: None,
            loc: node.loc.clone(),
        });
        if new != LayerConfig::default() {
            config.insert(name.clone(), new);
        }
    }
    let mut graph = work.graph;
    graph.remove_dead();
    let report = QuantizeReport { fixed_point: true, layers, stays: Vec::new(), why: BTreeMap::new() };
    Ok(Quantized { graph, report, config, multiplied: BTreeMap::new() })
}

fn is_integer_form(graph: &Graph, id: NodeId) -> bool {
    graph.node(id).operand(0).is_some_and(|value| graph.ty(value).grid.fixed().is_some())
}

struct Work<'a> {
    /// Nodes are those of the old graph, until they are made anew.
    graph: Graph,
    old: &'a Graph,
    registry: &'a Registry,
    options: &'a FixedPointOptions,
}

/// Why a layer is not made anew.
enum Fault {
    Why(String),
    Op(OpError),
}

impl From<OpError> for Fault {
    fn from(error: OpError) -> Self {
        Fault::Op(error)
    }
}

fn why<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Why(why.into()))
}

impl Work<'_> {
    /// The configuration of every layer that has one.
    fn complete(
        &self,
        names: &BTreeMap<NodeId, String>,
    ) -> Result<BTreeMap<NodeId, LayerConfig>, Diagnostics> {
        let known: BTreeSet<&str> = names.values().map(String::as_str).collect();
        if let Some(name) = self.options.config.keys().find(|name| !known.contains(name.as_str())) {
            let (name, known) = (name.clone(), known.iter().map(|&name| name.to_owned()).collect());
            return Err(WithPlaces::new(QuantError::ForeignConfig { name, known }).into());
        }
        let mut missing = Vec::new();
        let mut complete = BTreeMap::new();
        for id in self.old.order() {
            let Some(name) = names.get(&id) else { continue };
            let node = self.old.node(id);
            let op = node.op().unwrap_or_default();
            let completed = |config| completed(op, config, self.options.weight_bits, self.options);
            let takes_output =
                layer_of(self.old, self.registry, id).is_some_and(|layer| layer.placement().output);
            match self.options.config.get(name) {
                Some(config) if config.output_quantizer.is_some() && !takes_output => {
                    let error = QuantError::NoOutputQuantizer { layer: name.clone(), op: op.to_owned() };
                    return Err(WithPlaces::new(error).at_loc(&node.loc, "").into());
                }
                Some(config) => {
                    complete.insert(id, completed(config.clone()));
                }
                // A layer without anything to configure has no entry.
                None => {
                    let has_output =
                        matches!(&node.kind, Kind::Op { attrs, .. } if attrs.get("value_bits").is_some());
                    if has_output || completed(LayerConfig::default()) != LayerConfig::default() {
                        missing.push(name.clone());
                    }
                }
            }
        }
        match missing.is_empty() {
            true => Ok(complete),
            false => Err(WithPlaces::new(QuantError::NoConfig { layers: missing }).into()),
        }
    }

    fn refused(&self, id: NodeId, name: &str, fault: Fault) -> Diagnostics {
        let why = match fault {
            Fault::Why(why) => why,
            Fault::Op(error) => error.to_string(),
        };
        let error = QuantError::NotAgain { layer: name.to_owned(), why };
        WithPlaces::new(error).at_loc(&self.old.node(id).loc, "").into()
    }

    /// An operator that is no layer: its results follow from its operands.
    fn moved(&mut self, id: NodeId) -> Result<(), Diagnostics> {
        let node = self.graph.node(id);
        let Kind::Op { op, attrs } = &node.kind else { return Ok(()) };
        let types = types_of(&self.graph, node);
        let inferred = self.registry.infer(op, attrs, &types);
        let types = inferred.map_err(|error| self.refused(id, &self.old.node(id).name, error.into()))?;
        for (result, ty) in types.into_iter().enumerate() {
            self.graph.set_type(ValueId { node: id, result: result as u32 }, ty);
        }
        Ok(())
    }

    fn layer(&mut self, id: NodeId, name: &str, config: &LayerConfig) -> Result<(), Diagnostics> {
        let form = self.form(id, config).map_err(|fault| self.refused(id, name, fault))?;
        let Some(form) = form else { return Ok(()) };
        let node = self.graph.node(id).clone();
        let Some(op) = node.op() else { return Ok(()) };
        let result = &node.results[0];
        let names = LayerNames { node: &node.name, result: &result.name };
        let kept = |position| node.operand(position);
        let made = form.add(&mut self.graph, op, result.ty.shape.clone(), names, &node.loc, kept);
        self.graph.replace_uses(ValueId { node: id, result: 0 }, made);
        // What takes the place of a constant is called as it.
        let operands = self.graph.node(made.node).operands.clone();
        for (&old, &new) in node.operands.iter().zip(&operands) {
            if let (Some(old), Some(new)) = (old, new)
                && old != new
            {
                let name = self.graph.value(old).name.clone();
                self.graph.take_name(new, &name);
            }
        }
        self.graph.take_name(made, &result.name);
        self.graph.set_node_name(made.node, node.name.clone());
        Ok(())
    }

    /// The layer made anew; `None` if it stays as it is.
    fn form(&self, id: NodeId, config: &LayerConfig) -> Result<Option<FixedForm>, Fault> {
        let (old_node, node) = (self.old.node(id), self.graph.node(id));
        let Kind::Op { op, attrs } = &node.kind else { return Ok(None) };
        let Some(layer) = layer_of(self.old, self.registry, id) else { return Ok(None) };
        let schema = &self.registry.get(op)?.schema;
        let types = types_of(self.old, old_node);
        let old = layer.configuration(&Call { schema, attrs, operands: &types })?;
        let shape = &old_node.results[0].ty.shape;
        let one_channel = shape.get(layer.channels(shape.rank())).and_then(Dim::fixed) == Some(1);

        let recorded = layer.parameters();
        let qscales = node.operand(recorded.len());
        let (mut was, mut new) = (Operands::default(), Operands::default());
        let mut unchanged = true;
        for (position, recorded) in recorded.iter().enumerate() {
            let grid = node.operand(position).and_then(|value| self.graph.ty(value).grid.fixed().cloned());
            let constant = node.operand(position).and_then(|value| self.graph.constant(value));
            let (Some(recorded), Some(constant)) = (recorded, constant) else {
                let before = old_node.operand(position).and_then(|value| self.old.ty(value).grid.fixed());
                unchanged &= before == grid.as_ref();
                was.push(None, before.cloned());
                new.push(None, grid);
                continue;
            };
            let fate = fate(recorded, config, grid.as_ref(), one_channel)?;
            unchanged &= fate != Fate::Anew;
            let own_scales = WEIGHTS.contains(recorded);
            let floats = self.floats(constant, grid.clone(), !own_scales)?;
            let whole = || ((**constant).clone(), grid.clone());
            // The scales of sums depend on weights alone.
            let (tensor, own) = if own_scales { whole() } else { (floats.clone(), None) };
            was.push(Some(tensor), own);
            let (tensor, own) = if fate == Fate::Stays { whole() } else { (floats, None) };
            new.push(Some(tensor), own);
        }

        let float = |ty: &Option<TensorType>| Some(TensorType::new(DType::F32, ty.as_ref()?.shape.clone()));
        let floats: Vec<Option<TensorType>> = types.iter().take(recorded.len()).map(float).collect();
        let plain = without(attrs, &["value_bits", "frac_bits", "product_bits"]);
        let plain = self.registry.complete(op, plain)?;
        let call = Call { schema, attrs: &plain, operands: &floats };
        let quantize = |operands: &Operands, config: &LayerConfig, ranges: [Option<&PerChannel<f32>>; 2]| {
            let constants: Vec<Option<&Tensor>> = operands.constants.iter().map(Option::as_ref).collect();
            let grids: Vec<Option<&FixedGrid>> = operands.grids.iter().map(Option::as_ref).collect();
            let [range_max, rescaling_rate] = ranges;
            layer.quantize(&FixedCall {
                call: Call { ..call },
                constants: &constants,
                grids: &grids,
                config,
                range_max,
                rescaling_rate,
            })
        };
        let mut ranges = None;
        if let Some(output) = &config.output_quantizer {
            let Some(before) = &old.output_quantizer else {
                return why("it has no output quantizer so far, and so no range: quantize the float network");
            };
            let frac = attrs.get_ints("frac_bits").unwrap_or_default();
            let per_axis = output.axis == OutputAxis::PerAxis;
            if (frac.len() > 1) != per_axis && !one_channel {
                let ranges = if per_axis {
                    "one range, and not one for each channel"
                } else {
                    "a range for each channel, and not one"
                };
                return why(format!("its output quantizer has {ranges}: quantize the float network"));
            }
            let sums =
                quantize(&was, &LayerConfig { output_quantizer: None, ..old.clone() }, [None; 2])?.grid;
            let range_max = frac.iter().map(|&frac| range(i64::from(before.bitwidth) - 1 - frac)).collect();
            ranges = Some([entries(range_max), entries(self.rates(qscales, &sums))]);
        }
        let form = quantize(
            &new,
            config,
            match &ranges {
                None => [None; 2],
                Some([range_max, rate]) => [Some(range_max), Some(rate)],
            },
        )?;
        // What has no scales has no bits for them.
        let scale_bits =
            |config: &LayerConfig| config.output_quantizer.as_ref()?.scale_bits.filter(|_| qscales.is_some());
        let buffer = |config: &LayerConfig| completed(op, config.clone(), 8, self.options).buffer_bitwidth;
        let same = without(&form.attrs, &["buffer_bitwidth"]) == without(attrs, &["buffer_bitwidth"]);
        let unchanged =
            unchanged && same && buffer(config) == buffer(&old) && scale_bits(config) == scale_bits(&old);
        Ok((!unchanged).then_some(form))
    }

    /// The numbers that a constant stands for; of one that is aligned to others, a little above.
    fn floats(&self, constant: &Tensor, grid: Option<FixedGrid>, aligned: bool) -> Result<Tensor, OpError> {
        let grid = grid.map(Grid::Fixed);
        let (op, operands, grids) = ("to_float", [Some(constant.clone())], [grid.as_ref()]);
        let made = self.registry.eval_on(op, &Attrs::new(), &operands, &grids, Arithmetic::Exact)?;
        let numbers = made.first().and_then(Tensor::elements::<f32>).unwrap_or_default();
        let above = |&number: &f32| if aligned { (f64::from(number) * ABOVE) as f32 } else { number };
        let tensor = Tensor::new(constant.sizes(), numbers.iter().map(above).collect());
        tensor.ok_or_else(|| OpError::UnknownOp { op: op.to_owned(), similar: None })
    }

    /// What equalization multiplied an output by: its integer scales over those of the sums.
    fn rates(&self, qscales: Option<ValueId>, sums: &FixedGrid) -> Vec<f32> {
        let integers = qscales.and_then(|value| {
            let integers = self.graph.constant(value)?.cast(DType::I64);
            Some((integers.elements::<i64>()?.to_vec(), self.graph.ty(value).grid.fixed()?.clone()))
        });
        let (Some((integers, grid)), Some(scales)) = (integers, &sums.scales) else { return vec![1.0] };
        let count = integers.len().max(scales.len());
        let rate = |at: usize| {
            let scale = entry(&integers, at) as f64 * power_of_two(-entry(&grid.frac_bits, at));
            (scale / f64::from(entry(scales, at)) * ABOVE) as f32
        };
        (0..count).map(rate).collect()
    }
}

/// By how much recovered numbers are larger, so that they round to the integers that they come from, also where these are
/// powers of two, at which the number of bits before the point changes.
const ABOVE: f64 = 1.0 + 1.0 / (1 << 19) as f64;

/// One for all, or that of a channel.
fn entry<T: Copy + Default>(entries: &[T], at: usize) -> T {
    entries.get(at).or(entries.first()).copied().unwrap_or_default()
}

/// A range that needs so many bits before the point.
fn range(bits: i64) -> f32 {
    let bits = i32::try_from(bits).unwrap_or(i32::MAX);
    (power_of_two(bits) * 0.75) as f32
}

fn entries(entries: Vec<f32>) -> PerChannel<f32> {
    match entries[..] {
        [one] => PerChannel::tensor(one),
        _ => PerChannel::last(entries),
    }
}

fn types_of(graph: &Graph, node: &Node) -> Vec<Option<TensorType>> {
    node.operands.iter().map(|operand| operand.map(|value| graph.ty(value).clone())).collect()
}

fn without(attrs: &Attrs, names: &[&str]) -> Attrs {
    let kept = attrs.iter().filter(|(name, _)| !names.contains(name));
    kept.fold(Attrs::new(), |kept, (name, value)| kept.with(name, value.clone()))
}

/// The constants of a layer, and the grids of all its operands.
#[derive(Default)]
struct Operands {
    constants: Vec<Option<Tensor>>,
    grids: Vec<Option<FixedGrid>>,
}

impl Operands {
    fn push(&mut self, constant: Option<Tensor>, grid: Option<FixedGrid>) {
        self.constants.push(constant);
        self.grids.push(grid);
    }
}

/// What becomes of a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It follows the grid of what it is added to, and stays where that does.
    Aligned,
    Anew,
}

/// Constants with scales of their own.
const WEIGHTS: [&str; 5] = ["weights", "dw_weights", "pw_weights", "gamma", "a"];

fn fate(
    recorded: &str,
    config: &LayerConfig,
    grid: Option<&FixedGrid>,
    one_channel: bool,
) -> Result<Fate, Fault> {
    let bits = match recorded {
        "weights" => config.weight_quantizer,
        "dw_weights" => config.dw_weight_quantizer,
        "pw_weights" => config.pw_weight_quantizer,
        "gamma" => config.gamma_quantizer,
        "a" => config.a_quantizer,
        // How many bits they had is not known. The usual number means the same ones.
        "bias" => return Ok(aligned(config.bias_quantizer)),
        "max_value" => return Ok(aligned(config.max_value_quantizer)),
        "beta" => return Ok(aligned(config.beta_quantizer)),
        "b" => return Ok(aligned(config.b_quantizer)),
        "cls" => return Ok(aligned(config.cls_quantizer)),
        "pe" => return Ok(aligned(config.pe_quantizer)),
        _ => return Ok(Fate::Aligned),
    };
    let Some(grid) = grid else { return Ok(Fate::Anew) };
    let bits = bits.unwrap_or_default();
    let each = grid.scales.as_ref().is_some_and(|scales| scales.len() > 1);
    let axis = each == (bits.axis != Some(None)) || one_channel || matches!(recorded, "gamma" | "a");
    if grid.value_bits + 1 == bits.or(8) && axis {
        return Ok(Fate::Stays);
    }
    match recorded {
        "gamma" | "a" => why(format!("`{recorded}` has {} bits, which it keeps", grid.value_bits + 1)),
        _ => Ok(Fate::Anew),
    }
}

fn aligned(bits: Option<Bits>) -> Fate {
    if bits.unwrap_or_default().or(8) == 8 { Fate::Aligned } else { Fate::Anew }
}
