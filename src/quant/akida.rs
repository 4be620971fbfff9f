//! Scheme `akida`: a fused, calibrated graph becomes a graph of device layers on integers
//! (spec `hardware-ops.md` §5 and §6.4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::QuantError;
use super::report::{LayerNote, QuantizeReport, StayCause, StayNote, WhyNote};
use crate::diag::{Diagnostic, Diagnostics, Loc, Report, WithPlaces};
use crate::ir::{Attrs, Graph, Kind, Names, Node, NodeId, Value, ValueId};
use crate::ops::layer::{InputParameters, dequantizer_scale, expand, input_parameters};
use crate::ops::{
    Builder, Call, LayerCall, LayerOperand, Lowered, OpError, Quantize, QuantizedLayer, Registry, lower_node,
};
use crate::tensor::{AffineGrid, DType, Grid, Tensor, TensorType};

#[derive(Clone, Debug)]
pub struct AkidaOptions {
    /// Storage of the quantized input: `U8` (with a zero point) or `I8`.
    pub input_dtype: DType,
    /// A network that is quantized to its end gives int8 outputs instead of int32.
    pub last_output_8_bits: bool,
    /// Quantize the block that makes this value, and nothing behind it.
    pub until: Option<String>,
}

impl Default for AkidaOptions {
    fn default() -> Self {
        Self { input_dtype: DType::U8, last_output_8_bits: false, until: None }
    }
}

/// Why a graph could not be quantized.
#[derive(Debug, Default)]
pub struct Unquantized {
    pub found: Diagnostics,
    /// Where nothing could be quantized: every operator, with the reason.
    pub stays: Vec<StayNote>,
}

impl From<WithPlaces<QuantError>> for Unquantized {
    fn from(found: WithPlaces<QuantError>) -> Self {
        Self { found: found.into(), stays: Vec::new() }
    }
}

impl From<Unquantized> for Diagnostics {
    fn from(unquantized: Unquantized) -> Self {
        unquantized.found
    }
}

/// Quantizes every layer that hangs on the input through layers alone; the rest stays float
/// behind one `Dequantizer`.
///
/// # Errors
/// More or fewer than one input, no range for it, an unknown `until` value, or nothing that can
/// be quantized.
pub fn quantize_akida(
    graph: &Graph,
    registry: &Registry,
    options: &AkidaOptions,
) -> Result<(Graph, QuantizeReport), Unquantized> {
    let mut refused = BTreeMap::new();
    let (entry, plan, parameters) = settle(graph, registry, options, &mut refused)?;
    let stays = plan.stays(graph, registry, &entry, &refused);
    let (quantized, why) = assemble(graph, registry, &entry, &plan, parameters)
        .map_err(|error| WithPlaces { error: QuantError::Op(error.error), places: error.places })?;
    let layers = layer_notes(&quantized, registry).map_err(WithPlaces::new)?;
    Ok((quantized, QuantizeReport { fixed_point: false, layers, stays, why }))
}

/// The layers whose parameters do not exist, by the values that they make, and why.
pub fn refused_layers(graph: &Graph, registry: &Registry, options: &AkidaOptions) -> Vec<(Arc<str>, String)> {
    let mut refused = BTreeMap::new();
    // What else is wrong with the graph is said when it is quantized.
    let _ = settle(graph, registry, options, &mut refused);
    let value = |id: NodeId| graph.node(id).results.first().map(|value| value.name.clone());
    refused.into_iter().filter_map(|(id, why)| Some((value(id)?, why))).collect()
}

/// Names of the values that layers make which hang on the input of a fused graph through layers alone,
/// parameters aside. None where `until` is unknown or there is not one input.
pub fn device_values(graph: &Graph, registry: &Registry, options: &AkidaOptions) -> BTreeSet<Arc<str>> {
    let order = graph.order();
    let inputs: Vec<ValueId> = graph.inputs().collect();
    let until = options.until.as_ref().map(|name| graph.find(name));
    let layers = match (&inputs[..], until) {
        ([input], None | Some(Some(_))) => {
            let entry = Entry::of(graph, registry, *input);
            Selection::new(graph, registry, &order, &entry, until.flatten(), &BTreeMap::new()).layers
        }
        _ => Vec::new(),
    };
    layers.into_iter().flat_map(|id| graph.node(id).results.iter().map(|value| value.name.clone())).collect()
}

