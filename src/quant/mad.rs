//! Layer normalizations by mean magnitudes: the gamma and beta that come nearest on samples (layers-transformer §4).

use std::collections::BTreeMap;

use super::{QuantError, Samples};
use crate::diag::{Diagnostics, WithPlaces};
use crate::interp::{InterpError, Plan};
use crate::ir::{Graph, NodeId, ValueId};
use crate::ops::{Arithmetic, Registry};
use crate::tensor::{DType, Tensor};

/// Samples that are looked at: there are many tokens in each.
const MOST_SAMPLES: usize = 256;

/// What takes the place of a layer normalization.
pub struct MadFit {
    pub node: NodeId,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    /// Signal to noise of the results against those of the layer, in dB.
    pub ratio: f64,
}

/// Sums over all tokens, for one channel: of `t = x / mean(|x|)` and of the layer's result y.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: f64,
    t: f64,
    y: f64,
    tt: f64,
    ty: f64,
    yy: f64,
}

impl Sums {
    fn take(&mut self, t: f64, y: f64) {
        self.count += 1.0;
        self.t += t;
        self.y += y;
        self.tt += t * t;
        self.ty += t * y;
        self.yy += y * y;
    }

    /// Slope and offset of the line of least squares.
    fn line(&self) -> (f64, f64) {
        let spread = self.count * self.tt - self.t * self.t;
        let slope = if spread > 0.0 { (self.count * self.ty - self.t * self.y) / spread } else { 0.0 };
        (slope, if self.count > 0.0 { (self.y - slope * self.t) / self.count } else { 0.0 })
    }

    /// The squares that the line with these numbers leaves.
    fn noise(&self, gamma: f64, beta: f64) -> f64 {
        let cross = 2.0 * (gamma * beta * self.t - gamma * self.ty - beta * self.y);
        (self.yy + gamma * gamma * self.tt + beta * beta * self.count + cross).max(0.0)
    }
}

/// For each `LayerNormalization`, the `LayerMadNormalization` that is nearest on the samples by least squares. Tokens that are 0
/// throughout are passed over, as there is nothing to divide by.
///
/// # Errors
/// Other than one input, no samples, samples that do not fit, or an operator that fails.
pub fn fit_mad(
    graph: &Graph,
    registry: &Registry,
    samples: &mut dyn Samples,
    batch_size: usize,
) -> Result<Vec<MadFit>, Diagnostics> {
    let fail = |error: QuantError| Diagnostics::from(WithPlaces::new(error));
    let widen = |error: WithPlaces<InterpError>| {
        Diagnostics::from(WithPlaces { error: QuantError::from(error.error), places: error.places })
    };
    let inputs: Vec<ValueId> = graph.inputs().collect();
    let [input] = inputs[..] else { return Err(fail(QuantError::Inputs { found: inputs.len() })) };
    let name = graph.value(input).name.to_string();
    let is_norm = |id: &NodeId| graph.node(*id).op() == Some("LayerNormalization");
    let nodes: Vec<NodeId> = graph.order().into_iter().filter(is_norm).collect();
    let mut sums: BTreeMap<NodeId, Vec<Sums>> = BTreeMap::new();
    let plan = Plan::new(graph, registry, Arithmetic::Exact).map_err(widen)?;
    let fixed = graph.ty(input).shape.first().and_then(|dim| dim.fixed());
    samples.rewind();
    let mut taken = 0;
    while taken < MOST_SAMPLES {
        let rows = fixed.unwrap_or(batch_size.min(MOST_SAMPLES - taken)).max(1);
        let Some(piece) = samples.take(rows).map_err(fail)? else { break };
        let found = piece.sizes().first().copied().unwrap_or(0);
        if fixed.is_some() && found < rows {
            break;
        }
        taken += found;
        let mut read: BTreeMap<ValueId, Tensor> = BTreeMap::new();
        let mut see = |id: ValueId, tensor: &Tensor| {
            if nodes.iter().any(|&node| graph.node(node).operand(0) == Some(id)) {
                read.insert(id, tensor.cast(DType::F32));
            }
            if nodes.contains(&id.node) {
                let x = graph.node(id.node).operand(0).and_then(|x| read.get(&x));
                let x = x.and_then(|x| x.elements::<f32>()).unwrap_or_default();
                let y = tensor.cast(DType::F32);
                let channels = tensor.sizes().last().copied().unwrap_or(1).max(1);
                let each = sums.entry(id.node).or_insert_with(|| vec![Sums::default(); channels]);
                gather(each, x, y.elements::<f32>().unwrap_or_default());
            }
        };
        plan.run(&BTreeMap::from([(name.clone(), piece)]), &mut see).map_err(widen)?;
    }
    if taken == 0 {
        return Err(fail(QuantError::NoSamples));
    }
    Ok(sums.into_iter().map(|(node, sums)| fitted(node, &sums)).collect())
}

fn gather(sums: &mut [Sums], x: &[f32], y: &[f32]) {
    let channels = sums.len();
    for (x, y) in x.chunks(channels).zip(y.chunks(channels)) {
        let mean = x.iter().map(|x| f64::from(x.abs())).sum::<f64>() / channels as f64;
        if mean > 0.0 {
            for (sums, (&x, &y)) in sums.iter_mut().zip(x.iter().zip(y)) {
                sums.take(f64::from(x) / mean, f64::from(y));
            }
        }
    }
}

fn fitted(node: NodeId, sums: &[Sums]) -> MadFit {
    let lines: Vec<(f32, f32)> =
        sums.iter().map(Sums::line).map(|(gamma, beta)| (gamma as f32, beta as f32)).collect();
    let signal: f64 = sums.iter().map(|sums| sums.yy).sum();
    let each = sums.iter().zip(&lines);
    let noise: f64 = each.map(|(sums, &(gamma, beta))| sums.noise(gamma.into(), beta.into())).sum();
    let ratio = if noise == 0.0 { f64::INFINITY } else { 10.0 * libm::log10(signal / noise) };
    let (gamma, beta) = lines.into_iter().unzip();
    MadFit { node, gamma, beta, ratio }
}
