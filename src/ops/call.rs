//! One application of an operator, as its faces see it.

use ndarray::{ArrayD, IxDyn};

use super::{OpError, Schema};
use crate::ir::{Attr, Attrs};
use crate::kernels;
use crate::tensor::{Array, DType, Dim, Element, Grid, Tensor, TensorType};

/// Schema, attributes (complete) and operand types of a node.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub schema: &'a Schema,
    pub attrs: &'a Attrs,
    pub operands: &'a [Option<TensorType>],
}

impl<'a> Call<'a> {
    /// Type of the operand at `position`.
    pub fn ty(&self, position: usize) -> Result<&'a TensorType, OpError> {
        self.opt_ty(position).ok_or_else(|| self.missing(position))
    }

    /// Type of the operand at `position`, if it is present.
    pub fn opt_ty(&self, position: usize) -> Option<&'a TensorType> {
        self.operands.get(position)?.as_ref()
    }

    fn missing(&self, position: usize) -> OpError {
        OpError::MissingOperand { op: self.op(), operand: self.schema.operand_name(position) }
    }

    pub fn op(&self) -> String {
        self.schema.name.clone().into_owned()
    }

    fn attr(&self, name: &str) -> Result<&'a Attr, OpError> {
        self.attrs.get(name).ok_or_else(|| OpError::MissingAttr { op: self.op(), attr: name.to_owned() })
    }

    fn kind(&self, name: &str, expected: &'static str) -> OpError {
        let found = self.attrs.get(name).map_or("nothing", |attr| attr.kind().name());
        OpError::AttrKind { op: self.op(), attr: name.to_owned(), expected, found }
    }

    pub fn flag(&self, name: &str) -> Result<bool, OpError> {
        self.attr(name)?;
        self.attrs.get_bool(name).ok_or_else(|| self.kind(name, "bool"))
    }

    pub fn int(&self, name: &str) -> Result<i64, OpError> {
        self.attr(name)?;
        self.attrs.get_int(name).ok_or_else(|| self.kind(name, "int"))
    }

    pub fn float(&self, name: &str) -> Result<f32, OpError> {
        self.attr(name)?;
        self.attrs.get_float(name).ok_or_else(|| self.kind(name, "float"))
    }

    pub fn text(&self, name: &str) -> Result<&'a str, OpError> {
        self.attr(name)?;
        self.attrs.get_str(name).ok_or_else(|| self.kind(name, "string"))
    }

    pub fn dtype(&self, name: &str) -> Result<DType, OpError> {
        self.attr(name)?;
        self.attrs.get_dtype(name).ok_or_else(|| self.kind(name, "dtype"))
    }

    pub fn ints(&self, name: &str) -> Result<&'a [i64], OpError> {
        self.attr(name)?;
        self.attrs.get_ints(name).ok_or_else(|| self.kind(name, "list of int"))
    }

    /// `N` sizes, each at least `least` and small enough for a size.
    pub fn sizes<const N: usize>(&self, name: &'static str, least: usize) -> Result<[usize; N], OpError> {
        let ints = self.ints(name)?;
        let sizes: Vec<usize> = ints.iter().filter_map(|&v| usize::try_from(v).ok()).collect();
        match <[usize; N]>::try_from(sizes) {
            Ok(sizes) if ints.len() == N && sizes.iter().all(|&v| v >= least && v <= MAX_SIZE) => Ok(sizes),
            _ => Err(self.broken(
                "C0",
                format!("`{name}` is {N} integers from {least} to {MAX_SIZE}, found {ints:?}"),
            )),
        }
    }

    /// What a kernel gave.
    pub fn kernel<T>(&self, result: Result<T, kernels::Error>) -> Result<T, OpError> {
        result.map_err(|error| self.unsupported(format!("an evaluation where {error}")))
    }

    /// A numbered constraint that does not hold.
    pub fn broken(&self, label: &'static str, message: impl Into<String>) -> OpError {
        OpError::Constraint { op: self.op(), label, message: message.into() }
    }

    /// `Ok` if the constraint holds.
    pub fn require(
        &self,
        label: &'static str,
        holds: bool,
        message: impl FnOnce() -> String,
    ) -> Result<(), OpError> {
        if holds { Ok(()) } else { Err(self.broken(label, message())) }
    }

    pub fn unsupported(&self, what: impl Into<String>) -> OpError {
        OpError::Unsupported { op: self.op(), what: what.into(), way_out: None }
    }

    /// The storage that all present operands share: plain, and one of `allowed`.
    pub fn same_plain(&self, label: &'static str, allowed: &[DType]) -> Result<DType, OpError> {
        let mut types = self.operands.iter().enumerate().filter_map(|(i, ty)| Some((i, ty.as_ref()?)));
        let (_, first) = types.next().ok_or_else(|| self.missing(0))?;
        let storage = first.storage();
        let names = |position| self.schema.operand_name(position);
        self.require(label, first.grid == Grid::Plain(storage) && allowed.contains(&storage), || {
            let allowed: Vec<&str> = allowed.iter().map(|dtype| dtype.name()).collect();
            let quantized = if !first.grid.is_plain() { "quantized " } else { "" };
            format!("{} is stored plainly as {}, found {quantized}{storage}", names(0), allowed.join(", "))
        })?;
        for (position, ty) in types {
            self.require(label, ty.grid == first.grid, || {
                format!("{} is stored as {} is, {storage}, found {}", names(position), names(0), ty.storage())
            })?;
        }
        Ok(storage)
    }

    /// A size that the operator computes with.
    pub fn known(&self, dim: &Dim) -> Result<usize, OpError> {
        dim.fixed().ok_or_else(|| unknown_size(self.op(), dim))
    }

    /// An axis given by the attribute `name`: `0 <= axis < end`.
    pub fn axis(&self, label: &'static str, name: &str, end: usize) -> Result<usize, OpError> {
        self.axis_in(label, self.int(name)?, end)
    }

    /// The axes given by the attribute `name`, each `0 <= axis < end` and in ascending order.
    pub fn axes(&self, label: &'static str, name: &str, end: usize) -> Result<Vec<usize>, OpError> {
        let ints = self.ints(name)?;
        let axes: Vec<usize> = ints.iter().map(|&v| self.axis_in(label, v, end)).collect::<Result<_, _>>()?;
        self.require(label, axes.is_sorted_by(|a, b| a < b), || format!("`{name}` ascends, found {ints:?}"))?;
        Ok(axes)
    }

    fn axis_in(&self, label: &'static str, axis: i64, end: usize) -> Result<usize, OpError> {
        match usize::try_from(axis) {
            Ok(at) if at < end => Ok(at),
            _ => Err(self.broken(label, format!("0 <= axis < {end}, found {axis}"))),
        }
    }

    /// A result of `sizes` with every element `value`, if there is memory for it.
    pub fn filled<T: Element>(&self, sizes: &[usize], value: T) -> Result<ArrayD<T>, OpError> {
        let mut elements = self.room(sizes)?;
        elements.resize(elements.capacity(), value);
        ArrayD::from_shape_vec(IxDyn(sizes), elements).map_err(|_| self.too_large(sizes))
    }

    /// Room for the elements of a result.
    pub fn room<T: Element>(&self, sizes: &[usize]) -> Result<Vec<T>, OpError> {
        let count = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let count = count.ok_or_else(|| self.too_large(sizes))?;
        let mut elements = Vec::new();
        elements.try_reserve_exact(count).map_err(|_| self.too_large(sizes))?;
        Ok(elements)
    }

    fn too_large(&self, sizes: &[usize]) -> OpError {
        self.unsupported(format!("a result of sizes {sizes:?}"))
    }

    /// The single result of an evaluation.
    pub fn result<T: Element>(&self, sizes: &[usize], elements: Vec<T>) -> Result<Vec<Tensor>, OpError> {
        let tensor = Tensor::new(sizes, elements);
        Ok(vec![tensor.ok_or_else(|| self.unsupported(format!("a result of sizes {sizes:?}")))?])
    }
}

