//! Element-wise arithmetic (fixed-point §1.5): where nothing else is said, results have the value bits of the left
//! operand.

use std::cmp::Ordering;

use super::{Arithmetic, FixedError, FixedPoint, PerChannel, Result};
use crate::tensor::{Rows, broadcast};

impl FixedPoint {
    pub(super) fn unlike(&self, other: &Self, operation: &'static str) -> FixedError {
        let (left, right) = (self.frac_bits.entries.clone(), other.frac_bits.entries.clone());
        FixedError::FracBits { operation, left, right }
    }

    /// What `f` makes of the positions of the elements that meet, operands being broadcast.
    fn with_each<T>(
        &self,
        other: &Self,
        operation: &'static str,
        mut f: impl FnMut(usize, usize) -> T,
    ) -> Result<(Vec<usize>, Vec<T>)> {
        let (left, right) = (self.sizes(), other.sizes());
        let mismatch = || FixedError::Shapes { operation, left: left.to_vec(), right: right.to_vec() };
        let sizes = broadcast_sizes(left, right).ok_or_else(mismatch)?;
        let rows = Rows::new(&sizes, [left, right]).ok_or_else(mismatch)?;
        let mut results = Vec::with_capacity(sizes.iter().product());
        rows.each(&mut |[a, b]| {
            let [step_a, step_b] = rows.steps;
            results.extend((0..rows.length).map(|i| f(a + i * step_a, b + i * step_b)));
        });
        Ok((sizes, results))
    }

    fn combine(
        &self,
        other: &Self,
        operation: &'static str,
        frac_bits: PerChannel<i32>,
        mut f: impl FnMut(i128, i128) -> i128,
    ) -> Result<Self> {
        let (left, right) = (self.elements(), other.elements());
        let (sizes, values) = self
            .with_each(other, operation, |a, b| self.arithmetic.keep(f(left[a].into(), right[b].into())))?;
        Self::saturated(&sizes, values, self.value_bits, frac_bits, self.arithmetic)
    }

    /// # Errors
    /// Other frac bits, or shapes that do not broadcast.
    pub fn add(&self, other: &Self) -> Result<Self> {
        self.same_frac_bits(other, "add")?;
        self.combine(other, "add", self.frac_bits.clone(), |a, b| a + b)
    }

