//! Which nodes become integers, and where output quantizers go (quantizers §5).

use std::collections::{BTreeMap, BTreeSet};

use super::{FixedPointOptions, entry_of, layer_of};
use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Graph, Kind, Names, NodeId, ValueId};
use crate::ops::Registry;
use crate::ops::fixed::{Bits, LayerConfig, OutputAxis, OutputConfig};
use crate::quant::QuantError;
use crate::tensor::{FixedGrid, Grid, TensorType};

/// Bits of the input of an activation by a table.
const TABLE_INPUT_BITS: u32 = 11;

pub struct Placed {
    /// Values that fixed-point numbers begin with, by the input that each hangs on.
    pub entries: BTreeMap<ValueId, ValueId>,
    /// Operators between an input and its entry.
    pub in_front: BTreeSet<NodeId>,
    /// Layers, and operators that move their elements.
    pub quantized: BTreeSet<NodeId>,
    /// Values that are fixed-point numbers.
    pub values: BTreeSet<ValueId>,
    /// What each layer is quantized with.
    pub configs: BTreeMap<NodeId, LayerConfig>,
    /// What configurations call each layer.
    pub names: BTreeMap<NodeId, String>,
}

impl Placed {
    pub fn new(
        graph: &Graph,
        registry: &Registry,
        options: &FixedPointOptions,
        refused: &BTreeSet<NodeId>,
    ) -> Result<Self, Diagnostics> {
        let mut placed = Self::reach(graph, registry, refused);
        placed.names = layer_names(graph, registry);
        let known: BTreeSet<&str> = placed.names.values().map(String::as_str).collect();
        if let Some(name) = options.config.keys().find(|name| !known.contains(name.as_str())) {
            let (name, known) = (name.clone(), known.iter().map(|&name| name.to_owned()).collect());
            return Err(WithPlaces::new(QuantError::ForeignConfig { name, known }).into());
        }
        let outputs = placed.outputs(graph, registry, options);
        let mut weighted = false;
        for id in graph.order() {
            let Some(layer) = layer_of(graph, registry, id).filter(|_| placed.quantized.contains(&id)) else {
                continue;
            };
            let name = placed.names.get(&id).map_or("", String::as_str);
            let op = graph.node(id).op().unwrap_or_default();
            let weight_bits = if weighted { options.weight_bits } else { options.input_weight_bits };
            let config = match options.config.get(name).filter(|config| **config != LayerConfig::default()) {
                Some(config) => config.clone(),
                None => LayerConfig { output_quantizer: outputs.get(&id).cloned(), ..LayerConfig::default() },
            };
            if config.output_quantizer.is_some() && !layer.placement().output {
                let error = QuantError::NoOutputQuantizer { layer: name.to_owned(), op: op.to_owned() };
                return Err(WithPlaces::new(error).at_loc(&graph.node(id).loc, "").into());
            }
            placed.configs.insert(id, completed(op, config, weight_bits, options));
            weighted |= has_weights(op);
        }
        Ok(placed)
    }

