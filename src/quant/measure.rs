//! How far the values of a quantized network are from those of the float one.

use std::collections::BTreeMap;

use super::{QuantError, Samples, as_frames};
use crate::diag::{Diagnostics, WithPlaces};
use crate::interp::{InterpError, Memory, Plan};
use crate::ir::{Graph, ValueId};
use crate::ops::{Arithmetic, Registry};
use crate::tensor::{DType, Direction, Grid, Tensor};

/// Samples that are compared: more change the second digit.
const MOST_SAMPLES: usize = 32;

/// Sums of squares over what was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Squares {
    signal: f64,
    noise: f64,
}

/// The ratio of signal to noise, in dB, of every quantized value that the float network has under the same name; of
/// outputs, also without `/quantized`. Infinite where nothing differs. `multiplied` tells of float values whose elements,
/// sample by sample, were multiplied on purpose.
///
/// # Errors
/// Samples that do not fit, or an operator that fails.
pub fn errors(
    float: &Graph,
    quantized: &Graph,
    registry: &Registry,
    samples: &mut dyn Samples,
    batch_size: usize,
    multiplied: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, f64>, Diagnostics> {
    let fail = |error: QuantError| Diagnostics::from(WithPlaces::new(error));
    let widen = |error: WithPlaces<InterpError>| {
        Diagnostics::from(WithPlaces { error: QuantError::from(error.error), places: error.places })
    };
    let inputs: Vec<ValueId> = float.inputs().collect();
    let [input] = inputs[..] else { return Err(fail(QuantError::Inputs { found: inputs.len() })) };
    let (name, shape) = (float.value(input).name.to_string(), float.ty(input).shape.clone());
    let of_float = |name: &str| float.find(name).or_else(|| float.find(name.strip_suffix("/quantized")?));
    let on_grid = quantized.values().filter(|&id| !quantized.ty(id).grid.is_plain());
    let on_grid = on_grid.filter(|&id| quantized.node(id.node).op().is_some());
    let pairs: Vec<(ValueId, ValueId)> =
        on_grid.filter_map(|id| Some((id, of_float(&quantized.value(id).name)?))).collect();
    let plans = (
        Plan::new(float, registry, Arithmetic::Exact).map_err(widen)?,
        Plan::new(quantized, registry, Arithmetic::Exact).map_err(widen)?,
    );
    let mut memories = (Memory::default(), Memory::default());
    let fixed = shape.first().is_some_and(|dim| dim.fixed().is_some());
    let batch = shape.first().and_then(|dim| dim.fixed()).unwrap_or(batch_size).max(1);
    let mut squares = vec![Squares::default(); pairs.len()];
    samples.rewind();
    let mut taken = 0;
    while taken < MOST_SAMPLES {
        // No ratio depends on how samples are batched: of an open batch there are as many as there are to be.
        let rows = if fixed { batch } else { batch.min(MOST_SAMPLES - taken) };
        let Some(piece) = samples.take(rows).map_err(fail)? else { break };
        let rows = piece.sizes().first().copied().unwrap_or(0);
        if fixed && rows < batch {
            break;
        }
        taken += rows;
        let feeds = BTreeMap::from([(name.clone(), as_frames(piece, &shape))]);
        let mut reals: BTreeMap<ValueId, Tensor> = BTreeMap::new();
        let mut keep = |id: ValueId, tensor: &Tensor| {
            if pairs.iter().any(|&(_, float)| float == id) {
                reals.insert(id, tensor.clone());
            }
        };
        plans.0.resume(&feeds, &mut memories.0, &mut keep).map_err(widen)?;
        let mut compare = |id: ValueId, tensor: &Tensor| {
            let Some(at) = pairs.iter().position(|&(quantized, _)| quantized == id) else { return };
            let numbers = to_reals(registry, tensor, &quantized.ty(id).grid);
            let reals = reals.get(&pairs[at].1).map(|reals| reals.cast(DType::F32));
            let reals = reals.as_ref().and_then(|reals| reals.elements::<f32>()).unwrap_or_default();
            let rates =
                multiplied.get(&*float.value(pairs[at].1).name).and_then(|rates| rates.elements::<f32>());
            let rates = rates.filter(|rates| !rates.is_empty()).unwrap_or(&[1.0]);
            for ((&real, number), &rate) in reals.iter().zip(numbers).zip(rates.iter().cycle()) {
                let (real, number) = (f64::from(real), f64::from(number) / f64::from(rate));
                squares[at].signal += real * real;
                squares[at].noise += (real - number) * (real - number);
            }
        };
        plans.1.resume(&feeds, &mut memories.1, &mut compare).map_err(widen)?;
    }
    let ratios = pairs.iter().zip(squares).map(|(&(id, _), Squares { signal, noise })| {
        let name = quantized.value(id).name.to_string();
        (name, if noise == 0.0 { f64::INFINITY } else { 10.0 * libm::log10(signal / noise) })
    });
    Ok(ratios.collect())
}

/// What integers stand for.
fn to_reals(registry: &Registry, tensor: &Tensor, grid: &Grid) -> Vec<f32> {
    match grid {
        Grid::Plain(_) => tensor.cast(DType::F32).elements::<f32>().unwrap_or_default().to_vec(),
        Grid::Fixed(_) => {
            let (attrs, operands) = (crate::ir::Attrs::new(), [Some(tensor.clone())]);
            let reals = registry.eval_on("to_float", &attrs, &operands, &[Some(grid)], Arithmetic::Exact);
            let reals = reals.ok().and_then(|reals| reals.into_iter().next());
            reals.and_then(|reals| reals.elements::<f32>().map(<[f32]>::to_vec)).unwrap_or_default()
        }
        Grid::Affine(affine) => {
            let inner = affine.axis.map_or(1, |axis| tensor.sizes().iter().skip(axis + 1).product::<usize>());
            let wide = tensor.cast(DType::I64);
            let entry = |at: usize, count: usize| at / inner.max(1) % count.max(1);
            let real = |(at, &v): (usize, &i64)| {
                let zero = affine.zeros[entry(at, affine.zeros.len())];
                let factor = affine.factors[entry(at, affine.factors.len())];
                let above = v.saturating_sub(zero) as f64;
                (match affine.direction {
                    Direction::RealPerInteger => above * factor,
                    Direction::IntegerPerReal => above / factor,
                }) as f32
            };
            wide.elements::<i64>().unwrap_or_default().iter().enumerate().map(real).collect()
        }
    }
}