/// What is quantized, with its parameters. `refused` gets the layers that have none.
fn settle(
    graph: &Graph,
    registry: &Registry,
    options: &AkidaOptions,
    refused: &mut BTreeMap<NodeId, String>,
) -> Result<(Entry, Selection, Parameters), Unquantized> {
    let fail = |error: QuantError| Unquantized::from(WithPlaces::new(error));
    let inputs: Vec<ValueId> = graph.inputs().collect();
    let [input] = inputs[..] else { return Err(fail(QuantError::Inputs { found: inputs.len() })) };
    let until = match &options.until {
        None => None,
        Some(name) => match graph.find(name) {
            Some(value) => Some(value),
            None => return Err(fail(QuantError::UnknownUntil { name: name.clone() })),
        },
    };
    let order = graph.order();
    if let Some(found) = already_quantized(graph) {
        return Err(found.into());
    }
    let entry = Entry::of(graph, registry, input);
    loop {
        let plan = Selection::new(graph, registry, &order, &entry, until, refused);
        if plan.layers.is_empty() {
            let stays = plan.stays(graph, registry, &entry, refused);
            let reasons = first_reasons(&stays);
            return Err(Unquantized { stays, ..fail(QuantError::NothingQuantized { reasons }) });
        }
        match parameters(graph, registry, options, &entry, &plan) {
            Ok(parameters) => return Ok((entry, plan, parameters)),
            // A layer whose parameters do not exist stays float, and with it what hangs on it
            // alone: each round refuses one layer more, so the rounds end.
            Err(Refusal::Layer(id, error)) => {
                let words: Vec<String> = std::iter::once(error.to_string()).chain(error.hints()).collect();
                refused.insert(id, words.join("; "));
            }
            Err(Refusal::Input(error)) => return Err(fail(error)),
        }
    }
}

/// What stands in the way, each once: operators that only stand behind others say nothing.
pub(super) fn first_reasons(stays: &[StayNote]) -> Vec<String> {
    const SHOWN: usize = 8;
    let mut told = BTreeSet::new();
    let mut reasons: Vec<String> = stays
        .iter()
        .filter(|stay| !matches!(stay.cause, StayCause::Operand(_)) && told.insert((&stay.op, &stay.reason)))
        .map(|stay| format!("`{}` ({}): {}", stay.node, stay.op, stay.reason))
        .collect();
    let more = reasons.len().saturating_sub(SHOWN);
    reasons.truncate(SHOWN);
    if more > 0 {
        reasons.push(format!("and {more} reasons more: `qirc explain` gives them all"));
    }
    reasons
}

/// A warning where a float network holds what another tool quantized.
pub fn quantized_elsewhere(stays: &[StayNote]) -> Option<Diagnostic> {
    let marks = |stay: &&StayNote| matches!(&*stay.op, "quantize_linear" | "dequantize_linear");
    let first = stays.iter().find(marks)?;
    let message = format!(
        "{} operators of the network quantize and dequantize, as another tool left it: no layer goes over them",
        stays.iter().filter(marks).count()
    );
    let warning = Diagnostic::warning("Q0617", message).at_loc(&first.loc, "the first");
    Some(warning.note("compile the float network that it was made from"))
}

/// The fact that the graph has an integer layer, if it has one.
pub fn already_quantized(graph: &Graph) -> Option<WithPlaces<QuantError>> {
    let enters =
        |id: NodeId| graph.node(id).op().filter(|op| matches!(*op, "InputQuantizer" | "to_fixed_point"));
    let (id, op) = graph.order().into_iter().find_map(|id| Some((id, enters(id)?)))?;
    let node = graph.node(id);
    let error = QuantError::AlreadyQuantized { node: node.name.to_string(), op: op.to_owned() };
    Some(WithPlaces::new(error).at_loc(&node.loc, ""))
}

