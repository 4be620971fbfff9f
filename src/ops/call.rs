//! One application of an operator, as its faces see it.

use super::{OpError, Schema};
use crate::ir::{Attr, Attrs};
use crate::tensor::{DType, Element, Tensor, TensorType};

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
        let operand = self.schema.operands.get(position).map_or("?", |spec| &spec.name).to_owned();
        OpError::MissingOperand { op: self.op(), operand }
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

    /// The elements of an operand that must be stored as `T`.
    pub fn elements<T: Element>(&self, position: usize) -> Result<&'a [T], OpError> {
        let tensor = self.get(position)?;
        tensor.elements().ok_or_else(|| {
            self.call.unsupported(format!(
                "operand {position} stored as {}, not {}",
                tensor.dtype(),
                T::DTYPE
            ))
        })
    }
}
