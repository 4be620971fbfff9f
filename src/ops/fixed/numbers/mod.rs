//! Operations on fixed-point numbers as operators (`spec/fixed-point.md`): one face for every row of the tables in
//! this folder; what only moves elements has a standard operator.
//!
//! A row computes with the library's tensors. The grid of its result is that of a run on few elements, so what no
//! numbers on these grids have is found when a graph is read.

mod arithmetic;
mod axes;
mod emission;
mod grids;
mod products;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::emission::Emission;
use super::body::Integers;
use super::operator::{Layout, refused};
use super::{LayerError, typed};
use crate::ir::Attrs;
use crate::ops::{
    Arithmetic, Bound, Call, Example, Inputs, Lift, LowerCx, Lowered, OpError, Operator, Quantize, Schema,
};
use crate::tensor::fixed::{FixedError, FixedPoint, PerChannel, QFloat, QTensor};
use crate::tensor::{DType, Grid, Shape, Tensor, TensorType, broadcast};

/// The operations as operators.
pub(super) fn operators() -> Vec<Box<dyn Operator>> {
    let tables = [
        grids::ROWS,
        arithmetic::ROWS,
        arithmetic::COMPARISONS,
        products::ROWS,
        axes::REDUCTIONS,
        axes::ROWS,
    ];
    tables.into_iter().flatten().map(|&row| Box::new(row) as Box<dyn Operator>).collect()
}

/// An operation, as a row of a table.
#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    /// Markdown: what it computes.
    doc: &'static str,
    /// Constraints from `C4` on, one a line.
    constraints: &'static str,
    /// Names, and how the axes lie.
    operands: &'static [(&'static str, Layout)],
    attrs: fn(Schema) -> Schema,
    shape: fn(&Call) -> Result<Shape, OpError>,
    sample: Sample,
    apply: fn(&At) -> Result<Outcome, Failure>,
    /// The integers of the result before they saturate, in standard operators.
    emit: fn(&mut Emission) -> Result<Integers, OpError>,
    macs: fn(&Call) -> u64,
    example: fn() -> (Attrs, Vec<Tensor>),
}

const X: (&str, Layout) = ("x", Layout::Same);
const A: (&str, Layout) = ("a", Layout::Same);
const B: (&str, Layout) = ("b", Layout::Same);

fn sample(sizes: &[usize]) -> Tensor {
    let count = sizes.iter().product::<usize>();
    let elements = (0..count).map(|at| [3i8, -5, 7, -2, 1, 4, -8][at % 7]).collect();
    Tensor::new(sizes, elements).unwrap_or_else(|| Tensor::scalar(1i8))
}

/// An operation on one tensor; rows of the tables say what differs.
const ONE: Operation = Operation {
    name: "",
    doc: "",
    constraints: "",
    operands: &[X],
    attrs: |schema| schema,
    shape: shape_of_x,
    sample: Sample::Entries,
    apply: |at| Ok(at.numbers(0)?.clone().into()),
    emit: |at| at.same(),
    macs: |_| 0,
    example: || (Attrs::new(), vec![sample(&[2, 3])]),
};

/// An operation on two tensors that are broadcast.
const TWO: Operation = Operation {
    operands: &[A, B],
    shape: stretched,
    example: || (Attrs::new(), vec![sample(&[2, 3]), sample(&[3])]),
    ..ONE
};

fn with_int(name: &'static str, value: i64) -> (Attrs, Vec<Tensor>) {
    (Attrs::new().with(name, value), vec![sample(&[2, 3])])
}

fn with_entries(name: &'static str, value: i64) -> (Attrs, Vec<Tensor>) {
    (Attrs::new().with(name, vec![value]), vec![sample(&[2, 3])])
}

/// Which elements of its operands decide the grid of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    /// One of each axis, but all where entries of a grid lie along it, and of the attribute `axis`.
    Entries,
    /// The same of a product of matrices, with all rows and columns of the result.
    Matrices,
    /// An empty batch of whole maps.
    Maps,
}