fn layer_notes(graph: &Graph, registry: &Registry) -> Result<Vec<LayerNote>, QuantError> {
    let mut notes = Vec::new();
    for id in graph.order() {
        let node = graph.node(id);
        let op = node.op().unwrap_or_default();
        let layer = registry.find(op).is_some_and(|entry| entry.schema.layer);
        if layer && let (Lowered::Layer { node: onnx, .. }, _) = lower_node(graph, registry, id, &node.name)?
        {
            let (node, loc) = (node.name.to_string(), node.loc.clone());
            notes.push(LayerNote { node, op_type: onnx.op_type, error: None, loc });
        }
    }
    Ok(notes)
}

/// Where the device's part of the network begins.
struct Entry {
    input: ValueId,
    /// Operators that no layer has, between the input and the device: they stay float in front of it.
    host: Vec<NodeId>,
    /// What the `InputQuantizer` reads.
    read: ValueId,
    /// The first value that is quantized: what calibration saw there decides the input's grid.
    value: ValueId,
    /// Permutation of a transpose that the `InputQuantizer` takes over.
    perm: Option<Vec<i64>>,
}

impl Entry {
    /// The device begins at the first value on the only way from the input that a layer reads. The
    /// `InputQuantizer` takes over what comes last on the way: a cast to f32, then a transpose.
    fn of(graph: &Graph, registry: &Registry, input: ValueId) -> Self {
        let mut way = way_in(graph, registry, input);
        let value = |way: &[NodeId]| way.last().map_or(input, |&node| ValueId { node, result: 0 });
        let first = value(&way);
        let perm = way.last().and_then(|&id| match &graph.node(id).kind {
            Kind::Op { op, attrs } if &**op == "transpose" => attrs.get_ints("perm").map(<[i64]>::to_vec),
            _ => None,
        });
        if perm.is_some() {
            way.pop();
        }
        let cast = |id: NodeId| {
            let node = graph.node(id);
            node.op() == Some("cast") && node.results[0].ty.storage() == DType::F32
        };
        if way.last().is_some_and(|&id| cast(id)) {
            way.pop();
        }
        Self { input, read: value(&way), host: way, value: first, perm }
    }
}

/// The operators from the input to the first value that a layer reads, where there is one way and they read
/// nothing else that is computed. None where no layer comes.
fn way_in(graph: &Graph, registry: &Registry, input: ValueId) -> Vec<NodeId> {
    let is_layer = |id: NodeId| {
        let entry = graph.node(id).op().and_then(|op| registry.find(op));
        entry.is_some_and(|entry| entry.schema.layer)
    };
    let mut way = Vec::new();
    let mut value = input;
    loop {
        let readers: BTreeSet<NodeId> = graph.uses(value).into_iter().map(|at| at.node).collect();
        if readers.iter().any(|&id| is_layer(id)) {
            return way;
        }
        let Some(&id) = readers.first().filter(|_| readers.len() == 1 && !graph.is_output(value)) else {
            return Vec::new();
        };
        let node = graph.node(id);
        let known = |&operand: &ValueId| operand == value || graph.constant(operand).is_some();
        if node.results.len() != 1 || !node.operands.iter().flatten().all(known) {
            return Vec::new();
        }
        way.push(id);
        value = ValueId { node: id, result: 0 };
    }
}

/// Which nodes become layers, and what that asks of the rest.
struct Selection {
    /// In canonical order.
    layers: Vec<NodeId>,
    is_layer: BTreeSet<NodeId>,
    /// Values that layers make, and the entry.
    quantized: BTreeSet<ValueId>,
    /// Live float operators, in canonical order.
    float: Vec<NodeId>,
    /// Quantized values that outputs or float operators read, in canonical order.
    dequantized: Vec<ValueId>,
}

