//! Observing the range of every value of a float graph.

use std::collections::BTreeMap;

use super::{QuantError, Samples};
use crate::diag::{Diagnostic, Diagnostics, WithPlaces};
use crate::interp::Plan;
use crate::ir::{Graph, Kind, Range, ValueId};
use crate::ops::{Arithmetic, Registry};
use crate::tensor::{DType, Grid, Tensor};

#[derive(Clone, Copy, Debug)]
pub struct CalibrateOptions {
    /// One range for each tensor; otherwise one for each index of axis 1 (values of rank 2 have
    /// one either way).
    pub per_tensor: bool,
    /// Samples run at once where the batch axis is dynamic. No range depends on it.
    pub batch_size: usize,
    /// Use at most so many samples.
    pub num_samples: Option<usize>,
}

impl Default for CalibrateOptions {
    fn default() -> Self {
        Self { per_tensor: false, batch_size: 1, num_samples: None }
    }
}

/// Runs the samples and gives every float value of rank 1 and more the extremes it takes on; NaN
/// is passed over. Returns warnings; `progress` is told the number of samples done.
///
/// # Errors
/// More than one input, no samples, samples that do not fit, or an operator that fails.
pub fn calibrate(
    graph: &mut Graph,
    registry: &Registry,
    samples: &mut dyn Samples,
    options: CalibrateOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Diagnostics, Diagnostics> {
    let fail = |error: QuantError| Diagnostics::from(WithPlaces::new(error));
    let inputs: Vec<ValueId> = graph.inputs().collect();
    let [input] = inputs[..] else { return Err(fail(QuantError::Inputs { found: inputs.len() })) };
    let name = graph.value(input).name.to_string();
    let static_batch = graph.ty(input).shape.first().and_then(|dim| dim.fixed());

    let plan = Plan::new(graph, registry, Arithmetic::Exact).map_err(widen)?;
    let mut warnings = Diagnostics::default();
    let mut observer = Observer { graph, per_tensor: options.per_tensor, extremes: BTreeMap::new() };
    let limit = options.num_samples.unwrap_or(usize::MAX).min(samples.count());
    let batch = static_batch.unwrap_or(options.batch_size).max(1);
    let usable = if static_batch.is_some() { limit - limit % batch } else { limit };
    if usable < limit {
        warnings.push(Diagnostic::warning(
            "Q0620",
            format!(
                "the batch of the network is fixed to {batch}: the last {} samples are not used",
                limit - usable
            ),
        ));
    }
    let mut done = 0;
    while done < usable {
        let Some(piece) = samples.take(batch.min(usable - done)).map_err(fail)? else { break };
        done += piece.sizes().first().copied().unwrap_or(0);
        let feeds = BTreeMap::from([(name.clone(), piece)]);
        plan.run(&feeds, &mut |id, tensor| observer.see(id, tensor)).map_err(widen)?;
        progress(done);
    }
    if done == 0 {
        return Err(fail(QuantError::NoSamples));
    }
    let ranges: Vec<(ValueId, Range)> = observer.extremes.into_iter().collect();
    for (id, range) in ranges {
        let finite =
            range.lowest.iter().zip(range.highest.iter()).all(|(l, h)| l.is_finite() && h.is_finite());
        if finite {
            graph.set_range(id, Some(range));
        } else {
            let message = format!(
                "%{} takes on no finite value, or an infinite one: it gets no range",
                graph.value(id).name
            );
            let loc = graph.node(id.node).loc.clone();
            warnings.push(Diagnostic::warning("Q0621", message).at_loc(&loc, ""));
        }
    }
    if graph.values().any(|value| graph.value(value).range.is_some()) {
        return Ok(warnings);
    }
    warnings.push(WithPlaces::new(QuantError::NoFiniteValue));
    Err(warnings)
}

fn widen(error: WithPlaces<crate::interp::InterpError>) -> Diagnostics {
    WithPlaces { error: QuantError::from(error.error), places: error.places }.into()
}

struct Observer<'a> {
    graph: &'a Graph,
    per_tensor: bool,
    extremes: BTreeMap<ValueId, Range>,
}

impl Observer<'_> {
    fn see(&mut self, id: ValueId, tensor: &Tensor) {
        let value = self.graph.value(id);
        let constant = matches!(self.graph.node(id.node).kind, Kind::Const(_));
        let sizes = tensor.sizes();
        if constant || value.ty.grid != Grid::Plain(DType::F32) || sizes.is_empty() {
            return;
        }
        let Some(elements) = tensor.elements::<f32>() else { return };
        // Groups of consecutive elements share a channel.
        let (channels, inner) = match sizes {
            [_, channels, inner @ ..] if sizes.len() > 2 && !self.per_tensor => {
                (*channels, inner.iter().product())
            }
            _ => (1, elements.len()),
        };
        let range = self.extremes.entry(id).or_insert_with(|| Range {
            lowest: vec![f32::INFINITY; channels].into(),
            highest: vec![f32::NEG_INFINITY; channels].into(),
        });
        if inner == 0 {
            return;
        }
        let mut lowest = range.lowest.to_vec();
        let mut highest = range.highest.to_vec();
        for (group, elements) in elements.chunks(inner).enumerate() {
            let channel = group % channels;
            // Comparisons with NaN are false, so NaN is passed over.
            for &v in elements {
                lowest[channel] = if v < lowest[channel] { v } else { lowest[channel] };
                highest[channel] = if v > highest[channel] { v } else { highest[channel] };
            }
        }
        *range = Range { lowest: lowest.into(), highest: highest.into() };
    }
}
