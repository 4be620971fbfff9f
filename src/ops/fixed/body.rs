//! The integer form as a function of standard operators, which every ONNX runtime computes to the same bits.
//!
//! Integers are float64, which holds those below 2^53; what could pass that is refused. Convolutions are sums of integer
//! products of bytes, as runtimes convolve no float64.

use super::operator::{self, Operand};
use super::typed;
use crate::ops::body::Body;
use crate::ops::{Call, OnnxAttr, OpError};
use crate::tensor::{DType, Tensor};

/// Integers up to this are float64, and so are their quotients rounded down.
const EXACT: i128 = 1 << 52;

/// Lowest and highest of some integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub low: i128,
    pub high: i128,
}

impl Interval {
    /// What so many value bits hold.
    pub fn of_bits(bits: u32) -> Self {
        let most = 1i128 << bits.min(120);
        Self { low: -most, high: most - 1 }
    }

    /// What a function that grows in each argument, or shrinks, makes of the ends.
    fn of_ends(self, other: Self, f: impl Fn(i128, i128) -> i128) -> Self {
        let ends = [self.low, self.high].map(|a| [other.low, other.high].map(|b| f(a, b)));
        let ends = ends.as_flattened();
        let (low, high) = (ends.iter().min(), ends.iter().max());
        Self { low: low.copied().unwrap_or(0), high: high.copied().unwrap_or(0) }
    }

    fn within(self, other: Self) -> Self {
        Self { low: self.low.clamp(other.low, other.high), high: self.high.clamp(other.low, other.high) }
    }

    pub fn times(self, other: Self) -> Self {
        self.of_ends(other, i128::saturating_mul)
    }

    pub fn plus(self, other: Self) -> Self {
        self.of_ends(other, i128::saturating_add)
    }

    /// The sum of up to so many of them.
    pub fn sums(self, count: i128) -> Self {
        Self { low: self.low.min(0).saturating_mul(count), high: self.high.max(0).saturating_mul(count) }
    }

    /// Each times `2^shift`, rounded half up.
    fn shifted(self, shift: i32) -> Self {
        let one = |v: i128| match u32::try_from(shift) {
            Ok(left) => v.saturating_mul(1 << left.min(100)),
            Err(_) => {
                let right = shift.unsigned_abs().min(100);
                v.saturating_add(1 << (right - 1)) >> right
            }
        };
        Self { low: one(self.low), high: one(self.high) }
    }

    pub fn union(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// Integers of a body.
#[derive(Clone, Debug)]
pub(super) struct Integers {
    pub name: String,
    pub bound: Interval,
    pub value_bits: u32,
    /// One entry, or one for each index of the axis.
    pub frac_bits: Vec<i32>,
    pub axis: Option<usize>,
    pub rank: usize,
    /// Whether it has scales.
    pub scaled: bool,
}

/// A body under construction.
pub(super) struct FixedBody<'a> {
    pub call: &'a Call<'a>,
    operands: &'static [Operand],
    pub body: Body,
}

fn power(bits: i32) -> f64 {
    crate::tensor::round::power_of_two(bits)
}

impl<'a> FixedBody<'a> {
    pub fn new(call: &'a Call<'a>, operands: &'static [Operand]) -> Self {
        Self { call, operands, body: Body::default() }
    }

    /// What the operand at a position is called in the body.
    pub fn parameter_name(position: usize) -> String {
        format!("X{position}")
    }

    pub fn has(&self, position: usize) -> bool {
        self.call.opt_ty(position).is_some()
    }

    /// The integers of an operand.
    pub fn operand(&mut self, position: usize) -> Result<Integers, OpError> {
        let ty = self.call.ty(position)?;
        let grid = typed::grid_of(ty);
        let grid = grid.ok_or_else(|| self.call.unsupported("a plain operand of the integer form"))?;
        let name = self.body.cast(&Self::parameter_name(position), DType::F64);
        Ok(Integers {
            name,
            bound: Interval::of_bits(grid.value_bits),
            value_bits: grid.value_bits,
            frac_bits: grid.frac_bits.to_vec(),
            axis: grid.axis,
            rank: ty.shape.rank(),
            scaled: grid.scales.is_some(),
        })
    }

    pub fn op(&mut self, op_type: &str, inputs: &[&str]) -> String {
        self.body.op(op_type, inputs)
    }

    pub fn number(&mut self, value: f64) -> String {
        self.body.scalar(value)
    }

