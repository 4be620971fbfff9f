//! Reductions, and what moves elements (fixed-point §1.7).

use ndarray::{ArrayView, Axis, IxDyn, Slice};

use super::{Arithmetic, FixedError, FixedPoint, PerChannel, Result};
use crate::tensor::Array;

type View<'a> = ArrayView<'a, i64, IxDyn>;

impl FixedPoint {
    fn view(&self) -> View<'_> {
        self.values.view()
    }

    pub(super) fn argument(&self, operation: &'static str, what: impl Into<String>) -> FixedError {
        FixedError::Argument { operation, what: what.into(), sizes: self.sizes().to_vec() }
    }

    /// The index of an axis, which may count from the end.
    fn axis(&self, operation: &'static str, axis: isize) -> Result<usize> {
        let rank = self.sizes().len();
        let at = if axis < 0 { rank.checked_add_signed(axis) } else { Some(axis as usize) };
        at.filter(|&at| at < rank).ok_or_else(|| self.argument(operation, format!("axis {axis}")))
    }

    /// The index of the axis that the channels are.
    fn channels(&self) -> usize {
        self.sizes().len().saturating_sub(self.frac_bits.axis.unwrap_or(1))
    }

    /// The moved elements on a grid: they saturated before.
    fn moved(&self, values: View<'_>, value_bits: u32, frac_bits: PerChannel<i32>) -> Result<Self> {
        let sizes = values.shape().to_vec();
        let values = values.iter().map(|&value| value.into());
        Self::saturated(&sizes, values, value_bits, frac_bits, self.arithmetic)
    }

    fn kept(&self, values: View<'_>) -> Result<Self> {
        self.moved(values, self.value_bits, self.frac_bits.clone())
    }

    /// # Errors
    /// Another number of elements; for a per-axis tensor, another size of the last axis.
    pub fn reshape(&self, sizes: &[usize]) -> Result<Self> {
        if !self.is_per_tensor() && sizes.last() != self.sizes().last() {
            self.per_tensor("reshape")?;
        }
        let view = self.values.view().into_shape_with_order(sizes);
        self.kept(view.map_err(|_| self.argument("reshape", format!("shape {sizes:?}")))?)
    }

    /// # Errors
    /// No permutation of the axes; a per-axis tensor.
    pub fn transpose(&self, perm: &[usize]) -> Result<Self> {
        self.per_tensor("transpose")?;
        let mut seen = perm.to_vec();
        seen.sort_unstable();
        if !seen.into_iter().eq(0..self.sizes().len()) {
            return Err(self.argument("transpose", format!("permutation {perm:?}")));
        }
        self.kept(self.view().permuted_axes(perm))
    }

    /// [`FixedPoint::transpose`], also of a per-axis tensor whose last axis stays.
    ///
    /// # Errors
    /// No permutation of the axes; a last axis with several frac bits that would move.
    pub fn permute(&self, perm: &[usize]) -> Result<Self> {
        if self.is_per_tensor() || perm.last() != Some(&(perm.len().saturating_sub(1))) {
            return self.transpose(perm);
        }
        let turned = Self { frac_bits: PerChannel::tensor(0), ..self.clone() }.transpose(perm)?;
        Ok(Self { frac_bits: self.frac_bits.clone(), ..turned })
    }

    /// # Errors
    /// A shape that it does not stretch to, or a last axis that would change.
    pub fn broadcast_to(&self, sizes: &[usize]) -> Result<Self> {
        let view = self.values.broadcast(sizes).filter(|_| sizes.last() == self.sizes().last());
        self.kept(view.ok_or_else(|| self.argument("broadcast_to", format!("shape {sizes:?}")))?)
    }

    /// Both behind each other; each with the larger value bits. Along the channels, frac bits are put behind each other,
    /// too.
    ///
    /// # Errors
    /// Other frac bits, where the channels are another axis; shapes that do not go together.
    pub fn concat(&self, other: &Self, axis: isize) -> Result<Self> {
        let at = self.axis("concat", axis)?;
        if other.sizes().len() != self.sizes().len() {
            return Err(self.shapes("concat", other));
        }
        let value_bits = self.value_bits.max(other.value_bits);
        let frac_bits = if at == self.channels() {
            let stretched = |x: &Self| -> Vec<i32> {
                let size = x.sizes().get(at).copied().unwrap_or(0);
                if x.is_per_tensor() {
                    x.frac_bits.entries.iter().copied().cycle().take(size).collect()
                } else {
                    x.frac_bits.entries.clone()
                }
            };
            let entries = [stretched(self), stretched(other)].concat();
            PerChannel { entries, axis: Some(self.frac_bits.axis.unwrap_or(1)) }
        } else {
            self.same_frac_bits(other, "concat")?;
            self.frac_bits.clone()
        };
        let values = ndarray::concatenate(Axis(at), &[self.view(), other.view()]);
        let values = values.map_err(|_| self.shapes("concat", other))?;
        self.moved(values.view(), value_bits, frac_bits)
    }

    /// Both along a new axis; as the last one it holds the frac bits of either.
    ///
    /// # Errors
    /// Per-axis tensors along a new last axis, other frac bits along another; other shapes.
    pub fn stack(&self, other: &Self, axis: isize) -> Result<Self> {
        let rank = self.sizes().len() + 1;
        let at = if axis < 0 { rank.checked_add_signed(axis) } else { Some(axis as usize) };
        let at =
            at.filter(|&at| at < rank).ok_or_else(|| self.argument("stack", format!("new axis {axis}")))?;
        let frac_bits = if at + 1 == rank {
            self.per_tensor("stack")?;
            other.per_tensor("stack")?;
            PerChannel::last([&self.frac_bits.entries[..], &other.frac_bits.entries[..]].concat())
        } else {
            self.same_frac_bits(other, "stack")?;
            self.frac_bits.clone()
        };
        let values = ndarray::stack(Axis(at), &[self.view(), other.view()]);
        let values = values.map_err(|_| self.shapes("stack", other))?;
        self.moved(values.view(), self.value_bits.max(other.value_bits), frac_bits)
    }

    /// One index of an axis, which goes.
    ///
    /// # Errors
    /// No such axis or index.
    pub fn gather(&self, index: isize, axis: isize) -> Result<Self> {
        let at = self.axis("gather", axis)?;
        let index = self.index("gather", at, index)?;
        let frac_bits = if at == self.channels() && !self.is_per_tensor() {
            PerChannel::tensor(self.frac_bits.entries[index])
        } else {
            self.frac_bits.clone()
        };
        self.moved(self.view().index_axis_move(Axis(at), index), self.value_bits, frac_bits)
    }

    /// Some indices of an axis, which stays.
    ///
    /// # Errors
    /// No such axis or index; several channels of a per-axis tensor.
    pub fn gather_all(&self, indices: &[isize], axis: isize) -> Result<Self> {
        let at = self.axis("gather", axis)?;
        if at == self.channels() {
            self.per_tensor("gather")?;
        }
        let indices =
            indices.iter().map(|&index| self.index("gather", at, index)).collect::<Result<Vec<_>>>()?;
        self.kept(self.view().select(Axis(at), &indices).view())
    }

    fn index(&self, operation: &'static str, axis: usize, index: isize) -> Result<usize> {
        let size = self.sizes()[axis];
        let at = if index < 0 { size.checked_add_signed(index) } else { Some(index as usize) };
        at.filter(|&at| at < size).ok_or_else(|| self.argument(operation, format!("index {index}")))
    }

    /// Constants before and behind each axis.
    ///
    /// # Errors
    /// A per-axis tensor, other frac bits of the constant, pads of another rank.
    pub fn pad(&self, pads: &[(usize, usize)], value: &Self) -> Result<Self> {
        self.per_tensor("pad")?;
        self.same_frac_bits(value, "pad")?;
        let &[value] = value.elements() else { return Err(self.shapes("pad", value)) };
        if pads.len() != self.sizes().len() {
            return Err(self.argument("pad", format!("pads {pads:?}")));
        }
        let sizes: Option<Vec<usize>> = self
            .sizes()
            .iter()
            .zip(pads)
            .map(|(size, (before, behind))| size.checked_add(*before)?.checked_add(*behind))
            .collect();
        let count = |sizes: &[usize]| sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let sizes = sizes.filter(|sizes| count(sizes).is_some_and(|n| n <= isize::MAX as usize / 8));
        let sizes = sizes.ok_or_else(|| self.argument("pad", format!("pads {pads:?}")))?;
        let mut values = Array::from_elem(IxDyn(&sizes), value);
        let mut inside = values.view_mut();
        for (axis, (&size, (before, _))) in self.sizes().iter().zip(pads).enumerate() {
            inside.slice_axis_inplace(Axis(axis), Slice::from(*before..before + size));
        }
        inside.assign(&self.values);
        self.kept(values.view())
    }

    /// The tensor so many times along each axis.
    ///
    /// # Errors
    /// Repeated channels of a per-axis tensor; repeats of another rank.
    pub fn tile(&self, repeats: &[usize]) -> Result<Self> {
        if repeats.len() != self.sizes().len() {
            return Err(self.argument("tile", format!("repeats {repeats:?}")));
        }
        if repeats.get(self.channels()).is_some_and(|&times| times != 1) {
            self.per_tensor("tile")?;
        }
        let mut values = self.values.to_owned();
        for (axis, &times) in repeats.iter().enumerate() {
            let views = vec![values.view(); times];
            values = match times {
                0 => values.slice_axis(Axis(axis), Slice::from(0..0)).to_owned(),
                _ => ndarray::concatenate(Axis(axis), &views).map_err(|_| self.shapes("tile", self))?,
            };
        }
        self.kept(values.view())
    }

    /// # Errors
    /// No such axis; a new last axis of a per-axis tensor.
    pub fn expand_dims(&self, axis: isize) -> Result<Self> {
        let rank = self.sizes().len() + 1;
        let at = if axis < 0 { rank.checked_add_signed(axis) } else { Some(axis as usize) };
        let at = at.filter(|&at| at < rank);
        let at = at.ok_or_else(|| self.argument("expand_dims", format!("new axis {axis}")))?;
        if at > self.channels() {
            self.per_tensor("expand_dims")?;
        }
        self.kept(self.view().insert_axis(Axis(at)))
    }

    /// # Errors
    /// None that a valid tensor gives.
    pub fn zeros_like(&self) -> Result<Self> {
        self.map(self.value_bits, self.frac_bits.clone(), |_, _| 0)
    }

    /// The sum along an axis, or of everything.
    ///
    /// # Errors
    /// No such axis; the channels of a per-axis tensor.
    pub fn reduce_sum(&self, axis: Option<isize>, keep: bool) -> Result<Self> {
        self.reduced("reduce_sum", axis, keep, |arithmetic, values| {
            arithmetic.keep(values.map(i128::from).sum())
        })
    }

    /// The mean along an axis, or of everything, rounded down.
    ///
    /// # Errors
    /// As for [`FixedPoint::reduce_sum`]; no elements.
    pub fn reduce_mean(&self, axis: Option<isize>, keep: bool) -> Result<Self> {
        self.some_along("reduce_mean", axis, "mean")?;
        self.reduced("reduce_mean", axis, keep, |arithmetic, values| {
            let (sum, count) =
                values.fold((0i128, 0i128), |(sum, n), value| (sum + i128::from(value), n + 1));
            match arithmetic {
                Arithmetic::Exact => sum.div_euclid(count),
                Arithmetic::Binary32 { .. } => (arithmetic.keep(sum) as f32 / count as f32).floor() as i128,
            }
        })
    }

    /// The largest along an axis, or of everything.
    ///
    /// # Errors
    /// A per-axis tensor; no such axis; no elements.
    pub fn reduce_max(&self, axis: Option<isize>, keep: bool) -> Result<Self> {
        self.per_tensor("reduce_max")?;
        self.some_along("reduce_max", axis, "largest element")?;
        self.reduced("reduce_max", axis, keep, |_, values| values.max().map_or(0, i128::from))
    }

    /// That there is an element of what is reduced: a result over none has no value.
    fn some_along(&self, operation: &'static str, axis: Option<isize>, what: &'static str) -> Result<()> {
        let none = match axis {
            None => self.values.is_empty(),
            Some(axis) => self.sizes()[self.axis(operation, axis)?] == 0,
        };
        if none { Err(self.argument(operation, what)) } else { Ok(()) }
    }

    fn reduced(
        &self,
        operation: &'static str,
        axis: Option<isize>,
        keep: bool,
        f: impl Fn(Arithmetic, &mut dyn Iterator<Item = i64>) -> i128,
    ) -> Result<Self> {
        let at = axis.map(|axis| self.axis(operation, axis)).transpose()?;
        if at.is_none_or(|at| at == self.channels()) {
            self.per_tensor(operation)?;
        }
        let mut sizes = self.sizes().to_vec();
        match (at, keep) {
            (None, true) => sizes.fill(1),
            (None, false) => sizes.clear(),
            (Some(at), true) => sizes[at] = 1,
            (Some(at), false) => {
                sizes.remove(at);
            }
        }
        let values: Vec<i128> = match at {
            None => vec![f(self.arithmetic, &mut self.elements().iter().copied())],
            Some(at) => {
                let lanes = self.values.lanes(Axis(at));
                lanes.into_iter().map(|lane| f(self.arithmetic, &mut lane.iter().copied())).collect()
            }
        };
        // Where an axis before them goes, the channels count from the end as before.
        Self::saturated(&sizes, values, self.value_bits, self.frac_bits.clone(), self.arithmetic)
    }

    /// Two operands of the same frac bits, which a result keeps.
    pub(super) fn same_frac_bits(&self, other: &Self, operation: &'static str) -> Result<()> {
        if self.frac_bits.agrees(&other.frac_bits) { Ok(()) } else { Err(self.unlike(other, operation)) }
    }

    pub(super) fn shapes(&self, operation: &'static str, other: &Self) -> FixedError {
        FixedError::Shapes { operation, left: self.sizes().to_vec(), right: other.sizes().to_vec() }
    }
}