    /// What can become integers.
    fn reach(graph: &Graph, registry: &Registry, refused: &BTreeSet<NodeId>) -> Self {
        let mut entries = BTreeMap::new();
        let mut in_front = BTreeSet::new();
        for input in graph.inputs() {
            let entry = entry_of(graph, input);
            let mut value = entry;
            while value != input {
                in_front.insert(value.node);
                // Each operator before an entry has the value before as its first operand.
                let Some(before) = graph.node(value.node).operand(0) else { break };
                value = before;
            }
            entries.insert(input, entry);
        }
        let mut values: BTreeSet<ValueId> = entries.values().copied().collect();
        let mut quantized = BTreeSet::new();
        for id in graph.order() {
            let node = graph.node(id);
            if node.op().is_none() || in_front.contains(&id) || refused.contains(&id) {
                continue;
            }
            let computed: Vec<ValueId> = node
                .operands
                .iter()
                .flatten()
                .copied()
                .filter(|&value| graph.constant(value).is_none())
                .collect();
            let ready = !computed.is_empty() && computed.iter().all(|value| values.contains(value));
            if ready && (layer_of(graph, registry, id).is_some() || moves(graph, registry, id)) {
                quantized.insert(id);
                values.extend((0..node.results.len() as u32).map(|result| ValueId { node: id, result }));
            }
        }
        // What nothing reads but operators in front of a layer that stays float is of no use, and does no harm.
        Self { entries, in_front, quantized, values, configs: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// The output quantizers that layers need from those before them.
    fn outputs(
        &self,
        graph: &Graph,
        registry: &Registry,
        options: &FixedPointOptions,
    ) -> BTreeMap<NodeId, OutputConfig> {
        let mut outputs: BTreeMap<NodeId, OutputConfig> = BTreeMap::new();
        for id in graph.order().into_iter().rev() {
            if !self.quantized.contains(&id) || !needs_aligned(graph, registry, id) {
                continue;
            }
            let mut wanted: Vec<ValueId> = graph.node(id).operands.iter().flatten().copied().rev().collect();
            let mut seen = BTreeSet::new();
            while let Some(value) = wanted.pop() {
                let from = value.node;
                if !self.quantized.contains(&from) || !seen.insert(from) {
                    continue;
                }
                let holds = layer_of(graph, registry, from).is_some_and(|layer| layer.placement().output);
                if !holds {
                    wanted.extend(graph.node(from).operands.iter().flatten().copied().rev());
                    continue;
                }
                let axis = axis(graph, from, value, id, options);
                match outputs.get_mut(&from) {
                    Some(known) if axis == OutputAxis::PerTensor => known.axis = axis,
                    Some(_) => {}
                    None => {
                        outputs.insert(from, output(graph, from, id, axis, options));
                    }
                }
            }
        }
        for id in graph.order() {
            let own = graph.node(id).op() == Some("OutputQuantizer") && self.quantized.contains(&id);
            if own && !outputs.contains_key(&id) {
                let axis = axis(graph, id, ValueId { node: id, result: 0 }, id, options);
                outputs.insert(id, output(graph, id, id, axis, options));
            }
        }
        if let Some(bitwidth) = options.last_output_bits {
            for value in graph.outputs().iter().map(|output| output.value) {
                let holds =
                    layer_of(graph, registry, value.node).is_some_and(|layer| layer.placement().output);
                if holds && self.quantized.contains(&value.node) {
                    let scale_bits = options.scale_bits.or(Some(if bitwidth >= 16 { 16 } else { 8 }));
                    let buffer_bitwidth = Some(options.buffer_bits);
                    let axis = OutputAxis::PerTensor;
                    let last = OutputConfig { bitwidth, signed: true, axis, scale_bits, buffer_bitwidth };
                    outputs.insert(value.node, last);
                }
            }
        }
        outputs
    }
}

/// What configurations call each layer: as the node of the model is called that it stands for. Of several layers that are one
/// node there, the first is called so; those that stand for several have the name of their own node.
pub fn layer_names(graph: &Graph, registry: &Registry) -> BTreeMap<NodeId, String> {
    let mut taken = Names::default();
    let mut names = BTreeMap::new();
    for id in graph.order() {
        if layer_of(graph, registry, id).is_none() {
            continue;
        }
        let node = graph.node(id);
        let mut places = node.loc.nodes();
        let name = match (places.next(), places.next()) {
            (Some((_, place)), None) => place.to_owned(),
            _ => node.name.to_string(),
        };
        names.insert(id, taken.fresh(&name));
    }
    names
}

/// Whether an operator gives the integers that it reads, on the same grid.
fn moves(graph: &Graph, registry: &Registry, id: NodeId) -> bool {
    let node = graph.node(id);
    let Kind::Op { op, attrs } = &node.kind else { return false };
    let grid = FixedGrid {
        storage: FixedGrid::storage_of(7),
        value_bits: 7,
        frac_bits: [0].into(),
        scales: None,
        axis: None,
    };
    let operands: Vec<Option<TensorType>> = node
        .operands
        .iter()
        .map(|operand| {
            let value = (*operand)?;
            let ty = graph.ty(value).clone();
            let plain = graph.constant(value).is_some();
            Some(if plain { ty } else { TensorType { grid: Grid::Fixed(grid.clone()), ..ty } })
        })
        .collect();
    let types = registry.infer(op, attrs, &operands);
    types.is_ok_and(|types| types.iter().all(|ty| ty.grid == Grid::Fixed(grid.clone())))
}

/// Whether the operands of a node have to come out of output quantizers.
fn needs_aligned(graph: &Graph, registry: &Registry, id: NodeId) -> bool {
    match layer_of(graph, registry, id) {
        Some(layer) => layer.placement().aligned,
        // Permute and ExtractToken.
        None => matches!(graph.node(id).op(), Some("transpose" | "gather")),
    }
}

/// Whether the quantizer of `from` has one range or one for each channel, as far as `reader` has a say.
fn axis(
    graph: &Graph,
    from: NodeId,
    value: ValueId,
    reader: NodeId,
    options: &FixedPointOptions,
) -> OutputAxis {
    let shape = &graph.node(from).results[0].ty.shape;
    let rank = shape.rank();
    let channels = if rank == 4 { 1 } else { rank.saturating_sub(1) };
    // A vector: every axis but the batch and the channels has size 1.
    let others = shape.iter().enumerate().filter(|(axis, _)| *axis != 0 && *axis != channels);
    let vector = others.map(|(_, dim)| dim.fixed()).all(|size| size == Some(1));
    let reader = graph.node(reader);
    let whole = match reader.op() {
        // A table has one grid; channels that are flattened would have to be brought to one, and saturate.
        Some("Activation" | "Flatten" | "flatten" | "Shiftmax") => true,
        Some("Attention") => reader.operands.iter().take(2).any(|operand| *operand == Some(value)),
        _ => false,
    };
    if vector || whole || options.per_tensor_activations {
        OutputAxis::PerTensor
    } else {
        OutputAxis::PerAxis
    }
}

fn output(
    graph: &Graph,
    from: NodeId,
    reader: NodeId,
    axis: OutputAxis,
    options: &FixedPointOptions,
) -> OutputConfig {
    let is_activation = |id: NodeId| matches!(graph.node(id).op(), Some("ReLU" | "Activation"));
    let averages = graph.node(from).op() == Some("GlobalAveragePooling2D");
    let operand = graph.node(from).operand(0).map(|value| value.node);
    let into_table = graph.node(reader).op() == Some("Activation");
    let (bitwidth, signed) = if is_activation(from) {
        (options.activation_bits, options.activation_bits >= 8)
    } else if averages && operand.is_some_and(is_activation) {
        (options.activation_bits, true)
    } else if into_table {
        (TABLE_INPUT_BITS, true)
    } else {
        (options.output_bits, true)
    };
    let buffer_bitwidth = Some(options.buffer_bits);
    let scale_bits = options.scale_bits.or(Some(8));
    OutputConfig { bitwidth, signed, axis, scale_bits, buffer_bitwidth }
}

pub fn has_weights(op: &str) -> bool {
    matches!(
        op,
        "Conv2D"
            | "DepthwiseConv2D"
            | "SeparableConv2D"
            | "Conv2DTranspose"
            | "DepthwiseConv2DTranspose"
            | "Dense"
    )
}

/// A configuration with what it leaves open (quantizers §4).
pub fn completed(
    op: &str,
    config: LayerConfig,
    weight_bits: u32,
    options: &FixedPointOptions,
) -> LayerConfig {
    // Kernels by channel have the axis that the layer gives them.
    let bits = |given: Option<Bits>, axis: Option<i64>| {
        let given = given.unwrap_or_default();
        let axis = if axis == Some(-1) { given.axis.unwrap_or(axis) } else { axis };
        Some(Bits { bitwidth: Some(given.or(weight_bits)), axis: Some(axis) })
    };
    let weights = config.weight_quantizer;
    let mut config = match op {
        "Conv2D" | "Conv2DTranspose" | "Dense" => {
            LayerConfig { weight_quantizer: bits(weights, Some(-1)), ..config }
        }
        "DepthwiseConv2D" => LayerConfig { weight_quantizer: bits(weights, Some(-2)), ..config },
        "DepthwiseConv2DTranspose" => LayerConfig { weight_quantizer: bits(weights, None), ..config },
        "SeparableConv2D" => LayerConfig {
            dw_weight_quantizer: bits(config.dw_weight_quantizer, None),
            pw_weight_quantizer: bits(config.pw_weight_quantizer, Some(-1)),
            ..config
        },
        _ => config,
    };
    let most = match op {
        "Dense" | "Conv2D" | "Conv2DTranspose" | "DepthwiseConv2D" | "DepthwiseConv2DTranspose" => 28,
        "MaxPool2D" | "Flatten" | "Rescaling" | "Concatenate" | "Activation" | "OutputQuantizer" => {
            return config;
        }
        _ => u32::MAX,
    };
    let buffer = config.buffer_bitwidth.unwrap_or(options.buffer_bits);
    config.buffer_bitwidth = Some(buffer.min(most));
    config
}