    /// # Errors
    /// Other frac bits, or shapes that do not broadcast.
    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.same_frac_bits(other, "sub")?;
        self.combine(other, "sub", self.frac_bits.clone(), |a, b| a - b)
    }

    /// A whole number on the grid of the tensor, with 32 value bits.
    fn whole(&self, number: i32) -> Result<Self> {
        let (axis, entries) = (self.frac_bits.axis.unwrap_or(1), self.frac_bits.entries.len());
        // One element for each channel, the axes behind it being 1.
        let mut sizes = vec![1; self.sizes().len().min(axis)];
        if let Some(first) = sizes.first_mut() {
            *first = entries;
        }
        let numbers = vec![number as f32; entries];
        FixedPoint::quantize(&sizes, &numbers, 32, Some(self.frac_bits.clone()))
    }

    /// # Errors
    /// None that a valid tensor gives.
    pub fn add_int(&self, number: i32) -> Result<Self> {
        self.add(&self.whole(number)?)
    }

    /// # Errors
    /// None that a valid tensor gives.
    pub fn sub_int(&self, number: i32) -> Result<Self> {
        self.sub(&self.whole(number)?)
    }

    /// The product of the integers; frac bits add up.
    ///
    /// # Errors
    /// Shapes or channels that do not broadcast.
    pub fn multiply(&self, other: &Self) -> Result<Self> {
        let frac_bits = self.frac_bits.zip(&other.frac_bits, i32::saturating_add);
        let frac_bits = frac_bits.ok_or_else(|| self.unlike(other, "multiply"))?;
        self.combine(other, "multiply", frac_bits, |a, b| a * b)
    }

    /// The quotient of the integers, cut off towards zero; frac bits are subtracted.
    ///
    /// # Errors
    /// A divisor of 0; shapes or channels that do not broadcast.
    pub fn divide(&self, other: &Self) -> Result<Self> {
        if other.elements().contains(&0) {
            return Err(FixedError::ZeroDivisor);
        }
        let frac_bits = self.frac_bits.zip(&other.frac_bits, i32::saturating_sub);
        let frac_bits = frac_bits.ok_or_else(|| self.unlike(other, "divide"))?;
        let arithmetic = self.arithmetic;
        self.combine(other, "divide", frac_bits, |a, b| match arithmetic {
            Arithmetic::Exact => a / b,
            // Both are binary32 already, so that this rounds once.
            Arithmetic::Binary32 { .. } => (a as f32 / b as f32) as i128,
        })
    }

    /// # Errors
    /// A divisor of 0.
    pub fn divide_by_int(&self, divisor: i32) -> Result<Self> {
        let divisor = Self::new(&[], [divisor.into()], 32, PerChannel::tensor(0))?;
        self.divide(&divisor)
    }

    /// # Errors
    /// Another exponent than 0, which gives ones without frac bits, or 1.
    pub fn pow(&self, exponent: u32) -> Result<Self> {
        match exponent {
            0 => self.map(self.value_bits, PerChannel::tensor(0), |_, _| 1),
            1 => Ok(self.clone()),
            _ => Err(FixedError::Power { exponent }),
        }
    }

    /// How the reals compare, element by element, in row-major order of the broadcast shape.
    ///
    /// # Errors
    /// Shapes or channels that do not broadcast.
    pub fn compare(&self, other: &Self) -> Result<(Vec<usize>, Vec<Ordering>)> {
        let unlike = || self.unlike(other, "compare");
        let most = self.frac_bits.zip(&other.frac_bits, i32::max).ok_or_else(unlike)?;
        let shift = |x: &Self| {
            // One of both is on the finer grid already: by 2^62 what is not zero exceeds it.
            let shift = |from: i32, to: i32| (i64::from(to) - i64::from(from)).min(62) as i32;
            x.frac_bits.zip(&most, shift).ok_or_else(unlike)
        };
        let (left, right) = (shift(self)?, shift(other)?);
        let (a, b) = (self.elements(), other.elements());
        let (sizes, pairs) = self.with_each(other, "compare", |i, j| (i128::from(a[i]), i128::from(b[j])))?;
        // An operand that is stretched over the channels has another shift in each.
        let (left, right) = (left.of_elements(&sizes), right.of_elements(&sizes));
        let pairs = pairs.into_iter().enumerate();
        let orders = pairs.map(|(at, (a, b))| (a << left(at)).cmp(&(b << right(at)))).collect();
        Ok((sizes, orders))
    }

    /// The larger, with the larger value bits.
    ///
    /// # Errors
    /// Other frac bits, or shapes that do not broadcast.
    pub fn maximum(&self, other: &Self) -> Result<Self> {
        self.same_frac_bits(other, "maximum")?;
        let wide = self.promote(self.value_bits.max(other.value_bits))?;
        wide.combine(other, "maximum", self.frac_bits.clone(), i128::max)
    }

    /// `max(min(t, high), low)`.
    ///
    /// # Errors
    /// Other frac bits, or shapes that do not broadcast.
    pub fn clip(&self, low: &Self, high: &Self) -> Result<Self> {
        self.same_frac_bits(low, "clip")?;
        self.same_frac_bits(high, "clip")?;
        let below = self.combine(high, "clip", self.frac_bits.clone(), i128::min)?;
        below.combine(low, "clip", self.frac_bits.clone(), i128::max)
    }

    /// # Errors
    /// None that a valid tensor gives.
    pub fn abs(&self) -> Result<Self> {
        self.map(self.value_bits, self.frac_bits.clone(), |_, value| i128::from(value).abs())
    }

    /// -1, 0 or 1, without frac bits.
    ///
    /// # Errors
    /// None that a valid tensor gives.
    pub fn sign(&self) -> Result<Self> {
        self.map(self.value_bits, PerChannel::tensor(0), |_, value| value.signum().into())
    }
}

fn broadcast_sizes(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let (left, right) = (crate::tensor::Shape::fixed(left), crate::tensor::Shape::fixed(right));
    broadcast(&left, &right)?.sizes()
}