impl Selection {
    fn new(
        graph: &Graph,
        registry: &Registry,
        order: &[NodeId],
        entry: &Entry,
        until: Option<ValueId>,
        refused: &BTreeMap<NodeId, String>,
    ) -> Self {
        let mut layers = Vec::new();
        let mut is_layer = BTreeSet::new();
        let mut quantized = BTreeSet::from([entry.value]);
        for &id in order {
            let node = graph.node(id);
            let layer = node.op().and_then(|op| registry.find(op)).is_some_and(|entry| entry.schema.layer);
            let ready = node.operands.iter().flatten().all(|&value| {
                graph.constant(value).is_some() || (quantized.contains(&value) && Some(value) != until)
            });
            if layer && ready && !refused.contains_key(&id) {
                layers.push(id);
                is_layer.insert(id);
                quantized.insert(ValueId { node: id, result: 0 });
            }
        }

        let mut float = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        let mut stack: Vec<ValueId> = graph.outputs().iter().map(|output| output.value).collect();
        while let Some(value) = stack.pop() {
            if is_layer.contains(&value.node) {
                wanted.insert(value);
            } else if graph.node(value.node).op().is_some()
                && !entry.host.contains(&value.node)
                && float.insert(value.node)
            {
                stack.extend(graph.node(value.node).operands.iter().copied().flatten());
            }
        }
        let float = order.iter().copied().filter(|id| float.contains(id)).collect();
        let dequantized = order
            .iter()
            .map(|&node| ValueId { node, result: 0 })
            .filter(|value| wanted.contains(value))
            .collect();
        Self { layers, is_layer, quantized, float, dequantized }
    }

    /// The layers that read a value on the device.
    fn readers<'a>(&'a self, graph: &'a Graph, value: ValueId) -> impl Iterator<Item = &'a Node> {
        let readers = graph.uses(value).into_iter().map(|at| at.node);
        readers.filter(|id| self.is_layer.contains(id)).map(|id| graph.node(id))
    }

    fn stays(
        &self,
        graph: &Graph,
        registry: &Registry,
        entry: &Entry,
        refused: &BTreeMap<NodeId, String>,
    ) -> Vec<StayNote> {
        let host = if self.layers.is_empty() { &[] } else { &entry.host[..] };
        host.iter()
            .chain(&self.float)
            .map(|&id| {
                let node = graph.node(id);
                let op = node.op().unwrap_or_default();
                let first_float = node
                    .operands
                    .iter()
                    .flatten()
                    .find(|value| graph.constant(**value).is_none() && !self.quantized.contains(value));
                let quantize = registry.find(op).map(|entry| entry.operator.quantize());
                let (cause, reason) = match (refused.get(&id), quantize, first_float) {
                    _ if host.contains(&id) => {
                        (StayCause::InFront, "it is computed in front of the device".to_owned())
                    }
                    (Some(reason), _, _) => (StayCause::Refused, reason.clone()),
                    (None, Some(Quantize::No(reason)), _) => (StayCause::NoLayer, reason.to_owned()),
                    (None, Some(Quantize::FixedPoint(_)), _) => (
                        StayCause::NoLayer,
                        "it is a layer of the scheme fixed-point, not of the device".to_owned(),
                    ),
                    (None, _, Some(&value)) => {
                        let reason = format!("its operand %{} is float", graph.value(value).name);
                        (StayCause::Operand(value), reason)
                    }
                    (None, _, None) => (StayCause::Ended, "quantization was to end before it".to_owned()),
                };
                let (cause, reason) = match non_finite(graph, node) {
                    Some(reason) => (StayCause::NonFinite, reason),
                    None => (cause, reason),
                };
                let (node_name, loc) = (node.name.to_string(), node.loc.clone());
                StayNote { node: node_name, op: op.to_owned(), reason, cause, loc, at: id }
            })
            .collect()
    }
}

/// The first element of a constant operand that is no number or infinite: the cause of whatever else
/// kept the node from becoming a layer.
fn non_finite(graph: &Graph, node: &Node) -> Option<String> {
    node.operands.iter().flatten().find_map(|&value| {
        let elements = graph.constant(value)?.elements::<f32>()?;
        let at = elements.iter().position(|element| !element.is_finite())?;
        let name = &graph.value(value).name;
        let sizes = graph.constant(value)?.sizes();
        let channel = at / sizes.iter().skip(1).product::<usize>().max(1);
        Some(format!("its constant %{name} holds {} in channel {channel}", elements[at]))
    })
}

