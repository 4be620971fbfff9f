//! The quantized graph: inputs on grids, layers in their integer form, floats behind them.

use std::collections::{BTreeMap, BTreeSet};

use super::equalize::{Equalized, equalize};
use super::placement::Placed;
use super::{FixedPointOptions, channels_of_entry, layer_of};
use crate::diag::{Diagnostics, Report, WithPlaces};
use crate::ir::{Attrs, Graph, Kind, NodeId, Value, ValueId};
use crate::ops::fixed::{Constant, FixedCall, FixedForm, LayerConfig, LayerNames, input_attrs};
use crate::ops::layer::expand;
use crate::ops::{Builder, Call, OpError, Registry, Why};
use crate::quant::{QuantError, WhyNote};
use crate::tensor::fixed::{InputQuantizer, PerChannel, QTensor};
use crate::tensor::{DType, FixedGrid, Tensor, TensorType};

/// Why there is no quantized graph.
pub enum Refusal {
    /// A layer has no integers; without it, another graph may be.
    Layer(NodeId, String),
    Network(Diagnostics),
}

impl From<Diagnostics> for Refusal {
    fn from(found: Diagnostics) -> Self {
        Refusal::Network(found)
    }
}

impl From<WithPlaces<QuantError>> for Refusal {
    fn from(error: WithPlaces<QuantError>) -> Self {
        Refusal::Network(error.into())
    }
}

pub struct Built {
    pub graph: Graph,
    /// The layers, in canonical order.
    pub layers: Vec<NodeId>,
    /// What the elements of one sample of a value were multiplied by, by the name of the value.
    pub multiplied: BTreeMap<String, Tensor>,
    /// How the integers of a value came about, by its name.
    pub why: BTreeMap<String, WhyNote>,
}

pub fn build(
    graph: &Graph,
    registry: &Registry,
    options: &FixedPointOptions,
    placed: &Placed,
) -> Result<Built, Refusal> {
    let equalized = equalize(graph, registry, placed)?;
    let mut build = Build {
        graph,
        registry,
        options,
        placed,
        equalized,
        offsets: BTreeMap::new(),
        new: Graph::new(graph.name.clone()),
        float: BTreeMap::new(),
        fixed: BTreeMap::new(),
        why: BTreeMap::new(),
    };
    build.inputs()?;
    let mut layers = Vec::new();
    for id in graph.order() {
        if !placed.quantized.contains(&id) {
            continue;
        }
        match layer_of(graph, registry, id) {
            Some(_) => {
                build.layer(id)?;
                layers.push(id);
            }
            None => build.moved(id).map_err(|error| refused(id, &error))?,
        }
    }
    build
        .remainder()
        .map_err(|error| WithPlaces { error: QuantError::Op(error.error), places: error.places })?;
    let named = |(value, rates): (&ValueId, &Tensor)| (graph.value(*value).name.to_string(), rates.clone());
    let multiplied = build.equalized.multiplied.iter().map(named).collect();
    Ok(Built { graph: build.new, layers, multiplied, why: build.why })
}

fn refused(id: NodeId, error: &OpError) -> Refusal {
    let words: Vec<String> = std::iter::once(error.to_string()).chain(error.hints()).collect();
    Refusal::Layer(id, words.join("; "))
}

struct Build<'a> {
    graph: &'a Graph,
    registry: &'a Registry,
    options: &'a FixedPointOptions,
    placed: &'a Placed,
    equalized: Equalized,
    /// What was taken off an unsigned input for each channel, by the layer that makes up for it.
    offsets: BTreeMap<NodeId, Vec<f32>>,
    new: Graph,
    /// Values of the old graph as floats in the new one, or as they were.
    float: BTreeMap<ValueId, ValueId>,
    fixed: BTreeMap<ValueId, ValueId>,
    why: BTreeMap<String, WhyNote>,
}