enum Outcome {
    Numbers(QTensor),
    /// Sizes and elements of a bool tensor.
    Truths(Vec<usize>, Vec<bool>),
}

impl<T: Into<QTensor>> From<T> for Outcome {
    fn from(numbers: T) -> Self {
        Outcome::Numbers(numbers.into())
    }
}

enum Failure {
    Op(OpError),
    Numbers(LayerError),
}

impl From<OpError> for Failure {
    fn from(error: OpError) -> Self {
        Failure::Op(error)
    }
}

impl<E: Into<LayerError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Numbers(error.into())
    }
}

/// One run of an operation.
struct At<'a> {
    call: &'a Call<'a>,
    operands: Vec<QTensor>,
    /// Whether only the grid of the result is of interest.
    samples: bool,
}

impl At<'_> {
    fn numbers(&self, position: usize) -> Result<&QTensor, Failure> {
        let operand = || self.call.schema.operand_name(position);
        let missing = || OpError::MissingOperand { op: self.call.op(), operand: operand() };
        self.operands.get(position).ok_or_else(|| missing().into())
    }

    /// An operand that has no scales.
    fn fixed(&self, position: usize) -> Result<&FixedPoint, Failure> {
        match self.numbers(position)? {
            QTensor::Fixed(fixed) => Ok(fixed),
            QTensor::Float(_) => Err(self.scales(position, "none")),
        }
    }

    fn scales(&self, position: usize, wanted: &str) -> Failure {
        let name = self.call.schema.operand_name(position);
        self.call.broken("C1", format!("{name} has scales, and `{}` takes {wanted}", self.call.op())).into()
    }

    /// What an operation makes of x, whose scales stay.
    fn map(&self, f: impl FnOnce(&FixedPoint) -> Result<FixedPoint, FixedError>) -> Result<Outcome, Failure> {
        Ok(match self.numbers(0)? {
            QTensor::Fixed(x) => f(x)?.into(),
            QTensor::Float(x) => x.map(f)?.into(),
        })
    }

    /// An operation on two tensors with scales, or without.
    fn both(
        &self,
        fixed: impl FnOnce(&FixedPoint, &FixedPoint) -> Result<FixedPoint, FixedError>,
        float: impl FnOnce(&QFloat, &QFloat) -> Result<QFloat, FixedError>,
    ) -> Result<Outcome, Failure> {
        Ok(match (self.numbers(0)?, self.numbers(1)?) {
            (QTensor::Fixed(a), QTensor::Fixed(b)) => fixed(a, b)?.into(),
            (QTensor::Float(a), QTensor::Float(b)) => float(a, b)?.into(),
            (QTensor::Float(_), _) => return Err(self.scales(0, "one only where the other has scales, too")),
            (_, QTensor::Float(_)) => return Err(self.scales(1, "one only where the other has scales, too")),
        })
    }

    /// A product, whose left side has no scales where the right side has none.
    fn product(
        &self,
        fixed: impl FnOnce(&FixedPoint, &FixedPoint) -> Result<FixedPoint, FixedError>,
        float: impl FnOnce(&QTensor, &QFloat) -> Result<QFloat, FixedError>,
    ) -> Result<Outcome, Failure> {
        Ok(match (self.numbers(0)?, self.numbers(1)?) {
            (a, QTensor::Float(b)) => float(a, b)?.into(),
            (_, QTensor::Fixed(b)) => fixed(self.fixed(0)?, b)?.into(),
        })
    }

    /// The attribute `value_bits`, if it is given.
    fn value_bits(&self) -> Result<Option<u32>, Failure> {
        Ok(bits(self.call, "value_bits")?)
    }

    fn required_bits(&self, name: &'static str) -> Result<u32, Failure> {
        let missing = || OpError::MissingAttr { op: self.call.op(), attr: name.to_owned() };
        bits(self.call, name)?.ok_or_else(|| missing().into())
    }

    /// A list with one entry, or one for each index of an axis of x.
    fn entries(&self, name: &'static str) -> Result<PerChannel<i32>, Failure> {
        let (entries, axis) = entries(self.call, name)?;
        Ok(match axis {
            None => PerChannel::tensor(entries[0]),
            Some(axis) => PerChannel::along(self.call.ty(0)?.shape.rank() - axis, entries),
        })
    }

    fn number(&self, name: &'static str) -> Result<i32, Failure> {
        Ok(number(self.call, name)?)
    }
}