/// Why parameters could not be computed.
enum Refusal {
    Layer(NodeId, OpError),
    Input(QuantError),
}

/// The integer form of the input and of every layer.
struct Parameters {
    input: InputParameters,
    layers: BTreeMap<NodeId, QuantizedLayer>,
}

fn parameters(
    graph: &Graph,
    registry: &Registry,
    options: &AkidaOptions,
    entry: &Entry,
    plan: &Selection,
) -> Result<Parameters, Refusal> {
    let feeds_add = |value| plan.readers(graph, value).any(|node| node.op() == Some("QuantizedAdd"));
    let range = graph.value(entry.value).range.as_ref().ok_or_else(|| {
        Refusal::Input(QuantError::NoInputRange { input: graph.value(entry.input).name.to_string() })
    })?;
    let input = input_parameters(range, options.input_dtype, feeds_add(entry.value))
        .map_err(|error| Refusal::Input(QuantError::Op(error)))?;
    let mut grids: BTreeMap<ValueId, AffineGrid> = BTreeMap::from([(entry.value, input.grid.clone())]);
    let mut layers = BTreeMap::new();
    for &id in &plan.layers {
        let node = graph.node(id);
        let value = ValueId { node: id, result: 0 };
        let layer = layer_parameters(graph, registry, id, &grids, feeds_add(value), {
            let read = plan.readers(graph, value).next().is_some();
            let activated = matches!(&node.kind, Kind::Op { attrs, .. }
                if attrs.get_str("activation").is_some_and(|activation| activation != "none"));
            read || activated || (options.last_output_8_bits && plan.float.is_empty())
        })
        .map_err(|error| Refusal::Layer(id, error))?;
        grids.insert(value, layer.grid.clone());
        layers.insert(id, layer);
    }
    Ok(Parameters { input, layers })
}

fn layer_parameters(
    graph: &Graph,
    registry: &Registry,
    id: NodeId,
    grids: &BTreeMap<ValueId, AffineGrid>,
    feeds_add: bool,
    scaled: bool,
) -> Result<QuantizedLayer, OpError> {
    let node = graph.node(id);
    let Kind::Op { op, attrs } = &node.kind else {
        return Err(OpError::UnknownOp { op: node.name.to_string(), similar: None });
    };
    let entry = registry.get(op)?;
    let Quantize::Layer(layer) = entry.operator.quantize() else {
        return Err(OpError::Unsupported { op: op.to_string(), what: "quantization".into(), way_out: None });
    };
    let operands: Vec<Option<TensorType>> =
        node.operands.iter().map(|operand| operand.map(|value| graph.ty(value).clone())).collect();
    let constants: Vec<Option<&Tensor>> = node
        .operands
        .iter()
        .map(|operand| operand.and_then(|value| graph.constant(value)).map(|tensor| &**tensor))
        .collect();
    let operand_grids: Vec<Option<&AffineGrid>> =
        node.operands.iter().map(|operand| operand.and_then(|value| grids.get(&value))).collect();
    layer.quantize(&LayerCall {
        call: Call { schema: &entry.schema, attrs, operands: &operands },
        constants: &constants,
        grids: &operand_grids,
        range: node.results[0].range.as_ref(),
        feeds_add,
        scaled,
    })
}

