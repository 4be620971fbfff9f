//! Operations on fixed-point numbers in standard operators: what rows of the tables emit.

use super::super::body::{FixedBody, Integers, Interval};
use super::super::operator::{called, refused};
use super::super::typed;
use crate::ops::{Call, LowerCx, OnnxAttr, OnnxFunction, OnnxNode, OpError};
use crate::tensor::fixed::{FixedPoint, PerChannel, quantize_scales};
use crate::tensor::{DType, FixedGrid, Tensor};

/// The body of a function under construction, with the types of the call.
pub(super) struct Emission<'a> {
    pub call: &'a Call<'a>,
    pub body: FixedBody<'a>,
    /// The integers of each operand.
    pub x: Vec<Integers>,
    grids: Vec<FixedGrid>,
    constants: &'a [Option<&'a Tensor>],
    /// The grid of the result; none for truth values.
    pub y: Option<FixedGrid>,
}

/// The furthest that a shift matters: integers have at most 52 bits, and so do the results.
const FAR: f64 = 60.0;

impl<'a> Emission<'a> {
    pub fn new(cx: &'a LowerCx) -> Result<Self, OpError> {
        let call = &cx.call;
        let mut body = FixedBody::new(call, &[]);
        let (mut x, mut grids) = (Vec::new(), Vec::new());
        for position in 0..call.operands.len() {
            x.push(body.operand(position)?);
            grids.extend(typed::grid_of(call.ty(position)?).map(|grid| grid.into_owned()));
        }
        let result = cx.result_types.first();
        let y = result.and_then(|ty| ty.grid.fixed().cloned());
        Ok(Self { call, body, x, grids, constants: cx.constants, y })
    }

