//! Sequences: the first axis of what a network with state reads is time.

use std::collections::BTreeMap;

use super::{Error, Memory, Plan};
use crate::ir::ValueId;
use crate::tensor::{Shape, Tensor};

/// Tensors by value, the pieces of each in order of time.
type Pieces = BTreeMap<ValueId, Vec<Tensor>>;

impl Plan<'_> {
    /// [`Plan::run`] on whole sequences: frames run in order from a zero state, as many at a time as
    /// the network takes, and every value holds all of them along its first axis. Where a tensor has an axis
    /// more than its input, the second one counts sequences, and so it does in all results.
    ///
    /// A network without state takes each sample by itself, and runs once.
    pub fn run_frames(
        &self,
        feeds: &BTreeMap<String, Tensor>,
        observe: &mut dyn FnMut(ValueId, &Tensor),
    ) -> Result<Vec<Tensor>, Error> {
        let shape = |name: &String| -> Option<&Shape> {
            let input = self.graph.inputs().find(|&input| *self.graph.value(input).name == **name);
            input.map(|input| &self.graph.ty(input).shape)
        };
        let more = |(name, tensor): (&String, &Tensor)| {
            shape(name).is_some_and(|shape| tensor.sizes().len() == shape.rank() + 1)
        };
        let step = |(name, _): (&String, &Tensor)| shape(name)?.first()?.fixed();
        let (several, step) = (feeds.iter().all(more), feeds.iter().find_map(step));
        if !self.has_state() || feeds.is_empty() || (!several && step.is_none()) {
            return self.run(feeds, observe);
        }
        let sequences =
            if several { feeds.values().map(|tensor| tensor.sizes()[1]).min().unwrap_or(0) } else { 1 };
        let mut values: Vec<Pieces> = Vec::new();
        let mut outputs: Vec<Vec<Vec<Tensor>>> = Vec::new();
        for at in 0..sequences {
            let of = |tensor: &Tensor| if several { sequence(tensor, at) } else { Some(tensor.clone()) };
            let feeds: BTreeMap<&String, Tensor> =
                feeds.iter().filter_map(|(name, tensor)| Some((name, of(tensor)?))).collect();
            let frames = feeds.values().map(rows_of).max().unwrap_or(0);
            let step = step.unwrap_or(frames).max(1);
            let mut memory = Memory::default();
            let mut pieces = Pieces::new();
            let mut results: Vec<Vec<Tensor>> = vec![Vec::new(); self.graph.outputs().len()];
            for start in (0..frames.max(1)).step_by(step) {
                let piece =
                    |(name, tensor): (&&String, &Tensor)| Some(((*name).clone(), rows(tensor, start, step)?));
                let feeds = feeds.iter().filter_map(piece).collect();
                let tensors = self.resume(&feeds, &mut memory, &mut |value, tensor| {
                    pieces.entry(value).or_default().push(tensor.clone());
                })?;
                results.iter_mut().zip(tensors).for_each(|(result, tensor)| result.push(tensor));
            }
            values.push(pieces);
            outputs.push(results);
        }
        let constant = |value: &ValueId| self.constants.contains_key(value);
        for id in values.first().into_iter().flat_map(BTreeMap::keys) {
            let pieces: Vec<&[Tensor]> =
                values.iter().filter_map(|of| of.get(id).map(Vec::as_slice)).collect();
            let whole = match pieces.first().and_then(|pieces| pieces.first()) {
                Some(tensor) if constant(id) => Some(tensor.clone()),
                _ => whole(&pieces, several),
            };
            if let Some(tensor) = whole {
                observe(*id, &tensor);
            }
        }
        let whole = |(at, output): (usize, &crate::ir::Output)| {
            let pieces: Vec<&[Tensor]> = outputs.iter().map(|results| results[at].as_slice()).collect();
            match pieces.first().and_then(|pieces| pieces.first()) {
                Some(tensor) if constant(&output.value) => Some(tensor.clone()),
                _ => whole(&pieces, several),
            }
        };
        Ok(self.graph.outputs().iter().enumerate().filter_map(whole).collect())
    }
}

fn rows_of(tensor: &Tensor) -> usize {
    tensor.sizes().first().copied().unwrap_or(1)
}

/// Up to `count` entries of the first axis.
fn rows(tensor: &Tensor, start: usize, count: usize) -> Option<Tensor> {
    let (&all, rest) = tensor.sizes().split_first()?;
    let (start, end) = (start.min(all), (start + count).min(all));
    let size = rest.iter().product::<usize>() * tensor.dtype().size();
    let sizes: Vec<usize> = std::iter::once(end - start).chain(rest.iter().copied()).collect();
    Tensor::from_le_bytes(tensor.dtype(), &sizes, tensor.to_le_bytes().get(start * size..end * size)?)
}

/// One entry of the second axis, without that axis.
fn sequence(tensor: &Tensor, at: usize) -> Option<Tensor> {
    let &[frames, sequences, ref rest @ ..] = tensor.sizes() else { return None };
    let size = rest.iter().product::<usize>() * tensor.dtype().size();
    let bytes = tensor.to_le_bytes();
    let mut of = Vec::with_capacity(frames * size);
    for frame in 0..frames {
        of.extend_from_slice(bytes.get((frame * sequences + at) * size..)?.get(..size)?);
    }
    let sizes: Vec<usize> = std::iter::once(frames).chain(rest.iter().copied()).collect();
    Tensor::from_le_bytes(tensor.dtype(), &sizes, &of)
}

/// The pieces of each sequence, one behind the other; with several sequences, these side by side along
/// a second axis.
fn whole(sequences: &[&[Tensor]], several: bool) -> Option<Tensor> {
    let first = sequences.first()?.first()?;
    let rest = first.sizes().get(1..)?;
    let size = rest.iter().product::<usize>() * first.dtype().size();
    let joined: Vec<Vec<u8>> = sequences
        .iter()
        .map(|pieces| pieces.iter().map(Tensor::to_le_bytes).collect::<Vec<_>>().concat())
        .collect();
    let frames: usize = sequences.first()?.iter().map(rows_of).sum();
    let mut bytes = Vec::with_capacity(joined.len() * frames * size);
    for frame in 0..frames {
        for of in &joined {
            bytes.extend_from_slice(of.get(frame * size..)?.get(..size)?);
        }
    }
    let many = several.then_some(joined.len());
    let sizes: Vec<usize> = std::iter::once(frames).chain(many).chain(rest.iter().copied()).collect();
    Tensor::from_le_bytes(first.dtype(), &sizes, &bytes)
}