    pub fn checked(&self, bound: Interval) -> Result<Interval, OpError> {
        if bound.low >= -EXACT && bound.high <= EXACT {
            return Ok(bound);
        }
        let what = "an ONNX form whose integers pass 2^52, which float64 does not hold,";
        Err(OpError::Unsupported {
            op: self.call.op(),
            what: what.to_owned(),
            way_out: Some("take fewer bits, or a smaller buffer".to_owned()),
        })
    }

    /// Numbers that lie along an axis, or one.
    pub fn along(&mut self, values: Vec<f64>, axis: Option<usize>, rank: usize) -> String {
        match (&values[..], axis) {
            (&[one], _) => self.number(one),
            (_, axis) => {
                let mut sizes = vec![1; rank.saturating_sub(axis.unwrap_or(rank.saturating_sub(1)))];
                if let Some(first) = sizes.first_mut() {
                    *first = values.len();
                }
                let tensor = Tensor::new(&sizes, values);
                self.body.tensor(tensor.unwrap_or_else(|| Tensor::scalar(0f64)))
            }
        }
    }

    /// Saturated on so many value bits.
    pub fn saturated(
        &mut self,
        name: String,
        bound: Interval,
        value_bits: u32,
    ) -> Result<(String, Interval), OpError> {
        let (bound, most) = (self.checked(bound)?, Interval::of_bits(value_bits));
        if bound.within(most) == bound {
            return Ok((name, bound));
        }
        let (low, high) = (self.number(most.low as f64), self.number(most.high as f64));
        let raised = self.op("Max", &[&name, &low]);
        Ok((self.op("Min", &[&raised, &high]), bound.within(most)))
    }

    /// `v · 2^shift` for each entry, rounded half up where it shrinks, and saturated.
    pub fn rescaled(&mut self, x: &Integers, frac: &[i32], value_bits: u32) -> Result<Integers, OpError> {
        let entries = frac.len().max(x.frac_bits.len());
        let entry = |list: &[i32], at: usize| if list.len() == 1 { list[0] } else { list[at] };
        let shifts: Vec<i32> =
            (0..entries).map(|at| entry(frac, at).saturating_sub(entry(&x.frac_bits, at))).collect();
        let axis = x.axis.or_else(|| Some(self.channels(x.rank))).filter(|_| entries > 1);
        let mut name = x.name.clone();
        let bounds = shifts.iter().map(|&shift| x.bound.shifted(shift));
        let bound = bounds.reduce(Interval::union).unwrap_or(x.bound);
        if shifts.iter().any(|&shift| shift != 0) {
            self.checked(x.bound.union(bound))?;
            // Further right nothing is left: the bound is below 2^52.
            let powers = shifts.iter().map(|&shift| power(shift.max(-60))).collect();
            let powers = self.along(powers, axis, x.rank);
            name = self.op("Mul", &[&name, &powers]);
            if shifts.iter().any(|&shift| shift < 0) {
                let half = self.number(0.5);
                name = self.op("Add", &[&name, &half]);
                name = self.op("Floor", &[&name]);
            }
        }
        let (name, bound) = self.saturated(name, bound, value_bits)?;
        Ok(Integers { name, bound, value_bits, frac_bits: frac.to_vec(), axis, ..x.clone() })
    }

    /// The axis of the channels of a tensor.
    fn channels(&self, rank: usize) -> usize {
        if rank == 4 { 1 } else { rank.saturating_sub(1) }
    }

    /// One grid for all channels, in a buffer of so many value bits.
    pub fn prepared(&mut self, x: Integers, value_bits: u32) -> Result<Integers, OpError> {
        match &x.frac_bits[..] {
            [_] => Ok(Integers { value_bits, ..x }),
            many => {
                let most = many.iter().copied().max().unwrap_or(0);
                Ok(Integers { axis: None, ..self.rescaled(&x, &[most], value_bits)? })
            }
        }
    }

    /// A tensor that stretches along the channels of `like`.
    fn beside(&mut self, x: &Integers, like: &Integers) -> String {
        let after = like.rank.saturating_sub(self.channels(like.rank) + 1);
        if x.rank != 1 || after == 0 {
            return x.name.clone();
        }
        let mut sizes = vec![-1i64];
        sizes.extend(std::iter::repeat_n(1, after));
        let sizes = self.body.vector(sizes);
        self.op("Reshape", &[&x.name, &sizes])
    }

    /// `x + y` on the grid of x, saturated.
    pub fn added(&mut self, x: &Integers, y: &Integers) -> Result<Integers, OpError> {
        let beside = self.beside(y, x);
        let sum = self.op("Add", &[&x.name, &beside]);
        let (name, bound) = self.saturated(sum, x.bound.plus(y.bound), x.value_bits)?;
        Ok(Integers { name, bound, ..x.clone() })
    }

