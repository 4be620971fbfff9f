//! Equalization across layers: measured ranges shrink to just below a power of two, and the next kernel makes up for it
//! (quantizers §6).

use std::collections::BTreeMap;

use super::layer_of;
use super::placement::Placed;
use crate::diag::{Diagnostics, WithPlaces};
use crate::ir::{Graph, Kind, NodeId, ValueId};
use crate::ops::fixed::OutputAxis;
use crate::ops::{Arithmetic, Registry};
use crate::quant::QuantError;
use crate::tensor::fixed::PerChannel;
use crate::tensor::round::{binary32_floor_log2, power_of_two_f32};
use crate::tensor::{DType, Tensor};

/// What output quantizers are made from, by layer.
#[derive(Default)]
pub struct Equalized {
    pub range_max: BTreeMap<NodeId, PerChannel<f32>>,
    pub rescaling_rate: BTreeMap<NodeId, PerChannel<f32>>,
    /// Kernels that were divided by rates.
    pub kernels: BTreeMap<NodeId, Tensor>,
    /// What the elements of one sample of a value are multiplied by, between a layer and the kernel that makes up for it.
    pub multiplied: BTreeMap<ValueId, Tensor>,
}

pub fn equalize(graph: &Graph, registry: &Registry, placed: &Placed) -> Result<Equalized, Diagnostics> {
    let mut equalized = Equalized::default();
    for id in graph.order() {
        let Some(output) = placed.configs.get(&id).and_then(|config| config.output_quantizer.as_ref()) else {
            continue;
        };
        let measured = measured(graph, id, output.axis)?;
        let filled = scaled_out(graph, id).then(|| ideal(&measured, output.bitwidth)).flatten();
        let Some((range_max, rate)) = filled else {
            equalized.range_max.insert(id, measured);
            continue;
        };
        match next_kernel(graph, registry, placed, id, &rate, &equalized) {
            None => {
                equalized.range_max.insert(id, measured);
            }
            Some(Next { layer, kernel, between }) => {
                equalized.kernels.insert(layer, kernel);
                for (value, channels) in between {
                    equalized.multiplied.extend(rates(&channels, &rate).map(|rates| (value, rates)));
                }
                equalized.range_max.insert(id, range_max);
                equalized.rescaling_rate.insert(id, rate);
            }
        }
    }
    Ok(equalized)
}

/// The largest magnitudes that a calibrated range has.
fn measured(graph: &Graph, id: NodeId, axis: OutputAxis) -> Result<PerChannel<f32>, Diagnostics> {
    let value = &graph.node(id).results[0];
    let Some(range) = &value.range else {
        let error = QuantError::NoRange { value: value.name.to_string() };
        return Err(WithPlaces::new(error).at_loc(&graph.node(id).loc, "").into());
    };
    let ends = range.lowest.iter().zip(range.highest.iter());
    let most: Vec<f32> = ends.map(|(low, high)| low.abs().max(high.abs())).collect();
    Ok(match (axis, most.len()) {
        (OutputAxis::PerAxis, 2..) => PerChannel::last(most),
        _ => PerChannel::tensor(most.into_iter().fold(0.0, f32::max)),
    })
}

/// Whether the output quantizer of a layer multiplies by scales: without, nothing could make up for a rate.
fn scaled_out(graph: &Graph, id: NodeId) -> bool {
    !matches!(graph.node(id).op(), Some("Add" | "Attention"))
}

/// The ranges that fill the power of two below, and what the measured ones are multiplied by for it. `None` where they
/// do already.
fn ideal(measured: &PerChannel<f32>, bitwidth: u32) -> Option<(PerChannel<f32>, PerChannel<f32>)> {
    let most = (power_of_two_f32(bitwidth as i32) - 1.0) * power_of_two_f32(-(bitwidth as i32));
    // A range of 0 has no order.
    let ideal =
        measured.map(|range| binary32_floor_log2(range).map_or(0.0, |log| most * power_of_two_f32(log)));
    if ideal == *measured {
        return None;
    }
    if measured.axis().is_none() && ideal.entries()[0] == 0.0 {
        return None;
    }
    // Channels that are 0 throughout stay as they are.
    let range_max = ideal.map(|ideal| if ideal == 0.0 { 1.0 } else { ideal });
    let rate = ideal.zip(measured, |ideal, range| if ideal == 0.0 { 1.0 } else { ideal / range })?;
    Some((range_max, rate))
}

/// The rate of each element, by its channel.
fn rates(channels: &Tensor, rate: &PerChannel<f32>) -> Option<Tensor> {
    let of = |&channel: &i64| match rate.entries() {
        &[one] => Some(one),
        many => many.get(usize::try_from(channel).ok()?).copied(),
    };
    let rates: Option<Vec<f32>> = channels.elements::<i64>()?.iter().map(of).collect();
    Tensor::new(channels.sizes(), rates?)
}

/// A kernel, with the values between it and the layer before, and their channels.
struct Next {
    layer: NodeId,
    kernel: Tensor,
    between: Vec<(ValueId, Tensor)>,
}