/// The new graph: input quantizer, layers, one dequantizer, and the float remainder. Also how the
/// integers of each quantized value came about.
fn assemble(
    graph: &Graph,
    registry: &Registry,
    entry: &Entry,
    plan: &Selection,
    parameters: Parameters,
) -> Result<(Graph, BTreeMap<String, WhyNote>), WithPlaces<OpError>> {
    let mut why = BTreeMap::new();
    let mut new = Graph::new(graph.name.clone());
    let mut float: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let mut integer: BTreeMap<ValueId, ValueId> = BTreeMap::new();

    let input_node = graph.node(entry.input.node);
    let old_input = graph.value(entry.input);
    let input = new.add_input(&old_input.name, old_input.ty.clone(), input_node.loc.clone());
    float.insert(entry.input, input);

    for &id in &entry.host {
        copy_float(graph, registry, &mut new, &mut float, id)
            .map_err(|error| WithPlaces::new(error).at_loc(&graph.node(id).loc, ""))?;
    }
    let read = copied(graph, &mut new, &mut float, entry.read).map_err(WithPlaces::new)?;

    let loc = graph.node(entry.value.node).loc.clone();
    let scale = new.add_const("quantize_scale", parameters.input.scale, loc.clone());
    let zero = new.add_const("quantize_zp", parameters.input.zero, loc.clone());
    let rank = graph.ty(entry.read).shape.rank() as i64;
    let perm = entry.perm.clone().unwrap_or_else(|| (0..rank).collect());
    let ty =
        TensorType { shape: graph.ty(entry.value).shape.clone(), grid: Grid::Affine(parameters.input.grid) };
    let node = new.add_op(
        "InputQuantizer",
        Attrs::new().with("perm", perm),
        vec![Some(read), Some(scale), Some(zero)],
        vec![Value::new("quantize", ty)],
        loc,
    );
    let quantized = ValueId { node, result: 0 };
    let of = graph.value(entry.value).name.to_string();
    why.insert(new.value(quantized).name.to_string(), WhyNote { of, why: parameters.input.why });
    integer.insert(entry.value, quantized);

    // Parameters are called after the node: in a model file its name is its own.
    let mut node_names = Names::default();
    node_names.take(&new.node(node).name);
    for (id, layer) in plan.layers.iter().filter_map(|id| Some((*id, parameters.layers.get(id)?))) {
        let name = node_names.fresh(&graph.node(id).name).into();
        let result = add_layer(graph, &mut new, &integer, id, layer, name);
        let of = graph.node(id).results[0].name.to_string();
        why.insert(new.value(result).name.to_string(), WhyNote { of, why: layer.why.clone() });
        integer.insert(ValueId { node: id, result: 0 }, result);
    }

    let dequantized = add_dequantizer(graph, &mut new, &integer, &plan.dequantized);
    float.extend(dequantized);

    for &id in &plan.float {
        copy_float(graph, registry, &mut new, &mut float, id)
            .map_err(|error| WithPlaces::new(error).at_loc(&graph.node(id).loc, ""))?;
    }
    let renamed = renamed_outputs(graph, plan);
    let kept = graph.outputs().iter().enumerate().filter(|(at, _)| !renamed.contains(at));
    let mut names = Names::default();
    for (_, output) in kept {
        names.take(&output.name);
    }
    for (at, output) in graph.outputs().iter().enumerate() {
        let value = copied(graph, &mut new, &mut float, output.value).map_err(WithPlaces::new)?;
        let mut name = output.name.clone();
        if renamed.contains(&at) {
            name = names.fresh(&new.value(value).name).into();
        }
        new.add_output(name, value);
    }
    Ok((new, why))
}

/// The outputs that are called as the dequantized tensor, so that nobody takes one for the tensor
/// that carried the name before: of each dequantized value the output that was called as the value,
/// or else the first. Other outputs of that value were names of their own and stay.
fn renamed_outputs(graph: &Graph, plan: &Selection) -> BTreeSet<usize> {
    let outputs = || graph.outputs().iter().enumerate();
    plan.dequantized
        .iter()
        .filter_map(|&value| {
            let named = outputs().find(|(_, o)| o.value == value && o.name == graph.value(value).name);
            named.or_else(|| outputs().find(|(_, output)| output.value == value)).map(|(at, _)| at)
        })
        .collect()
}