    /// The call and the function, once the integers of the result saturate.
    pub fn function(
        mut self,
        cx: &LowerCx,
        name: &str,
        y: Integers,
    ) -> Result<(OnnxNode, OnnxFunction), OpError> {
        let words = name.split('_').map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            format!("{}{rest}", first.to_uppercase())
        });
        let op_type: String = words.collect();
        if let Some(grid) = self.y {
            let (y, _) = self.body.saturated(y.name, y.bound, grid.value_bits)?;
            self.body.body.cast(&y, grid.storage);
        }
        Ok(called(cx, self.body.body, &op_type))
    }

    fn unsupported(&self, what: &str, way_out: &str) -> OpError {
        OpError::Unsupported { op: self.call.op(), what: what.to_owned(), way_out: Some(way_out.to_owned()) }
    }

    fn op(&mut self, op_type: &str, inputs: &[&str]) -> String {
        self.body.op(op_type, inputs)
    }

    /// An operand as it is.
    pub fn same(&self) -> Result<Integers, OpError> {
        Ok(self.x[0].clone())
    }

    /// One operator on all operands; `bound` says what it makes of theirs.
    pub fn plain(
        &mut self,
        op_type: &str,
        bound: impl Fn(Interval, Interval) -> Interval,
    ) -> Result<Integers, OpError> {
        let names: Vec<&str> = self.x.iter().map(|x| x.name.as_str()).collect();
        let name = self.body.op(op_type, &names);
        let all = self.x.iter().map(|x| x.bound).reduce(bound);
        Ok(Integers { name, bound: all.unwrap_or(self.x[0].bound), ..self.x[0].clone() })
    }

    /// x on the grid of the result, rounded half up.
    pub fn rescaled(&mut self) -> Result<Integers, OpError> {
        let Some(y) = self.y.clone() else { return self.same() };
        let x = Integers { axis: self.x[0].axis.or(y.axis), ..self.x[0].clone() };
        self.body.rescaled(&x, &y.frac_bits, y.value_bits)
    }

    /// An operand times powers of two, one or one for each index of its axis, rounded down.
    pub fn shifted(&mut self, position: usize, shifts: &[i32], axis: Option<usize>) -> Integers {
        let x = self.x[position].clone();
        let powers = shifts.iter().map(|&shift| f64::from(shift).clamp(-FAR, FAR).exp2()).collect();
        let powers = self.body.along(powers, axis, x.rank);
        self.times_powers(&x, &powers, shifts.iter().any(|&shift| shift < 0))
    }

    fn times_powers(&mut self, x: &Integers, powers: &str, rounds: bool) -> Integers {
        let mut name = self.op("Mul", &[&x.name, powers]);
        if rounds {
            name = self.op("Floor", &[&name]);
        }
        // A product with a power of two is exact in float64 however far it reaches: only its bounds have to be.
        let bits = self.y.as_ref().map_or(x.value_bits, |y| y.value_bits);
        let most = Interval::of_bits(bits);
        let (low, high) = (self.body.number(most.low as f64), self.body.number(most.high as f64));
        name = self.op("Max", &[&name, &low]);
        name = self.op("Min", &[&name, &high]);
        Integers { name, bound: most, ..x.clone() }
    }

    /// x shifted by as many bits as the elements of the second operand say.
    pub fn shifted_by_elements(&mut self) -> Result<Integers, OpError> {
        let (low, high, two) = (self.body.number(-FAR), self.body.number(FAR), self.body.number(2.0));
        let shifts = self.x[1].name.clone();
        let raised = self.op("Max", &[&shifts, &low]);
        let shifts = self.op("Min", &[&raised, &high]);
        let powers = self.op("Pow", &[&two, &shifts]);
        let x = self.same()?;
        Ok(self.times_powers(&x, &powers, true))
    }

    /// x and a whole number on its grid, which has 32 bits.
    pub fn with_number(
        &mut self,
        op_type: &str,
        number: i32,
        bound: impl Fn(Interval, Interval) -> Interval,
    ) -> Result<Integers, OpError> {
        let x = self.same()?;
        let entries = x.frac_bits.len();
        let on_grid = FixedPoint::quantize(
            &[entries],
            &vec![number as f32; entries],
            32,
            Some(if entries == 1 {
                PerChannel::tensor(x.frac_bits[0])
            } else {
                PerChannel::last(x.frac_bits.clone())
            }),
        );
        let numbers = on_grid.map_err(|error| refused(self.call, error))?;
        let numbers: Vec<f64> = numbers.elements().iter().map(|&v| v as f64).collect();
        let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let other = Interval { low: least as i128, high: most as i128 };
        let numbers = self.body.along(numbers, x.axis, x.rank);
        let name = self.op(op_type, &[&x.name, &numbers]);
        Ok(Integers { name, bound: bound(x.bound, other), ..x })
    }

    /// x divided by a constant without 0, rounded towards 0.
    pub fn quotient(&mut self) -> Result<Integers, OpError> {
        let whole = |tensor: &&Tensor| {
            let wide = tensor.cast(DType::I64);
            wide.elements::<i64>().is_some_and(|divisors| !divisors.contains(&0))
        };
        if self.constants.get(1).copied().flatten().filter(whole).is_none() {
            let way_out = "divide by a constant without 0: what a division by 0 gives in a file nobody says";
            return Err(self.unsupported("an ONNX form of a division by what is computed", way_out));
        }
        let divisor = self.x[1].name.clone();
        self.divided_by(&divisor)
    }

    pub fn divided_by_number(&mut self, divisor: i32) -> Result<Integers, OpError> {
        let divisor = self.body.number(divisor.into());
        self.divided_by(&divisor)
    }

    fn divided_by(&mut self, divisor: &str) -> Result<Integers, OpError> {
        let x = self.same()?;
        let (left, right) = (self.op("Abs", &[&x.name]), self.op("Abs", &[divisor]));
        let quotient = self.op("Div", &[&left, &right]);
        let floor = self.op("Floor", &[&quotient]);
        let (left, right) = (self.op("Sign", &[&x.name]), self.op("Sign", &[divisor]));
        let signed = self.op("Mul", &[&floor, &left]);
        let name = self.op("Mul", &[&signed, &right]);
        let most = x.bound.low.abs().max(x.bound.high.abs());
        Ok(Integers { name, bound: Interval { low: -most, high: most }, ..x })
    }

    /// Both operands on the finer grid, compared.
    pub fn compared(&mut self, op_type: &str, negated: bool) -> Result<Integers, OpError> {
        let entry = |list: &[i32], at: usize| if list.len() == 1 { list[0] } else { list[at] };
        let entries = self.x.iter().map(|x| x.frac_bits.len()).max().unwrap_or(1);
        let mut names = Vec::new();
        // Where the axis of several entries is in the result, from its end.
        let from_end = self.x.iter().find_map(|x| Some(x.rank - x.axis?)).unwrap_or(1);
        for position in [0, 1] {
            let finer = |at: usize| self.x.iter().map(|x| entry(&x.frac_bits, at)).max().unwrap_or(0);
            let shift = |at| finer(at).saturating_sub(entry(&self.x[position].frac_bits, at));
            let powers = (0..entries).map(|at| f64::from(shift(at)).min(FAR + 2.0).exp2()).collect();
            let powers = self.body.along(powers, Some(0), if entries == 1 { 0 } else { from_end });
            let name = self.x[position].name.clone();
            names.push(self.op("Mul", &[&name, &powers]));
        }
        let mut name = self.op(op_type, &[&names[0], &names[1]]);
        if negated {
            name = self.op("Not", &[&name]);
        }
        Ok(Integers { name, ..self.same()? })
    }

    /// The product of matrices, transposed as attributes say.
    pub fn matrices(&mut self) -> Result<Integers, OpError> {
        let mut names = Vec::new();
        for (position, flag) in ["transpose_a", "transpose_b"].into_iter().enumerate() {
            let x = self.x[position].clone();
            names.push(if self.call.flag(flag)? {
                let mut perm: Vec<i64> = (0..x.rank as i64).collect();
                perm.swap(x.rank - 1, x.rank - 2);
                let perm = vec![("perm", OnnxAttr::Ints(perm))];
                let turned = self.body.body.op_with("Transpose", &[&x.name], perm);
                // A runtime merges the two operators into one that it does not have for float64: the bound, which
                // every element keeps, stays between them.
                let low = self.body.number(x.bound.low as f64);
                self.op("Max", &[&turned, &low])
            } else {
                x.name
            });
        }
        let axis = if self.call.flag("transpose_b")? { 1 } else { 2 };
        let inner = self.body.size(1, self.x[1].rank - axis)?;
        let name = self.op("MatMul", &[&names[0], &names[1]]);
        let bound = self.x[0].bound.times(self.x[1].bound).sums(inner);
        Ok(Integers { name, bound, ..self.same()? })
    }

    /// A reduction of x over the attribute `axis`, or everything.
    pub fn reduced(&mut self, op_type: &str) -> Result<Integers, OpError> {
        let x = self.same()?;
        let axes = match self.call.attrs.get_int("axis") {
            Some(axis) => vec![axis],
            None => (0..x.rank as i64).collect(),
        };
        let axes = self.body.body.vector(axes);
        let keep = vec![("keepdims", OnnxAttr::Int(self.call.flag("keepdims")?.into()))];
        let name = self.body.body.op_with(op_type, &[&x.name, &axes], keep);
        Ok(Integers { name, ..x })
    }

    /// How many elements become one.
    pub fn reduced_count(&self) -> Result<i128, OpError> {
        let axes = match self.call.attrs.get_int("axis") {
            Some(axis) => vec![usize::try_from(axis).unwrap_or(0)],
            None => (0..self.x[0].rank).collect(),
        };
        axes.into_iter().map(|axis| self.body.size(0, axis)).product()
    }

    /// The integers times those that stand for the scales.
    pub fn folded(&mut self, scale_bits: u32) -> Result<Integers, OpError> {
        let (x, grid) = (self.same()?, self.grids[0].clone());
        let Some(scales) = &grid.scales else { return Ok(x) };
        let scales = quantize_scales(&PerChannel::last(scales.to_vec()), scale_bits);
        let scales = scales.map_err(|error| refused(self.call, error))?;
        let scales = scales.elements().iter().map(|&v| v as f64).collect();
        let scales = self.body.along(scales, grid.axis, x.rank);
        let name = self.op("Mul", &[&x.name, &scales]);
        Ok(Integers { name, bound: x.bound.times(Interval::of_bits(scale_bits)), ..x })
    }
}