/// A number of bits.
fn bits(call: &Call, name: &'static str) -> Result<Option<u32>, OpError> {
    let Some(found) = call.attrs.get_int(name) else { return Ok(None) };
    let bits = u32::try_from(found).ok().filter(|bits| (1..=64).contains(bits));
    let wrong = || call.broken("C2", format!("`{name}` is from 1 to 64, found {found}"));
    bits.map(Some).ok_or_else(wrong)
}

fn number(call: &Call, name: &'static str) -> Result<i32, OpError> {
    let found = call.int(name)?;
    i32::try_from(found).map_err(|_| call.broken("C2", format!("`{name}` is of 32 bits, found {found}")))
}

/// A list with one entry, or one for each index of an axis of x: `axis`, or the one of its grid.
fn entries(call: &Call, name: &'static str) -> Result<(Vec<i32>, Option<usize>), OpError> {
    let (given, x) = (call.ints(name)?, call.ty(0)?);
    let entries: Vec<i32> = given.iter().filter_map(|&entry| i32::try_from(entry).ok()).collect();
    let axis = match call.attrs.get_int("axis") {
        Some(_) => Some(call.axis("C2", "axis", x.shape.rank())?),
        None => x.grid.axis(),
    };
    let size = match axis {
        Some(axis) if given.len() != 1 => call.known(&x.shape[axis])?,
        _ => 1,
    };
    call.require("C2", entries.len() == given.len() && entries.len() == size && size > 0, || {
        format!("`{name}` has one entry, or one for each index of `axis`, each of 32 bits, found {given:?}")
    })?;
    Ok((entries, axis.filter(|_| size > 1)))
}

/// The shape of x; other operands stretch to it.
fn shape_of_x(call: &Call) -> Result<Shape, OpError> {
    let x = &call.ty(0)?.shape;
    for (position, ty) in call.operands.iter().enumerate().skip(1) {
        let Some(ty) = ty else { continue };
        call.require("C3", broadcast(x, &ty.shape).as_ref() == Some(x), || {
            format!("{} of shape {} does not stretch to {x}", call.schema.operand_name(position), ty.shape)
        })?;
    }
    Ok(x.clone())
}

/// The shape that all operands stretch to.
fn stretched(call: &Call) -> Result<Shape, OpError> {
    let mut shape = call.ty(0)?.shape.clone();
    for ty in call.operands.iter().skip(1).flatten() {
        let wide = broadcast(&shape, &ty.shape);
        let apart = || call.broken("C3", format!("shapes {shape} and {} do not broadcast", ty.shape));
        shape = wide.ok_or_else(apart)?;
    }
    Ok(shape)
}