    /// `x · y` in so many value bits.
    pub fn multiplied(&mut self, x: &Integers, y: &Integers, value_bits: u32) -> Result<Integers, OpError> {
        let beside = self.beside(y, x);
        let product = self.op("Mul", &[&x.name, &beside]);
        let (name, bound) = self.saturated(product, x.bound.times(y.bound), value_bits)?;
        let entries = x.frac_bits.len().max(y.frac_bits.len());
        let entry = |list: &[i32], at: usize| if list.len() == 1 { list[0] } else { list[at] };
        let frac_bits: Vec<i32> =
            (0..entries).map(|at| entry(&x.frac_bits, at) + entry(&y.frac_bits, at)).collect();
        let axis = x.axis.or_else(|| Some(self.channels(x.rank))).filter(|_| frac_bits.len() > 1);
        Ok(Integers { name, bound, value_bits, frac_bits, axis, ..x.clone() })
    }

    /// The output: through the output quantizer, if there is one.
    pub fn finished(&mut self, sum: Integers) -> Result<Integers, OpError> {
        let Some(bits) = operator::bits(self.call, operator::VALUE_BITS)? else { return Ok(sum) };
        let frac = self.call.attrs.get_ints(operator::FRAC_BITS).unwrap_or_default();
        let frac: Vec<i32> = frac.iter().filter_map(|&bits| i32::try_from(bits).ok()).collect();
        let product = if sum.scaled {
            let qscales = self.operand(self.operands.len())?;
            let most = operator::bits(self.call, operator::PRODUCT)?.unwrap_or(32);
            self.multiplied(&sum, &qscales, most)?
        } else {
            sum
        };
        Ok(Integers { scaled: false, ..self.rescaled(&product, &frac, bits)? })
    }

    /// The bytes of integers, lowest first, as uint8 with their zero points: all but the last from 0 to 255, and the last
    /// with sign, increased by 128.
    fn bytes(&mut self, x: &Integers) -> Vec<(String, String)> {
        let mut bytes = Vec::new();
        let mut rest = x.name.clone();
        let mut bound = x.bound;
        let base = self.number(256.0);
        while bound.low < -128 || bound.high > 127 {
            let quotient = self.op("Div", &[&rest, &base]);
            let above = self.op("Floor", &[&quotient]);
            let whole = self.op("Mul", &[&above, &base]);
            let low = self.op("Sub", &[&rest, &whole]);
            let low = self.body.cast(&low, DType::U8);
            let zero = self.body.scalar(0u8);
            bytes.push((low, zero));
            (rest, bound) = (above, Interval { low: bound.low >> 8, high: bound.high >> 8 });
        }
        let offset = self.number(128.0);
        let raised = self.op("Add", &[&rest, &offset]);
        let last = self.body.cast(&raised, DType::U8);
        let zero = self.body.scalar(128u8);
        bytes.push((last, zero));
        bytes
    }

    /// The convolution of x with a kernel `[F, C/group, R, S]` of `taps` products for each result.
    pub fn convolution(
        &mut self,
        x: &Integers,
        kernel: &Integers,
        taps: i128,
        attrs: &[(&str, OnnxAttr)],
        value_bits: u32,
    ) -> Result<Integers, OpError> {
        let bound = self.checked(x.bound.times(kernel.bound).sums(taps))?;
        // A sum of products of bytes is an int32.
        if taps > 1 << 15 {
            return Err(self.call.unsupported(format!("an ONNX form with {taps} products for each result")));
        }
        let (left, right) = (self.bytes(x), self.bytes(kernel));
        let mut sum: Option<String> = None;
        for (i, (x, x_zero)) in left.iter().enumerate() {
            for (j, (w, w_zero)) in right.iter().enumerate() {
                let part = self.body.op_with("ConvInteger", &[x, w, x_zero, w_zero], attrs.to_vec());
                let mut part = self.body.cast(&part, DType::F64);
                if i + j > 0 {
                    let factor = self.number(power(8 * (i + j) as i32));
                    part = self.op("Mul", &[&part, &factor]);
                }
                sum = Some(match sum {
                    None => part,
                    Some(sum) => self.op("Add", &[&sum, &part]),
                });
            }
        }
        let (name, bound) = self.saturated(sum.unwrap_or_default(), bound, value_bits)?;
        // A kernel has no frac bits; those of x may be for each channel.
        Ok(Integers { name, bound, value_bits, scaled: true, ..x.clone() })
    }

