//! Observing the range of every value of a float graph.

use std::collections::BTreeMap;

use super::{QuantError, Samples, as_frames};
use crate::diag::{Diagnostic, Diagnostics, WithPlaces};
use crate::interp::{Memory, Plan};
use crate::ir::{Graph, Kind, Range, ValueId};
use crate::kernels;
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

/// Where the extremes of a value were seen first: for each entry of its range the number of a sample,
/// counted from 0. Of samples that were run together it is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub lowest: Vec<usize>,
    pub highest: Vec<usize>,
}

/// What calibration tells besides the ranges.
#[derive(Debug)]
pub struct Calibrated {
    /// By name of the value.
    pub seen: BTreeMap<String, Seen>,
    /// Samples that were run together.
    pub batch: usize,
    pub warnings: Diagnostics,
}

/// Runs the samples and gives every float value of rank 1 and more the extremes it takes on; NaN
/// is passed over. `progress` is told the number of samples done. The samples of a network with state
/// are frames, one behind the other.
///
/// # Errors
/// More than one input, no samples, samples that do not fit, or an operator that fails.
pub fn calibrate(
    graph: &mut Graph,
    registry: &Registry,
    samples: &mut dyn Samples,
    options: CalibrateOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Calibrated, Diagnostics> {
    let fail = |error: QuantError| Diagnostics::from(WithPlaces::new(error));
    let inputs: Vec<ValueId> = graph.inputs().collect();
    let [input] = inputs[..] else { return Err(fail(QuantError::Inputs { found: inputs.len() })) };
    let name = graph.value(input).name.to_string();
    let static_batch = graph.ty(input).shape.first().and_then(|dim| dim.fixed());

    let plan = Plan::new(graph, registry, Arithmetic::Exact).map_err(widen)?;
    let mut warnings = Diagnostics::default();
    let mut observer = Observer { graph: &*graph, per_tensor: options.per_tensor, extremes: BTreeMap::new() };
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
    let shape = graph.ty(input).shape.clone();
    let mut memory = Memory::default();
    let mut done = 0;
    while done < usable {
        let Some(piece) = samples.take(batch.min(usable - done)).map_err(fail)? else { break };
        let first = done;
        done += piece.sizes().first().copied().unwrap_or(0);
        let feeds = BTreeMap::from([(name.clone(), as_frames(piece, &shape))]);
        plan.resume(&feeds, &mut memory, &mut |id, tensor| observer.see(id, tensor, first)).map_err(widen)?;
        progress(done);
    }
    if done == 0 {
        return Err(fail(QuantError::NoSamples));
    }
    let mut seen = BTreeMap::new();
    for (id, Extremes { lowest, highest, seen: at }) in observer.extremes {
        let range = Range { lowest: lowest.into(), highest: highest.into() };
        let finite =
            range.lowest.iter().zip(range.highest.iter()).all(|(l, h)| l.is_finite() && h.is_finite());
        if finite {
            seen.insert(graph.value(id).name.to_string(), at);
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
        return Ok(Calibrated { seen, batch, warnings });
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
    extremes: BTreeMap<ValueId, Extremes>,
}

/// One entry, or one for each channel.
struct Extremes {
    lowest: Vec<f32>,
    highest: Vec<f32>,
    seen: Seen,
}

impl Observer<'_> {
    /// `first` is the number of the first sample that was run.
    fn see(&mut self, id: ValueId, tensor: &Tensor, first: usize) {
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
        let Extremes { lowest, highest, seen } = self.extremes.entry(id).or_insert_with(|| Extremes {
            lowest: vec![f32::INFINITY; channels],
            highest: vec![f32::NEG_INFINITY; channels],
            seen: Seen { lowest: vec![first; channels], highest: vec![first; channels] },
        });
        if inner == 0 {
            return;
        }
        for (group, (l, h)) in kernels::extremes(elements, inner).into_iter().enumerate() {
            let channel = group % channels;
            if l < lowest[channel] {
                (lowest[channel], seen.lowest[channel]) = (l, first);
            }
            if h > highest[channel] {
                (highest[channel], seen.highest[channel]) = (h, first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Loc;
    use crate::ir::Attrs;
    use crate::tensor::{Dim, Shape, TensorType};

    /// Samples from a list, so many numbers each.
    struct List(Vec<Vec<f32>>);

    impl Samples for List {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn take(&mut self, rows: usize) -> Result<Option<Tensor>, QuantError> {
            let rows: Vec<Vec<f32>> = self.0.drain(..rows.min(self.0.len())).collect();
            let sizes = [rows.len(), 2, 2];
            Ok(Tensor::new(&sizes, rows.concat()).filter(|_| sizes[0] > 0))
        }

        fn rewind(&mut self) {}
    }

    /// `y = relu(x)` with a batch axis of that size.
    fn network(batch: Dim) -> Graph {
        let mut graph = Graph::new("net");
        let shape: Shape = vec![batch, Dim::Fixed(2), Dim::Fixed(2)].into();
        let ty = TensorType::new(DType::F32, shape);
        let x = graph.add_input("x", ty.clone(), Loc::unknown());
        let value = crate::ir::Value::new("y", ty);
        let y = graph.add_op("relu", Attrs::new(), vec![Some(x)], vec![value], Loc::unknown());
        graph.add_output("y", ValueId { node: y, result: 0 });
        graph
    }

    #[test]
    fn the_first_sample_with_an_extreme_is_kept() {
        let samples = vec![
            vec![0.0, 1.0, 2.0, f32::NAN],
            vec![-1.0, 1.0, 3.0, 2.0],
            vec![-1.0, 0.5, 3.0, -4.0],
            vec![0.0, 1.5, 0.0, 0.0],
        ];
        let run = |batch: Dim| {
            let (mut graph, mut list) = (network(batch), List(samples.clone()));
            let options = CalibrateOptions::default();
            let registry = Registry::built_in();
            let found = calibrate(&mut graph, &registry, &mut list, options, &mut |_| {}).unwrap();
            let range = graph.value(graph.find("x").unwrap()).range.clone().unwrap();
            assert_eq!((&*range.lowest, &*range.highest), (&[-1.0, -4.0][..], &[1.5, 3.0][..]));
            found
        };
        let found = run(Dim::Symbol("N".into()));
        assert_eq!(found.seen["x"], Seen { lowest: vec![1, 2], highest: vec![3, 1] });
        assert_eq!(found.seen["y"], Seen { lowest: vec![0, 2], highest: vec![3, 1] });
        // Samples that can only run together are told as such.
        let found = run(Dim::Fixed(2));
        assert_eq!((found.batch, &found.seen["x"]), (2, &Seen { lowest: vec![0, 2], highest: vec![2, 0] }));
    }
}