/// A result whose frac bits and scales lie along one axis, as those of a type do.
fn one_axis(call: &Call, y: QTensor) -> Result<QTensor, OpError> {
    fn along<T: Copy>(entries: &PerChannel<T>) -> Option<usize> {
        entries.axis().filter(|_| entries.entries().len() > 1)
    }
    /// The entry that all are.
    fn one<T: Copy + PartialEq>(entries: &PerChannel<T>) -> Option<PerChannel<T>> {
        let (first, rest) = entries.entries().split_first()?;
        rest.iter().all(|entry| entry == first).then(|| PerChannel::tensor(*first))
    }
    let QTensor::Float(float) = &y else { return Ok(y) };
    let (fixed, scales) = (float.fixed(), float.scales());
    if along(scales).is_none_or(|axis| along(fixed.frac_bits()).is_none_or(|other| axis == other)) {
        return Ok(y);
    }
    let made = match (one(scales), one(fixed.frac_bits())) {
        (Some(scales), _) => QFloat::new(fixed.clone(), scales),
        (None, Some(frac)) => {
            FixedPoint::new(fixed.sizes(), fixed.elements().iter().copied(), fixed.value_bits(), frac)
                .and_then(|fixed| QFloat::new(fixed, scales.clone()))
        }
        (None, None) => {
            return Err(call.unsupported("a result whose frac bits and scales lie along different axes"));
        }
    };
    made.map(QTensor::from).map_err(|error| refused(call, error))
}

/// Elements of a sample: more are no entries of a grid.
const MOST: usize = 1 << 24;

impl Operation {
    /// The sizes of a sample of an operand.
    fn sizes(&self, call: &Call, position: usize) -> Result<Vec<usize>, OpError> {
        let ty = call.ty(position)?;
        let rank = ty.shape.rank();
        if self.sample == Sample::Maps {
            let sizes = ty.shape.iter().enumerate();
            return sizes
                .map(|(axis, dim)| if (position, axis) == (0, 0) { Ok(0) } else { call.known(dim) })
                .collect();
        }
        let from_end = |ty: &TensorType, axis: usize| ty.shape.rank().saturating_sub(axis);
        let flag = |name| call.attrs.get_bool(name).unwrap_or(false);
        let inner = match (self.sample, position) {
            (Sample::Matrices, 0) => Some(if flag("transpose_a") { 2 } else { 1 }),
            (Sample::Matrices, _) => Some(if flag("transpose_b") { 1 } else { 2 }),
            _ => None,
        };
        let whole = |at: usize| {
            let along = |ty: &TensorType| ty.grid.axis().is_some_and(|axis| from_end(ty, axis) == at);
            match inner {
                Some(inner) => at <= 2 && at != inner || along(ty),
                None => {
                    let given = call.attrs.get_int("axis").and_then(|axis| usize::try_from(axis).ok());
                    call.operands
                        .iter()
                        .flatten()
                        .any(|ty| along(ty) || given.is_some_and(|axis| from_end(ty, axis) == at))
                }
            }
        };
        let size_of_another = |at: usize| {
            let dim = |ty: &TensorType| ty.shape.get(ty.shape.rank().checked_sub(at)?)?.fixed();
            call.operands.iter().flatten().find_map(dim)
        };
        let each = ty.shape.iter().enumerate().map(|(axis, dim)| match (dim.fixed(), whole(rank - axis)) {
            (Some(size), true) => size,
            (Some(size), false) => size.min(1),
            (None, true) => size_of_another(rank - axis).unwrap_or(1),
            (None, false) => 1,
        });
        Ok(each.collect())
    }