impl Build<'_> {
    fn inputs(&mut self) -> Result<(), Refusal> {
        for input in self.graph.inputs() {
            let (value, node) = (self.graph.value(input), self.graph.node(input.node));
            let new = self.new.add_input(&value.name, value.ty.clone(), node.loc.clone());
            self.float.insert(input, new);
        }
        for (&input, &entry) in &self.placed.entries {
            // The operators between, from the input on.
            let mut between = Vec::new();
            let mut value = entry;
            while value != input {
                between.push(value.node);
                let Some(before) = self.graph.node(value.node).operand(0) else { break };
                value = before;
            }
            let whole = matches!(self.graph.ty(input).storage(), DType::U8 | DType::I8);
            let mut last = self.float[&input];
            for id in between.into_iter().rev() {
                let node = self.graph.node(id);
                let Kind::Op { op, attrs } = &node.kind else { continue };
                // Whole numbers are numbers as they come.
                if whole && &**op == "cast" {
                    continue;
                }
                let name = node.results[0].name.to_string();
                let mut builder =
                    Builder { graph: &mut self.new, registry: self.registry, loc: node.loc.clone() };
                last = builder.op(op, attrs.clone(), &[last], &name).map_err(|error| refused(id, &error))?;
                self.float.insert(ValueId { node: id, result: 0 }, last);
            }
            let read = self.graph.uses(entry).iter().any(|at| self.placed.quantized.contains(&at.node));
            if read {
                let attrs = self.input_attrs(entry, whole)?;
                let node = self.graph.node(entry.node);
                let name = format!("{}/quantize", self.graph.value(entry).name);
                let mut builder =
                    Builder { graph: &mut self.new, registry: self.registry, loc: node.loc.clone() };
                let quantized = builder
                    .op("to_fixed_point", attrs, &[last], &name)
                    .map_err(|error| Refusal::from(WithPlaces::new(QuantError::Op(error))))?;
                self.fixed.insert(entry, quantized);
            }
        }
        Ok(())
    }

    /// The grid of an input (quantizers §1.6).
    fn input_attrs(&mut self, entry: ValueId, whole: bool) -> Result<Attrs, Refusal> {
        let (value, storage) = (self.graph.value(entry), self.options.input_dtype);
        if whole {
            let bits = if self.new.inputs().any(|input| self.new.ty(input).storage() == DType::I8) {
                7i64
            } else {
                8
            };
            return Ok(Attrs::new().with("value_bits", bits).with("frac_bits", vec![0i64]));
        }
        let Some(range) = &value.range else {
            let error = QuantError::NoInputRange { input: value.name.to_string() };
            return Err(Refusal::from(WithPlaces::new(error)));
        };
        let channels = channels_of_entry(self.graph, entry);
        let first = self.first_weighted(entry);
        let unsigned = storage == DType::U8 && first.is_some();
        let low: Vec<f32> =
            range.lowest.iter().map(|low| if unsigned { low.min(0.0) } else { *low }).collect();
        let per_channel = |entries: &[f32]| match *entries {
            [one] => PerChannel::tensor(one),
            _ => PerChannel::last(entries.to_vec()),
        };
        let quantizer = InputQuantizer {
            bitwidth: 8,
            signed: !unsigned,
            range_min: per_channel(&low),
            range_max: per_channel(&range.highest),
        };
        let attrs = input_attrs(&quantizer, channels).map_err(|error| {
            let error = OpError::FixedPoint { op: "to_fixed_point".to_owned(), error: error.into() };
            Refusal::from(WithPlaces::new(QuantError::Op(error)))
        })?;
        if let Some((first, scale)) = first.filter(|_| unsigned) {
            self.offsets.insert(first, low.iter().map(|low| low * scale).collect());
        }
        Ok(attrs)
    }

    /// The layer that makes up for an offset of an input, if one can, and what the input is multiplied by before it.
    fn first_weighted(&self, entry: ValueId) -> Option<(NodeId, f32)> {
        let (mut value, mut scale) = (entry, 1.0);
        loop {
            let readers: BTreeSet<NodeId> = self.graph.uses(value).into_iter().map(|at| at.node).collect();
            let id =
                readers.first().copied().filter(|_| readers.len() == 1 && !self.graph.is_output(value))?;
            let node = self.graph.node(id);
            match &node.kind {
                Kind::Op { op, attrs } if &**op == "Rescaling" => scale *= attrs.get_float("scale")?,
                Kind::Op { op, .. } if matches!(&**op, "Conv2D" | "Dense") => return Some((id, scale)),
                Kind::Op { op, .. } if &**op == "transpose" => {}
                _ => return None,
            }
            value = ValueId { node: id, result: 0 };
        }
    }

    /// An operator that moves elements of fixed-point numbers.
    fn moved(&mut self, id: NodeId) -> Result<(), OpError> {
        let node = self.graph.node(id);
        let Kind::Op { op, attrs } = &node.kind else { return Ok(()) };
        let operands: Vec<Option<ValueId>> = node
            .operands
            .iter()
            .map(|operand| operand.map(|value| self.operand(value)).transpose())
            .collect::<Result<_, _>>()?;
        let types: Vec<Option<TensorType>> =
            operands.iter().map(|operand| operand.map(|value| self.new.ty(value).clone())).collect();
        let types = self.registry.infer(op, attrs, &types)?;
        let values =
            node.results.iter().zip(types).map(|(value, ty)| Value::new(self.name_of(&value.name), ty));
        let values = values.collect();
        let new = self.new.add_op(op, attrs.clone(), operands, values, node.loc.clone());
        self.new.set_node_name(new, node.name.clone());
        for result in 0..node.results.len() as u32 {
            self.fixed.insert(ValueId { node: id, result }, ValueId { node: new, result });
        }
        Ok(())
    }

    /// The name of a quantized value: outputs are floats, and keep theirs.
    fn name_of(&self, name: &str) -> String {
        let output = self.graph.outputs().iter().any(|output| &*self.graph.value(output.value).name == name);
        if output { format!("{name}/quantized") } else { name.to_owned() }
    }

    /// A value as the integer form reads it.
    fn operand(&mut self, value: ValueId) -> Result<ValueId, OpError> {
        match self.fixed.get(&value) {
            Some(&fixed) => Ok(fixed),
            None => self.plain(value),
        }
    }

    /// A value as the float part reads it.
    fn plain(&mut self, value: ValueId) -> Result<ValueId, OpError> {
        if let Some(&float) = self.float.get(&value) {
            return Ok(float);
        }
        let node = self.graph.node(value.node);
        let old = self.graph.value(value);
        let new = if let Some(&fixed) = self.fixed.get(&value) {
            let name = match self.graph.is_output(value) {
                true => old.name.to_string(),
                false => format!("{}/dequantize", old.name),
            };
            let mut builder =
                Builder { graph: &mut self.new, registry: self.registry, loc: node.loc.clone() };
            builder.op("to_float", Attrs::new(), &[fixed], &name)?
        } else if let Some(tensor) = self.graph.constant(value) {
            self.new.add_const(&old.name, (**tensor).clone(), node.loc.clone())
        } else {
            let (op, operand) = (node.op().unwrap_or("input").to_owned(), node.name.to_string());
            return Err(OpError::MissingOperand { op, operand });
        };
        self.float.insert(value, new);
        Ok(new)
    }

    fn layer(&mut self, id: NodeId) -> Result<(), Refusal> {
        let node = self.graph.node(id);
        let Kind::Op { op, .. } = &node.kind else { return Ok(()) };
        let form = self.form(id).map_err(|error| refused(id, &error))?;
        let why = self.whys(id, &form);
        let result = self.name_of(&node.results[0].name);
        let names = LayerNames { node: &node.name, result: &result };
        let kept = |position| node.operand(position).and_then(|value| self.fixed.get(&value)).copied();
        let quantized = form.add(&mut self.new, op, node.results[0].ty.shape.clone(), names, &node.loc, kept);
        let of = node.results[0].name.to_string();
        self.why.insert(self.new.value(quantized).name.to_string(), WhyNote { of, why });
        self.fixed.insert(ValueId { node: id, result: 0 }, quantized);
        Ok(())
    }

    /// How the numbers of a layer came about.
    fn whys(&self, id: NodeId, form: &FixedForm) -> Vec<Why> {
        let mut why = Vec::new();
        let grid = &form.grid;
        if let (Some(range), Some(_)) = (self.equalized.range_max.get(&id), form.attrs.get("value_bits")) {
            if let Some(rate) = self.equalized.rescaling_rate.get(&id) {
                let note = "equalization: what the next kernel is divided by, to fill the power of two below the range";
                why.push(Why::new("rate", note).value(rate.entries()));
            }
            let note = format!("{} - ceil(log2(range)), at most {}", grid.value_bits, grid.value_bits);
            why.push(Why::new("frac_bits", note).term("range", range.entries()).value(&grid.frac_bits));
        } else {
            let note = "that of the accumulator, as no layer behind needs another";
            why.push(Why::new("frac_bits", note).value(&grid.frac_bits));
        }
        if let Some(scales) = &grid.scales {
            why.push(Why::new("scale", "of the input times that of the weights").value(scales));
        }
        let qscales = form.recorded.get("qscales");
        if let Some(Constant::Tensor(QTensor::Fixed(qscales))) = qscales {
            let integers: Vec<f64> = qscales.elements().iter().map(|&v| v as f64).collect();
            let note = "integers for the scales (times the rate), their leading bit set";
            let own = qscales.frac_bits().entries();
            why.push(Why::new("qscales", note).term("frac_bits", own).value(&integers));
        }
        for (name, constant) in &form.recorded {
            let Constant::Shift(shift) = constant else { continue };
            // Those of the input's channels are not numbers of the output's.
            let foreign = matches!(*name, "input_shift" | "padding_shift" | "values_shift");
            if foreign && shift.entries().len() > 1 {
                continue;
            }
            let note = match *name {
                "out_shift" => "to the frac bits of the output from those of the product with qscales",
                "input_shift" => "to one grid for all channels of the input",
                _ => "to the frac bits of the accumulator",
            };
            why.push(Why::new(*name, note).value(shift.entries()));
        }
        why
    }

    /// The parameter computation of a layer.
    fn form(&self, id: NodeId) -> Result<FixedForm, OpError> {
        let node = self.graph.node(id);
        let Kind::Op { op, attrs } = &node.kind else {
            return Err(OpError::UnknownOp { op: node.name.to_string(), similar: None });
        };
        let entry = self.registry.get(op)?;
        let layer = layer_of(self.graph, self.registry, id);
        let layer = layer.ok_or_else(|| OpError::UnknownOp { op: op.to_string(), similar: None })?;
        let mut tensors: Vec<Option<Tensor>> = node
            .operands
            .iter()
            .map(|operand| {
                operand.and_then(|value| self.graph.constant(value)).map(|tensor| (**tensor).clone())
            })
            .collect();
        let mut types: Vec<Option<TensorType>> =
            node.operands.iter().map(|operand| operand.map(|value| self.graph.ty(value).clone())).collect();
        if let Some(kernel) = self.equalized.kernels.get(&id) {
            tensors[1] = Some(kernel.clone());
        }
        if let Some(offset) = self.offsets.get(&id) {
            with_offset(op, attrs, &mut tensors, offset);
            tensors.resize(tensors.len().max(types.len()), None);
            types.resize(tensors.len(), None);
            for (ty, tensor) in types.iter_mut().zip(&tensors) {
                *ty = ty.take().or_else(|| tensor.as_ref().map(Tensor::tensor_type));
            }
        }
        let constants: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
        let grids: Vec<Option<&FixedGrid>> = node
            .operands
            .iter()
            .map(|operand| self.new.ty(*self.fixed.get(&(*operand)?)?).grid.fixed())
            .collect();
        let none = LayerConfig::default();
        layer.quantize(&FixedCall {
            call: Call { schema: &entry.schema, attrs, operands: &types },
            constants: &constants,
            grids: &grids,
            config: self.placed.configs.get(&id).unwrap_or(&none),
            range_max: self.equalized.range_max.get(&id),
            rescaling_rate: self.equalized.rescaling_rate.get(&id),
        })
    }

    /// What stays float, and the outputs.
    fn remainder(&mut self) -> Result<(), WithPlaces<OpError>> {
        let mut wanted: Vec<NodeId> = self.graph.outputs().iter().map(|output| output.value.node).collect();
        let mut float = BTreeSet::new();
        while let Some(id) = wanted.pop() {
            let computed = self.placed.quantized.contains(&id) || self.placed.in_front.contains(&id);
            if self.graph.node(id).op().is_some() && !computed && float.insert(id) {
                wanted.extend(self.graph.node(id).operands.iter().flatten().map(|value| value.node));
            }
        }
        for id in self.graph.order().into_iter().filter(|id| float.contains(id)) {
            self.float(id).map_err(|error| WithPlaces::new(error).at_loc(&self.graph.node(id).loc, ""))?;
        }
        for output in self.graph.outputs() {
            let value = self.plain(output.value).map_err(WithPlaces::new)?;
            self.new.add_output(output.name.clone(), value);
        }
        Ok(())
    }

    /// An operator that stays float; a layer becomes the chain that it stands for.
    fn float(&mut self, id: NodeId) -> Result<(), OpError> {
        let node = self.graph.node(id);
        let Kind::Op { op, attrs } = &node.kind else { return Ok(()) };
        let operands: Vec<Option<ValueId>> = node
            .operands
            .iter()
            .map(|operand| operand.map(|value| self.plain(value)).transpose())
            .collect::<Result<_, _>>()?;
        // Where floats are to begin, they do.
        if let (Some("to_float"), Some(&Some(value))) = (node.op(), operands.first())
            && self.new.ty(value).storage() == DType::F32
        {
            self.float.insert(ValueId { node: id, result: 0 }, value);
            return Ok(());
        }
        if layer_of(self.graph, self.registry, id).is_some() {
            let mut builder =
                Builder { graph: &mut self.new, registry: self.registry, loc: node.loc.clone() };
            let value = expand(&mut builder, op, attrs, &operands, &node.results[0].name, &node.name)?;
            self.float.insert(ValueId { node: id, result: 0 }, value);
            return Ok(());
        }
        let new = self.new.add_op(op, attrs.clone(), operands, node.results.clone(), node.loc.clone());
        self.new.set_node_name(new, node.name.clone());
        for result in 0..node.results.len() as u32 {
            self.float.insert(ValueId { node: id, result }, ValueId { node: new, result });
        }
        Ok(())
    }
}