/// What to say where a symbolic size would have to be computed with.
pub(super) fn unknown_size(op: String, dim: &Dim) -> OpError {
    OpError::Unsupported {
        op,
        what: format!("computing with the unknown size `{dim}`"),
        way_out: Some("give every size of the input: --input-shape NAME=1,3,224,224".to_owned()),
    }
}

/// Larger kernels, strides and pads do not occur; the limit keeps products far from overflow.
const MAX_SIZE: usize = 1 << 24;

/// The operand tensors of one evaluation, by position.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub call: Call<'a>,
    pub tensors: &'a [Option<Tensor>],
}

impl<'a> Inputs<'a> {
    pub fn get(&self, position: usize) -> Result<&'a Tensor, OpError> {
        self.opt(position).ok_or_else(|| self.call.missing(position))
    }

    pub fn opt(&self, position: usize) -> Option<&'a Tensor> {
        self.tensors.get(position)?.as_ref()
    }

    /// The array of an operand that must be stored as `T`.
    pub fn array<T: Element>(&self, position: usize) -> Result<&'a Array<T>, OpError> {
        let tensor = self.get(position)?;
        T::of(tensor).ok_or_else(|| self.stored_otherwise::<T>(position, tensor))
    }

    /// The elements of an operand that must be stored as `T`.
    pub fn elements<T: Element>(&self, position: usize) -> Result<&'a [T], OpError> {
        let tensor = self.get(position)?;
        tensor.elements().ok_or_else(|| self.stored_otherwise::<T>(position, tensor))
    }

    /// The elements of an optional operand that must be stored as `T`.
    pub fn opt_elements<T: Element>(&self, position: usize) -> Result<Option<&'a [T]>, OpError> {
        self.opt(position).map(|_| self.elements(position)).transpose()
    }

    fn stored_otherwise<T: Element>(&self, position: usize, tensor: &Tensor) -> OpError {
        self.call.unsupported(format!("operand {position} stored as {}, not {}", tensor.dtype(), T::DTYPE))
    }
}
