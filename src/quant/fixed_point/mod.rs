//! Scheme `fixed-point`: a graph of QuantizeML's layers in float form becomes one on fixed-point numbers (spec
//! `quantizers.md`).

mod build;
mod check;
mod equalize;
mod observe;
mod placement;
mod requantize;

use std::collections::{BTreeMap, BTreeSet};

pub use check::check_fixed_point;
pub use observe::calibrate_fixed_point;

use super::report::{LayerNote, QuantizeReport, StayCause, StayNote};
use super::{QuantError, already_quantized};
use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Graph, Kind, NodeId, ValueId};
use crate::ops::fixed::{FixedPointLayer, LayerConfig};
use crate::ops::{Quantize, Registry};
use crate::tensor::{DType, Tensor};
use build::{Built, Refusal};
use placement::Placed;

/// QuantizeML's `QuantizationParams`, and what calibration is told.
#[derive(Clone, Debug)]
pub struct FixedPointOptions {
    pub activation_bits: u32,
    pub output_bits: u32,
    pub weight_bits: u32,
    /// Of the layers up to the first one with weights.
    pub input_weight_bits: u32,
    /// Bits of the integers that the scales of outputs become; if not given 8, or 16 for last outputs of 16 bits or more.
    pub scale_bits: Option<u32>,
    pub buffer_bits: u32,
    pub per_tensor_activations: bool,
    /// Storage that the quantized input stands for: `U8` (with an offset) or `I8`.
    pub input_dtype: DType,
    /// Bits of an output quantizer on the layers that end the network.
    pub last_output_bits: Option<u32>,
    /// What layers are quantized with, by node name; it takes the place of all that would be chosen for them.
    pub config: BTreeMap<String, LayerConfig>,
    /// The share of the old range that a batch leaves.
    pub momentum: f64,
    /// How often calibration goes over the samples.
    pub epochs: usize,
}

impl Default for FixedPointOptions {
    fn default() -> Self {
        Self {
            activation_bits: 8,
            output_bits: 8,
            weight_bits: 8,
            input_weight_bits: 8,
            scale_bits: None,
            buffer_bits: 32,
            per_tensor_activations: false,
            input_dtype: DType::U8,
            last_output_bits: None,
            config: BTreeMap::new(),
            momentum: 0.9,
            epochs: 1,
        }
    }
}

/// The layer that a node is, with what the scheme makes of it.
fn layer_of(graph: &Graph, registry: &Registry, id: NodeId) -> Option<Box<dyn FixedPointLayer>> {
    match registry.find(graph.node(id).op()?)?.operator.quantize() {
        Quantize::FixedPoint(layer) => Some(layer),
        Quantize::No(_) | Quantize::Layer(_) => None,
    }
}

/// Where fixed-point numbers begin behind an input: behind a cast to f32 and then a transpose, as far as nothing else
/// reads what is before.
fn entry_of(graph: &Graph, input: ValueId) -> ValueId {
    let mut value = input;
    for op in ["cast", "transpose"] {
        let readers: BTreeSet<NodeId> = graph.uses(value).into_iter().map(|at| at.node).collect();
        let next = readers.first().filter(|_| readers.len() == 1 && !graph.is_output(value));
        if let Some(&node) = next.filter(|&&node| graph.node(node).op() == Some(op)) {
            value = ValueId { node, result: 0 };
        }
    }
    value
}

/// The axis of an entry that the channels are: as the first layer reads them, behind rescalings and a transpose.
fn channels_of_entry(graph: &Graph, entry: ValueId) -> usize {
    let rank = graph.ty(entry).shape.rank();
    let usual = if rank == 4 { 1 } else { rank.saturating_sub(1) };
    let mut value = entry;
    loop {
        let readers: BTreeSet<NodeId> = graph.uses(value).into_iter().map(|at| at.node).collect();
        let Some(&id) = readers.first().filter(|_| readers.len() == 1) else { return usual };
        match &graph.node(id).kind {
            Kind::Op { op, .. } if &**op == "Rescaling" => value = ValueId { node: id, result: 0 },
            Kind::Op { op, attrs } if &**op == "transpose" => {
                let from = attrs.get_ints("perm").and_then(|perm| perm.get(usual).copied());
                return from.and_then(|axis| usize::try_from(axis).ok()).unwrap_or(usual);
            }
            _ => return usual,
        }
    }
}