fn add_layer(
    graph: &Graph,
    new: &mut Graph,
    integer: &BTreeMap<ValueId, ValueId>,
    id: NodeId,
    layer: &QuantizedLayer,
    name: Arc<str>,
) -> ValueId {
    let node = graph.node(id);
    let operands = layer
        .operands
        .iter()
        .map(|operand| match operand {
            LayerOperand::Keep(position) => {
                node.operand(*position).and_then(|value| integer.get(&value)).copied()
            }
            LayerOperand::Absent => None,
            LayerOperand::Constant { suffix, tensor } => {
                Some(new.add_const(&format!("{name}_{suffix}"), tensor.clone(), node.loc.clone()))
            }
        })
        .collect();
    let ty = TensorType { shape: node.results[0].ty.shape.clone(), grid: Grid::Affine(layer.grid.clone()) };
    let value = Value::new(node.results[0].name.clone(), ty);
    let op = node.op().unwrap_or_default();
    let quantized = new.add_op(op, layer.attrs.clone(), operands, vec![value], node.loc.clone());
    new.set_node_name(quantized, name);
    ValueId { node: quantized, result: 0 }
}

/// One `Dequantizer` for all values that leave the device; nothing where none does.
fn add_dequantizer(
    graph: &Graph,
    new: &mut Graph,
    integer: &BTreeMap<ValueId, ValueId>,
    values: &[ValueId],
) -> Vec<(ValueId, ValueId)> {
    let mut operands = Vec::new();
    let mut results = Vec::new();
    let mut locs = Vec::new();
    for (i, old) in values.iter().enumerate() {
        let Some(&value) = integer.get(old) else { continue };
        let Some(grid) = new.ty(value).grid.affine() else { continue };
        let scale = dequantizer_scale(grid);
        let loc = graph.node(old.node).loc.clone();
        let name = if values.len() == 1 {
            "dequantizer_scale".into()
        } else {
            format!("dequantizer_scale_{}", i + 1)
        };
        operands.push(Some(value));
        operands.push(Some(new.add_const(&name, scale, loc.clone())));
        let ty = TensorType::new(DType::F32, new.ty(value).shape.clone());
        results.push(Value::new(format!("{}/dequantize", new.value(value).name), ty));
        locs.push(loc);
    }
    if results.is_empty() {
        return Vec::new();
    }
    let node = new.add_op("Dequantizer", Attrs::new(), operands, results, Loc::merged(&locs));
    new.set_node_name(node, Arc::from("dequantizer"));
    values.iter().zip(0..).map(|(&old, result)| (old, ValueId { node, result })).collect()
}

/// Copies a float operator; a layer that is not quantized becomes the chain that it stood for.
fn copy_float(
    graph: &Graph,
    registry: &Registry,
    new: &mut Graph,
    float: &mut BTreeMap<ValueId, ValueId>,
    id: NodeId,
) -> Result<(), OpError> {
    let node = graph.node(id);
    let Kind::Op { op, attrs } = &node.kind else { return Ok(()) };
    let operands = node.operands.iter();
    let operands: Vec<Option<ValueId>> = operands
        .map(|operand| operand.map(|value| copied(graph, new, float, value)).transpose())
        .collect::<Result<_, _>>()?;
    let entry = registry.get(op)?;
    if entry.schema.layer {
        let mut builder = Builder { graph: new, registry, loc: node.loc.clone() };
        let value = expand(&mut builder, op, attrs, &operands, &node.results[0].name, &node.name)?;
        float.insert(ValueId { node: id, result: 0 }, value);
        return Ok(());
    }
    let copy = new.add_op(op, attrs.clone(), operands, node.results.clone(), node.loc.clone());
    new.set_node_name(copy, node.name.clone());
    for result in 0..node.results.len() as u32 {
        float.insert(ValueId { node: id, result }, ValueId { node: copy, result });
    }
    Ok(())
}

/// The float value in the new graph; constants are brought along when first read.
fn copied(
    graph: &Graph,
    new: &mut Graph,
    float: &mut BTreeMap<ValueId, ValueId>,
    old: ValueId,
) -> Result<ValueId, OpError> {
    if let Some(&value) = float.get(&old) {
        return Ok(value);
    }
    let node = graph.node(old.node);
    let Some(tensor) = graph.constant(old) else {
        let (op, operand) = (node.op().unwrap_or("input").to_owned(), node.name.to_string());
        return Err(OpError::MissingOperand { op, operand });
    };
    let value = new.add_const(&node.results[0].name, (**tensor).clone(), node.loc.clone());
    float.insert(old, value);
    Ok(value)
}