/// Lets a layer make up for what was taken off its input: the bias gets the products of it with the kernel, and it is taken
/// off what is around a map (transforms §1.1).
fn with_offset(op: &str, attrs: &Attrs, tensors: &mut Vec<Option<Tensor>>, offset: &[f32]) {
    let Some(kernel) = tensors.get(1).cloned().flatten() else { return };
    let (sizes, Some(weights)) = (kernel.sizes().to_vec(), kernel.elements::<f32>()) else { return };
    let of = |channel: usize| f64::from(if offset.len() == 1 { offset[0] } else { offset[channel] });
    let (filters, channels) = match (op, &sizes[..]) {
        ("Conv2D", &[filters, channels, ..]) => (filters, channels),
        (_, &[channels, filters]) => (filters, channels),
        _ => return,
    };
    let mut sums = vec![0f64; filters];
    let map = weights.len() / (filters * channels).max(1);
    for (at, &weight) in weights.iter().enumerate() {
        let (filter, channel) = match op {
            "Conv2D" => (at / (channels * map), at / map % channels),
            _ => (at % filters, at / filters),
        };
        sums[filter] += f64::from(weight) * of(channel);
    }
    let bias = tensors.get(2).cloned().flatten();
    let bias = bias.as_ref().and_then(|bias| bias.elements::<f32>());
    let bias: Vec<f32> =
        sums.iter().enumerate().map(|(i, &sum)| bias.map_or(0.0, |bias| bias[i]) + sum as f32).collect();
    tensors.resize(tensors.len().max(3), None);
    tensors[2] = Some(Tensor::vector(bias));
    let padded = attrs.get_ints("pads").is_some_and(|pads| pads.iter().any(|&pad| pad != 0));
    if op == "Conv2D" && padded {
        tensors.resize(4, None);
        let own = tensors[3].as_ref().and_then(|own| own.elements::<f32>());
        let around = |channel: usize| own.map_or(0.0, |own| own[channel]) - of(channel) as f32;
        tensors[3] = Some(Tensor::vector((0..channels).map(around).collect()));
    }
}