/// The quantized graph, what became of the network, and what each layer was quantized with.
pub struct Quantized {
    pub graph: Graph,
    pub report: QuantizeReport,
    pub config: BTreeMap<String, LayerConfig>,
    /// What equalization multiplied the elements of one sample of a value by, by the name of the float value.
    pub multiplied: BTreeMap<String, Tensor>,
}

/// Quantizes every layer that hangs on the inputs through layers, and through operators that only move elements. A network
/// whose layers are quantized already gets the configurations that are given.
///
/// # Errors
/// No range where one is needed, an entry of the configuration that no layer has, or nothing that can be quantized. Of a
/// network that is quantized already, layers without an entry in the configuration, and what needs the
/// float network.
pub fn quantize_fixed_point(
    graph: &Graph,
    registry: &Registry,
    options: &FixedPointOptions,
) -> Result<Quantized, Diagnostics> {
    if let Some(found) = already_quantized(graph) {
        let again = matches!(&found.error, QuantError::AlreadyQuantized { op, .. } if op == "to_fixed_point");
        return match again && !options.config.is_empty() {
            true => requantize::requantize(graph, registry, options),
            false => Err(found.into()),
        };
    }
    let mut refused: BTreeMap<NodeId, String> = BTreeMap::new();
    loop {
        let placed = Placed::new(graph, registry, options, &refused.keys().copied().collect())?;
        let stays = stays(graph, registry, &placed, &refused);
        if placed.configs.is_empty() {
            let reasons = super::akida::first_reasons(&stays);
            return Err(WithPlaces::new(QuantError::NothingQuantized { reasons }).into());
        }
        match build::build(graph, registry, options, &placed) {
            Ok(Built { graph: quantized, layers, multiplied, why }) => {
                let notes = layers.iter().map(|&id| {
                    let node = graph.node(id);
                    let (name, op) = (node.name.to_string(), node.op().unwrap_or_default());
                    LayerNote {
                        node: name,
                        op_type: format!("Quantized{op}"),
                        error: None,
                        loc: node.loc.clone(),
                    }
                });
                let layers = notes.collect();
                let report = QuantizeReport { fixed_point: true, layers, stays, why };
                let named = |(id, config): (&NodeId, &LayerConfig)| {
                    Some((placed.names.get(id)?.clone(), config.clone()))
                };
                let config = placed.configs.iter().filter_map(named);
                let config = config.filter(|(_, config)| *config != LayerConfig::default()).collect();
                return Ok(Quantized { graph: quantized, report, config, multiplied });
            }
            // Each round refuses one node more, so the rounds end.
            Err(Refusal::Layer(id, why)) => {
                refused.insert(id, why);
            }
            Err(Refusal::Network(error)) => return Err(error),
        }
    }
}

/// What layers were quantized with, as QuantizeML's `dump_config` writes it.
pub fn write_config(config: &BTreeMap<String, LayerConfig>) -> String {
    // A map of names to plain data has a JSON form.
    serde_json::to_string_pretty(config).unwrap_or_default() + "\n"
}

/// The operators that stay float, with the reasons.
fn stays(
    graph: &Graph,
    registry: &Registry,
    placed: &Placed,
    refused: &BTreeMap<NodeId, String>,
) -> Vec<StayNote> {
    let mut stays = Vec::new();
    for id in graph.order() {
        let node = graph.node(id);
        let Kind::Op { op, .. } = &node.kind else { continue };
        if placed.quantized.contains(&id) {
            continue;
        }
        let float = node.operands.iter().flatten();
        let mut float =
            float.filter(|value| graph.constant(**value).is_none() && !placed.values.contains(value));
        let (cause, reason) = match (refused.get(&id), layer_of(graph, registry, id), float.next()) {
            _ if placed.in_front.contains(&id) => {
                (StayCause::InFront, "it is computed in front of the integers".to_owned())
            }
            (Some(why), _, _) => (StayCause::Refused, why.clone()),
            _ if &**op == "to_float" => (StayCause::Ended, "floats are to begin here".to_owned()),
            (None, None, None) => (StayCause::NoLayer, "no layer of QuantizeML is this operator".to_owned()),
            (None, _, Some(&value)) => {
                let reason = format!("its operand %{} is float", graph.value(value).name);
                (StayCause::Operand(value), reason)
            }
            (None, Some(_), None) => (StayCause::NoLayer, "it reads only constants".to_owned()),
        };
        let (node_name, op, loc) = (node.name.to_string(), op.to_string(), node.loc.clone());
        stays.push(StayNote { node: node_name, op, reason, cause, loc, at: id });
    }
    stays
}
