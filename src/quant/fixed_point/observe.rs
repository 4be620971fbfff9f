//! Calibration with moving ranges (quantizers §1.5 and §6).

use std::collections::BTreeMap;

use super::placement::Placed;
use super::{FixedPointOptions, channels_of_entry, layer_of};
use crate::diag::{Diagnostics, WithPlaces};
use crate::interp::Plan;
use crate::ir::{Graph, Range, ValueId};
use crate::ops::fixed::OutputAxis;
use crate::ops::{Arithmetic, Registry};
use crate::quant::{QuantError, Samples};
use crate::tensor::fixed::{Extreme, Observer};

/// Which extremes of a value are followed, and where its channels are.
struct Watch {
    observers: Vec<Observer>,
    /// The axis of the channels; `None` for one range.
    axis: Option<usize>,
}

/// Gives the values that quantizers are placed on the ranges that the samples have there: a moving average of the
/// extremes of each batch, symmetric where only magnitudes count.
///
/// # Errors
/// Other than one input, no samples, samples that do not fit, or an operator that fails.
pub fn calibrate_fixed_point(
    graph: &mut Graph,
    registry: &Registry,
    samples: &mut dyn Samples,
    options: &FixedPointOptions,
    batch_size: usize,
    num_samples: Option<usize>,
    progress: &mut dyn FnMut(usize),
) -> Result<(), Diagnostics> {
    let fail = |error: QuantError| Diagnostics::from(WithPlaces::new(error));
    let inputs: Vec<ValueId> = graph.inputs().collect();
    let [input] = inputs[..] else { return Err(fail(QuantError::Inputs { found: inputs.len() })) };
    let name = graph.value(input).name.to_string();
    let placed = Placed::new(graph, registry, options, &std::collections::BTreeSet::new())?;
    let mut watched = watched(graph, registry, options, &placed).map_err(fail)?;
    let plan = Plan::new(graph, registry, Arithmetic::Exact).map_err(widen)?;
    let fixed_batch = graph.ty(input).shape.first().and_then(|dim| dim.fixed());
    let batch = fixed_batch.unwrap_or(batch_size).max(1);
    let mut done = 0;
    for _ in 0..options.epochs {
        samples.rewind();
        let limit = num_samples.unwrap_or(usize::MAX).min(samples.count());
        let usable = if fixed_batch.is_some() { limit - limit % batch } else { limit };
        let mut taken = 0;
        while taken < usable {
            let Some(piece) = samples.take(batch.min(usable - taken)).map_err(fail)? else { break };
            taken += piece.sizes().first().copied().unwrap_or(0);
            let feeds = BTreeMap::from([(name.clone(), piece)]);
            let mut see = |id: ValueId, tensor: &crate::tensor::Tensor| {
                let Some(watch) = watched.get_mut(&id) else { return };
                let narrow = tensor.cast(crate::tensor::DType::F32);
                let elements = narrow.elements::<f32>().unwrap_or_default();
                let inner = watch.axis.map_or(1, |axis| tensor.sizes()[axis + 1..].iter().product());
                watch.observers.iter_mut().for_each(|observer| observer.observe(elements, inner));
            };
            plan.run(&feeds, &mut see).map_err(widen)?;
            progress(done + taken);
        }
        done += taken;
    }
    if done == 0 {
        return Err(fail(QuantError::NoSamples));
    }
    for (id, watch) in watched {
        let ends: Vec<&[f32]> = watch.observers.iter().map(|observer| observer.range.entries()).collect();
        let (lowest, highest): (Vec<f32>, Vec<f32>) = match ends[..] {
            [lowest, highest] => (lowest.to_vec(), highest.to_vec()),
            _ => {
                let most = ends.first().copied().unwrap_or_default();
                (most.iter().map(|most| -most).collect(), most.to_vec())
            }
        };
        if lowest.iter().chain(&highest).all(|end| end.is_finite()) {
            graph.set_range(id, Some(Range { lowest: lowest.into(), highest: highest.into() }));
        }
    }
    Ok(())
}

fn watched(
    graph: &Graph,
    registry: &Registry,
    options: &FixedPointOptions,
    placed: &Placed,
) -> Result<BTreeMap<ValueId, Watch>, QuantError> {
    let mut watched = BTreeMap::new();
    let mut watch = |value: ValueId, per_axis: bool, channels: usize, extremes: &[Extreme]| {
        let size = graph.ty(value).shape.get(channels).and_then(|dim| dim.fixed());
        let axis = (per_axis && size.is_some()).then_some(channels);
        let observer = |&extreme| Observer::new(axis.and(size), options.momentum, extreme);
        let observers = extremes.iter().map(observer).collect();
        watched.insert(value, Watch { observers, axis });
    };
    for &entry in placed.entries.values() {
        let rank = graph.ty(entry).shape.rank();
        let per_axis = !options.per_tensor_activations && rank > 2;
        watch(entry, per_axis, channels_of_entry(graph, entry), &[Extreme::Lowest, Extreme::Highest]);
    }
    for (&id, config) in &placed.configs {
        let Some(output) = &config.output_quantizer else { continue };
        let value = ValueId { node: id, result: 0 };
        let channels =
            layer_of(graph, registry, id).map(|layer| layer.channels(graph.ty(value).shape.rank()));
        let per_axis = output.axis == OutputAxis::PerAxis;
        watch(value, per_axis, channels.unwrap_or(0), &[Extreme::Magnitude]);
    }
    Ok(watched)
}

fn widen(error: WithPlaces<crate::interp::InterpError>) -> Diagnostics {
    WithPlaces { error: QuantError::from(error.error), places: error.places }.into()
}