/// The kernel that next reads what a layer gives, divided by the rates along its input channels.
fn next_kernel(
    graph: &Graph,
    registry: &Registry,
    placed: &Placed,
    from: NodeId,
    rate: &PerChannel<f32>,
    equalized: &Equalized,
) -> Option<Next> {
    let mut value = ValueId { node: from, result: 0 };
    let mut channels = labels(graph, registry, value)?;
    let mut between = Vec::new();
    loop {
        between.push((value, channels.clone()));
        let uses = graph.uses(value);
        let [only] = uses[..] else { return None };
        if graph.is_output(value) || !placed.quantized.contains(&only.node) {
            return None;
        }
        let node = graph.node(only.node);
        let Kind::Op { op, attrs } = &node.kind else { return None };
        let layer = layer_of(graph, registry, only.node);
        if let Some(axis) = layer.as_ref().and_then(|layer| layer.placement().kernel_channels) {
            let labels = along(&channels, if node.op() == Some("Dense") { None } else { Some(1) })?;
            let own = graph.constant(node.operand(1)?)?;
            let kernel = equalized.kernels.get(&only.node).unwrap_or(own);
            let kernel = divided(kernel, axis, &labels, rate)?;
            return Some(Next { layer: only.node, kernel, between });
        }
        value = ValueId { node: only.node, result: 0 };
        channels = match (&**op, layer) {
            ("MaxPool2D" | "GlobalAveragePooling2D", _) => spread(&along(&channels, Some(1))?, graph, value)?,
            ("Flatten", _) => {
                registry_eval(registry, "flatten", &crate::ir::Attrs::new().with("axis", 1i64), &channels)?
            }
            (op, None) if node.operands.len() == 1 => registry_eval(registry, op, attrs, &channels)?,
            _ => return None,
        };
    }
}

fn registry_eval(registry: &Registry, op: &str, attrs: &crate::ir::Attrs, x: &Tensor) -> Option<Tensor> {
    let results = registry.eval(op, attrs, &[Some(x.clone())], Arithmetic::Exact).ok()?;
    results.into_iter().next()
}

/// For each element of one sample of a layer's result, its channel.
fn labels(graph: &Graph, registry: &Registry, value: ValueId) -> Option<Tensor> {
    let shape = &graph.ty(value).shape;
    let axis = layer_of(graph, registry, value.node)?.channels(shape.rank());
    let sizes = sample(graph, value)?;
    let inner: usize = sizes.get(axis + 1..)?.iter().product();
    let count: usize = sizes.iter().product();
    let channels = *sizes.get(axis)?;
    Tensor::new(&sizes, (0..count).map(|at| (at / inner.max(1) % channels.max(1)) as i64).collect())
}

/// The sizes of one sample of a value.
fn sample(graph: &Graph, value: ValueId) -> Option<Vec<usize>> {
    let dims = graph.ty(value).shape.iter().enumerate();
    dims.map(|(axis, dim)| if axis == 0 { Some(1) } else { dim.fixed() }).collect()
}

/// The channel of each index of an axis (without one, of the last), where it is the same for all elements there.
fn along(channels: &Tensor, axis: Option<usize>) -> Option<Vec<i64>> {
    let sizes = channels.sizes();
    let axis = axis.unwrap_or(sizes.len().checked_sub(1)?);
    let inner: usize = sizes.get(axis + 1..)?.iter().product();
    let size = *sizes.get(axis)?;
    let mut found: Vec<Option<i64>> = vec![None; size];
    for (at, &channel) in channels.elements::<i64>()?.iter().enumerate() {
        let known = &mut found[at / inner.max(1) % size.max(1)];
        if known.is_some_and(|known| known != channel) {
            return None;
        }
        *known = Some(channel);
    }
    found.into_iter().collect()
}

/// The channels of a map, for each of its elements.
fn spread(channels: &[i64], graph: &Graph, value: ValueId) -> Option<Tensor> {
    let sizes = sample(graph, value)?;
    let inner: usize = sizes.get(2..)?.iter().product();
    Tensor::new(&sizes, channels.iter().flat_map(|&channel| std::iter::repeat_n(channel, inner)).collect())
}

/// A kernel divided, along an axis, by the rates of the channels.
fn divided(kernel: &Tensor, axis: usize, channels: &[i64], rate: &PerChannel<f32>) -> Option<Tensor> {
    let sizes = kernel.sizes();
    if kernel.dtype() != DType::F32 || sizes.get(axis) != Some(&channels.len()) {
        return None;
    }
    let inner: usize = sizes.get(axis + 1..)?.iter().product();
    let rates: Option<Vec<f32>> = match rate.entries() {
        &[one] => Some(vec![one; channels.len()]),
        many => channels.iter().map(|&channel| many.get(usize::try_from(channel).ok()?).copied()).collect(),
    };
    let rates = rates?;
    let elements = kernel.elements::<f32>()?.iter().enumerate();
    Tensor::new(sizes, elements.map(|(at, w)| w / rates[at / inner.max(1) % rates.len().max(1)]).collect())
}