    /// The product of matrices whose inner size is known.
    pub fn product(
        &mut self,
        x: &Integers,
        y: &Integers,
        inner: i128,
        value_bits: u32,
    ) -> Result<Integers, OpError> {
        let bound = self.checked(x.bound.times(y.bound).sums(inner))?;
        let product = self.op("MatMul", &[&x.name, &y.name]);
        let (name, bound) = self.saturated(product, bound, value_bits)?;
        let frac_bits = vec![x.frac_bits[0] + y.frac_bits[0]];
        Ok(Integers { name, bound, value_bits, frac_bits, axis: None, ..x.clone() })
    }

    /// Value bits of the buffer, of at most so many bits.
    pub fn buffer(&self, most: u32) -> Result<u32, OpError> {
        let bits = operator::bits(self.call, operator::BUFFER)?.unwrap_or(32);
        Ok(bits.min(most).saturating_sub(1))
    }

    /// The magnitudes.
    pub fn absolute(&mut self, x: &Integers) -> Integers {
        let name = self.op("Abs", &[&x.name]);
        let high = (-x.bound.low).max(x.bound.high);
        Integers { name, bound: Interval { low: 0, high }, ..x.clone() }
    }

    /// The sum over axes of so many elements, which stay with size 1.
    pub fn summed(
        &mut self,
        x: &Integers,
        axes: Vec<i64>,
        count: i128,
        value_bits: u32,
    ) -> Result<Integers, OpError> {
        let bound = self.checked(x.bound.sums(count))?;
        let axes = self.body.vector(axes);
        let sum = self.op("ReduceSum", &[&x.name, &axes]);
        let (name, bound) = self.saturated(sum, bound, value_bits)?;
        Ok(Integers { name, bound, value_bits, ..x.clone() })
    }

    /// A tensor with zeros around it, or without what is to go: as many before and after each axis.
    pub fn padded(&mut self, x: &str, before: &[i64], after: &[i64]) -> String {
        let pads = self.body.vector([before, after].concat());
        let zero = self.number(0.0);
        self.op("Pad", &[x, &pads, &zero])
    }

    /// A map with numbers around it: one for all channels, or one for each.
    pub fn padded_by(
        &mut self,
        x: &Integers,
        value: &Integers,
        [top, left, bottom, right]: [usize; 4],
    ) -> Result<Integers, OpError> {
        let around = self.beside(value, x);
        let above = self.op("Sub", &[&x.name, &around]);
        let sides = |a: usize, b: usize| [0, 0, a as i64, b as i64];
        let padded = self.padded(&above, &sides(top, left), &sides(bottom, right));
        let name = self.op("Add", &[&padded, &around]);
        let bound = self.checked(x.bound.union(value.bound))?;
        Ok(Integers { name, bound, ..x.clone() })
    }

    /// What was accumulated plus the bias, if the layer has one, through the output quantizer.
    pub fn biased_and_finished(&mut self, sum: Integers, bias: usize) -> Result<Integers, OpError> {
        let sum = match self.has(bias) {
            false => sum,
            true => {
                let bias = self.operand(bias)?;
                self.added(&sum, &bias)?
            }
        };
        self.finished(sum)
    }

    pub fn at_least_0(&mut self, x: &Integers) -> Integers {
        let zero = self.number(0.0);
        let name = self.op("Max", &[&x.name, &zero]);
        let bound = x.bound.within(Interval { low: 0, high: i128::MAX });
        Integers { name, bound, ..x.clone() }
    }

    /// The lesser of both, on one grid.
    pub fn at_most(&mut self, x: &Integers, most: &Integers) -> Integers {
        let beside = self.beside(most, x);
        let name = self.op("Min", &[&x.name, &beside]);
        let bound = Interval { low: x.bound.low.min(most.bound.low), high: x.bound.high };
        Integers { name, bound, ..x.clone() }
    }

    /// `x / y`, rounded towards 0, for y of at least 1.
    pub fn quotient(&mut self, x: &Integers, y: &Integers) -> Integers {
        let magnitude = self.op("Abs", &[&x.name]);
        let quotient = self.op("Div", &[&magnitude, &y.name]);
        let floor = self.op("Floor", &[&quotient]);
        let sign = self.op("Sign", &[&x.name]);
        let name = self.op("Mul", &[&floor, &sign]);
        Integers { name, rank: y.rank, ..x.clone() }
    }

    /// The size of an axis of an operand.
    pub fn size(&self, position: usize, axis: usize) -> Result<i128, OpError> {
        let shape = &self.call.ty(position)?.shape;
        let dim = shape.get(axis).ok_or_else(|| self.call.unsupported("an operand of fewer axes"))?;
        Ok(self.call.known(dim)? as i128)
    }
}