    /// Operands of which each element is -1, which every number of value bits has and every operation takes.
    fn sampled(&self, call: &Call) -> Result<Vec<Option<Tensor>>, OpError> {
        let one = |position: usize| {
            let (sizes, storage) = (self.sizes(call, position)?, call.ty(position)?.storage());
            let count = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).filter(|&n| n <= MOST);
            let tensor =
                count.and_then(|n| Tensor::from_le_bytes(storage, &sizes, &vec![0xff; n * storage.size()]));
            Ok(Some(tensor.ok_or_else(|| call.unsupported(format!("a grid for sizes {sizes:?}")))?))
        };
        (0..self.operands.len()).map(one).collect()
    }

    fn run(&self, call: &Call, tensors: &[Option<Tensor>], samples: bool) -> Result<(Tensor, Grid), OpError> {
        let mut operands = Vec::new();
        for (position, (name, layout)) in self.operands.iter().enumerate() {
            let ty = call.ty(position)?;
            let grid = typed::grid_of(ty).ok_or_else(|| {
                call.broken("C1", format!("{name} is plain {}, which is no fixed-point number", ty.storage()))
            })?;
            let Some(Some(tensor)) = tensors.get(position) else {
                return Err(OpError::MissingOperand { op: call.op(), operand: (*name).to_owned() });
            };
            let read = typed::read(tensor, &grid, layout.of_integers(tensor.sizes().len()));
            operands.push(read.map_err(|error| refused(call, error))?);
        }
        let outcome = (self.apply)(&At { call, operands, samples }).map_err(|failure| match failure {
            Failure::Op(error) => error,
            Failure::Numbers(error) => refused(call, error),
        })?;
        match outcome {
            Outcome::Numbers(y) => {
                let y = one_axis(call, y)?;
                // What convolves gives a map.
                let layout = if self.sample == Sample::Maps { Layout::Map } else { Layout::Same };
                let (tensor, grid) = typed::written(&y, layout.of_integers(y.fixed().sizes().len()));
                Ok((tensor, Grid::Fixed(grid)))
            }
            Outcome::Truths(sizes, truths) => {
                let tensor = Tensor::new(&sizes, truths);
                let none = || call.unsupported(format!("a result of sizes {sizes:?}"));
                Ok((tensor.ok_or_else(none)?, Grid::Plain(DType::Bool)))
            }
        }
    }
}

const OPERANDS: &str = "\n\n* C1: operands are on grids of fixed-point numbers, or plain integers of at most 32 \
bits, which have no frac \
    bits and the value bits that their storage has.";

impl Operator for Operation {
    fn schema(&self) -> Schema {
        let mut schema = (self.attrs)(Schema::new(self.name, ""));
        let mut doc = format!("{}{OPERANDS}", self.doc);
        if !schema.attrs.is_empty() {
            doc.push_str("\n* C2: numbers of bits are from 1 to 64, other integers of 32 bits; 0 <= axis < \
                rank, and lists have one entry, or one for each index of `axis`, which is that of the grid of x \
                if it is not given.");
        }
        if self.operands.len() > 1 {
            doc.push_str("\n* C3: shapes are such as the formula takes.");
        }
        if !self.constraints.is_empty() {
            doc.push('\n');
            doc.push_str(self.constraints);
        }
        schema.doc = doc.into();
        self.operands.iter().fold(schema, |schema, (name, _)| schema.operand(name))
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        for (position, ty) in call.operands.iter().enumerate() {
            let Some(ty) = ty else { continue };
            call.require("C1", typed::grid_of(ty).is_some(), || {
                let name = call.schema.operand_name(position);
                format!("{name} is stored as {}, on no grid of fixed-point numbers", ty.storage())
            })?;
        }
        let shape = (self.shape)(call)?;
        let (_, grid) = self.run(call, &self.sampled(call)?, true)?;
        Ok(vec![TensorType { shape, grid }])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![self.run(&inputs.call, inputs.tensors, false)?.0])
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("its operands are integers already")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let mut emission = Emission::new(cx)?;
        let y = (self.emit)(&mut emission)?;
        let (node, function) = emission.function(cx, self.name, y)?;
        let function = Arc::new(move |_: &str, _: Bound| Ok(function.clone()));
        Ok(Lowered::Layer { node, bound: Bound::default(), limits: Vec::new(), function })
    }

    fn lifts(&self) -> Vec<Lift> {
        Vec::new()
    }

    fn macs(&self, call: &Call) -> u64 {
        (self.macs)(call)
    }

    fn examples(&self) -> Vec<Example> {
        let (attrs, operands) = (self.example)();
        vec![Example { attrs, operands: operands.into_iter().map(Some).collect() }]
    }
}
