//! Operators that give the same elements another shape: `flatten`, `reshape`, `squeeze`,
//! `unsqueeze`. Any grid passes through whose axis, if it has one, is still there afterwards.

use std::sync::Arc;

use super::{
    Arithmetic, Call, Entry, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Dim, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Flatten), Box::new(Reshape), Box::new(Squeeze), Box::new(Unsqueeze)]
}

const STAYS: Quantize = Quantize::No("the device has no layer that changes shapes alone");

/// A product of sizes, some of them unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Product {
    known: usize,
    /// Sorted.
    symbols: Vec<Arc<str>>,
}

impl Product {
    /// `None` if the known sizes overflow.
    fn of(dims: &[Dim]) -> Option<Self> {
        let mut product = Self { known: 1, symbols: Vec::new() };
        for dim in dims {
            match dim {
                Dim::Fixed(size) => product.known = product.known.checked_mul(*size)?,
                Dim::Symbol(name) => product.symbols.push(name.clone()),
            }
        }
        product.symbols.sort();
        Some(product)
    }

    /// The size that, times `other`, is `self`; `None` if there is no such size or it is not
    /// known to be one size or one symbol.
    fn divided_by(mut self, other: &Product) -> Option<Dim> {
        for symbol in &other.symbols {
            let at = self.symbols.iter().position(|mine| mine == symbol)?;
            self.symbols.remove(at);
        }
        let known =
            self.known.checked_div(other.known).filter(|quotient| quotient * other.known == self.known)?;
        match self.symbols.as_slice() {
            [] => Some(Dim::Fixed(known)),
            [symbol] if known == 1 => Some(Dim::Symbol(symbol.clone())),
            _ => None,
        }
    }
}

fn product(call: &Call, label: &'static str, dims: &[Dim]) -> Result<Product, OpError> {
    Product::of(dims).ok_or_else(|| call.broken(label, "the sizes of x multiply without overflow"))
}

/// The product of `dims` as one size.
fn merged(call: &Call, label: &'static str, dims: &[Dim]) -> Result<Dim, OpError> {
    let product = product(call, label, dims)?;
    match (product.known, product.symbols.as_slice()) {
        (0, _) => Ok(Dim::Fixed(0)),
        (known, []) => Ok(Dim::Fixed(known)),
        (1, [symbol]) => Ok(Dim::Symbol(symbol.clone())),
        (_, [symbol, ..]) => call.known(&Dim::Symbol(symbol.clone())).map(Dim::Fixed),
    }
}

/// The type of `x` under the new shape. The axis of a per-axis grid becomes the one that runs over
/// the same elements.
fn regrouped(
    call: &Call,
    label: &'static str,
    x: &TensorType,
    dims: Vec<Dim>,
) -> Result<Vec<TensorType>, OpError> {
    let mut ty = x.with_shape(dims);
    if let Some(axis) = ty.grid.axis() {
        let before = x.shape.get(..axis).and_then(Product::of);
        let same = (0..ty.shape.rank())
            .find(|&at| ty.shape.get(at) == x.shape.get(axis) && Product::of(&ty.shape[..at]) == before);
        ty.grid.set_axis(same);
        call.require(label, same.is_some(), || {
            format!("axis {axis} of x, which its grid belongs to, is an axis of {}", ty.shape)
        })?;
    }
    Ok(vec![ty])
}

/// The operand's elements under the inferred shape.
fn reshaped(inputs: &Inputs, shape: &[TensorType]) -> Result<Vec<Tensor>, OpError> {
    let x = inputs.get(0)?;
    let sizes = shape.first().and_then(|ty| ty.shape.sizes());
    let y = sizes.and_then(|sizes| x.reshaped(&sizes));
    Ok(vec![y.ok_or_else(|| inputs.call.unsupported("this shape"))?])
}

/// The call with the types of the tensors themselves: all sizes known.
fn evaluated(
    inputs: &Inputs,
    infer: impl Fn(&Call) -> Result<Vec<TensorType>, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let types: Vec<Option<TensorType>> =
        inputs.tensors.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
    reshaped(inputs, &infer(&Call { operands: &types, ..inputs.call })?)
}

pub struct Flatten;

impl Operator for Flatten {
    fn schema(&self) -> Schema {
        Schema::new(
            "flatten",
            "The elements of x `[d0, …, dr]` as a matrix `[d0 * … * d(axis-1), d(axis) * … * dr]`: \
             `y[i, j]` is element `i * columns + j` of x in row-major order.\n\n\
             * C1: 0 <= axis <= rank of x.\n\
             * C2: the sizes of x multiply without overflow.\n\
             * C3: if the grid of x belongs to an axis, that axis is one of y too.",
        )
        .operand("x")
        .attr("axis", 1i64)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let axis = call.axis("C1", "axis", x.shape.rank() + 1)?;
        let (rows, columns) = x.shape.split_at(axis);
        let dims = vec![merged(call, "C2", rows)?, merged(call, "C2", columns)?];
        regrouped(call, "C3", x, dims)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        evaluated(inputs, |call| self.infer(call))
    }

    fn quantize(&self) -> Quantize {
        STAYS
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let axis = OnnxAttr::Int(cx.call.int("axis")?);
        Ok(Lowered::Nodes(vec![cx.node("Flatten", cx.operand_names.to_vec()).attr("axis", axis)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let rank = cx.ty(0)?.shape.rank();
            let axis = cx.axis(cx.int("axis", 1)?, rank, rank + 1)?;
            Ok(vec![cx.op("flatten", Attrs::new().with("axis", axis), &[x])?])
        }
        vec![Lift::standard("Flatten", [Version::new(1, 1, &["axis"])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3, 1, 2], (0..12i8).collect());
        vec![
            Example { attrs: Attrs::new(), operands: vec![x.clone()] },
            Example { attrs: Attrs::new().with("axis", 0), operands: vec![x] },
        ]
    }
}

pub struct Reshape;

impl Reshape {
    fn dims(call: &Call) -> Result<Vec<Dim>, OpError> {
        let x = &call.ty(0)?.shape;
        let (entries, allowzero) = (call.ints("shape")?, call.flag("allowzero")?);
        // What a copied axis contributes is on both sides, so it is left out of both: that way the
        // size 0 of an empty batch can be copied too.
        let mut copied = Vec::new();
        let mut dims = Vec::new();
        let mut others = Vec::new();
        let mut free = None;
        for (at, &entry) in entries.iter().enumerate() {
            let dim = match usize::try_from(entry) {
                Ok(0) if !allowzero => {
                    let dim = x.get(at);
                    copied.push(at);
                    dim.cloned()
                        .ok_or_else(|| call.broken("C1", format!("`shape` copies axis {at} of {x}")))?
                }
                Ok(size) => {
                    others.push(Dim::Fixed(size));
                    Dim::Fixed(size)
                }
                Err(_) => {
                    call.require("C1", entry == -1 && free.is_none(), || {
                        format!("`shape` has sizes and at most one -1, found {entries:?}")
                    })?;
                    free = Some(at);
                    Dim::Fixed(1)
                }
            };
            dims.push(dim);
        }
        let rest: Vec<Dim> =
            x.iter().enumerate().filter(|(at, _)| !copied.contains(at)).map(|(_, dim)| dim.clone()).collect();
        let (total, others) = (product(call, "C2", &rest)?, product(call, "C2", &others)?);
        let quotient = total.clone().divided_by(&others);
        let fits = match free {
            Some(_) => quotient.is_some(),
            None => total == others,
        };
        if !fits {
            // With all sizes known this is a contradiction; otherwise they may still agree.
            return Err(match total.symbols.first() {
                Some(symbol) => super::call::unknown_size(call.op(), &Dim::Symbol(symbol.clone())),
                None => call.broken("C2", format!("{x} has as many elements as {entries:?}")),
            });
        }
        if let (Some(at), Some(quotient)) = (free, quotient) {
            dims[at] = quotient;
        }
        Ok(dims)
    }
}

impl Operator for Reshape {
    fn schema(&self) -> Schema {
        Schema::new(
            "reshape",
            "The elements of x, in row-major order, under the sizes `shape`: an entry -1 is the size \
             that is left over, an entry 0 copies the size of x on the same axis, or with `allowzero` \
             means 0. An unknown size of x can be copied, or left over.\n\n\
             * C1: `shape` has sizes, at most one -1, and a 0 that copies only on an axis of x.\n\
             * C2: x has as many elements as y, and their number does not overflow.\n\
             * C3: if the grid of x belongs to an axis, that axis is one of y too.",
        )
        .operand("x")
        .required_attr("shape", AttrKind::Ints)
        .attr("allowzero", false)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        regrouped(call, "C3", call.ty(0)?, Self::dims(call)?)
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        evaluated(inputs, |call| self.infer(call))
    }

    fn quantize(&self) -> Quantize {
        STAYS
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let shape = cx.initializer("shape", Tensor::vector(cx.call.ints("shape")?.to_vec()));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(shape);
        let mut node = cx.node("Reshape", inputs);
        if cx.call.flag("allowzero")? {
            node = node.attr("allowzero", OnnxAttr::Int(1));
        }
        Ok(Lowered::Nodes(vec![node]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let allowzero = cx.opset >= 14 && cx.int("allowzero", 0)? != 0;
            let (shape, allowzero) = match cx.constant_ints(1, "shape") {
                // Without a zero in the shape the flag says nothing.
                Ok(Some(shape)) => {
                    let allowzero = allowzero && shape.contains(&0);
                    (shape, allowzero)
                }
                Ok(None) => return Err(cx.invalid("needs a shape")),
                Err(error) => (open_shape(cx, allowzero)?.ok_or(error)?, false),
            };
            let attrs = Attrs::new().with("shape", shape).with("allowzero", allowzero);
            Ok(vec![cx.op("reshape", attrs, &[x])?])
        }
        // Before opset 5 the shape was an attribute.
        let reshape = [Version::new(5, 2, &[]), Version::new(14, 2, &["allowzero"])];
        let to_space = [Version::new(1, 1, &["blocksize"]), Version::new(11, 1, &["blocksize", "mode"])];
        let to_depth = [Version::new(1, 1, &["blocksize"]), Version::new(27, 1, &["blocksize", "mode"])];
        vec![
            Lift::standard("Reshape", reshape, lift),
            Lift::standard("DepthToSpace", to_space, lift_depth_to_space),
            Lift::standard("SpaceToDepth", to_depth, lift_space_to_depth),
        ]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3, 4], (0..24).map(|v| v as f32).collect());
        let attrs = Attrs::new().with("shape", vec![0, 2, -1]);
        vec![Example { attrs, operands: vec![x] }]
    }
}

/// A list of sizes that is known but for open ones: those that the operand has on the same axis are copied,
/// and one more is what is left over, for a reshape keeps the number of elements.
fn open_shape(cx: &LiftCx, allowzero: bool) -> Result<Option<Vec<i64>>, OpError> {
    let Some(entries) = cx.entries(1) else { return Ok(None) };
    let x = &cx.ty(0)?.shape;
    let shape: Vec<i64> = entries
        .iter()
        .enumerate()
        .map(|(axis, entry)| match entry {
            Entry::Number(size) => *size,
            Entry::Size(name) if x.get(axis) == Some(&Dim::Symbol(name.clone())) => 0,
            Entry::Size(_) | Entry::Open => -1,
        })
        .collect();
    let one_left = shape.iter().filter(|&&size| size == -1).count() <= 1;
    Ok(Some(shape).filter(|_| one_left && !(allowzero && entries.contains(&Entry::Number(0)))))
}

/// The sizes behind the batch, the block, and whether channels come first in a block (`CRD`).
fn blocks(cx: &LiftCx) -> Result<([i64; 3], i64, bool), OpError> {
    let [_, channels, rows, columns] = &*cx.ty(0)?.shape else {
        return Err(cx.invalid("has an operand of 4 axes"));
    };
    let size = |dim: &Dim| Ok(i64::try_from(cx.known(dim)?).unwrap_or(i64::MAX));
    let sizes = [size(channels)?, size(rows)?, size(columns)?];
    let Some(block) = cx.opt_int("blocksize")?.filter(|block| (1..=1 << 16).contains(block)) else {
        return Err(cx.invalid("needs a blocksize from 1 to 2^16"));
    };
    let channels_first = match cx.opt_text("mode")?.unwrap_or("DCR") {
        "DCR" => false,
        "CRD" => true,
        other => return Err(cx.invalid(format!("`mode` is `{other}`"))),
    };
    Ok((sizes, block, channels_first))
}

/// A transpose between two reshapes, the batch being axis 0.
fn rearranged(
    cx: &mut LiftCx,
    parts: Vec<i64>,
    perm: Vec<i64>,
    to: Vec<i64>,
) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let parts = cx.step("parts", "reshape", Attrs::new().with("shape", parts), &[x])?;
    let moved = cx.step("moved", "transpose", Attrs::new().with("perm", perm), &[parts])?;
    Ok(vec![cx.op("reshape", Attrs::new().with("shape", to), &[moved])?])
}

fn lift_depth_to_space(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let ([channels, rows, columns], block, channels_first) = blocks(cx)?;
    let each = channels / (block * block);
    if each * block * block != channels {
        return Err(cx.invalid(format!("{channels} channels are not blocks of {block} by {block}")));
    }
    let (parts, perm) = if channels_first {
        (vec![0, each, block, block, rows, columns], vec![0, 1, 4, 2, 5, 3])
    } else {
        (vec![0, block, block, each, rows, columns], vec![0, 3, 4, 1, 5, 2])
    };
    // Sizes in memory: a product that is too large is refused as a size.
    rearranged(cx, parts, perm, vec![0, each, rows.saturating_mul(block), columns.saturating_mul(block)])
}

fn lift_space_to_depth(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let ([channels, rows, columns], block, channels_first) = blocks(cx)?;
    if rows % block != 0 || columns % block != 0 {
        return Err(cx.invalid(format!("{rows} by {columns} are not blocks of {block} by {block}")));
    }
    let parts = vec![0, channels, rows / block, block, columns / block, block];
    let perm = if channels_first { vec![0, 1, 3, 5, 2, 4] } else { vec![0, 3, 5, 1, 2, 4] };
    rearranged(
        cx,
        parts,
        perm,
        vec![0, channels.saturating_mul(block * block), rows / block, columns / block],
    )
}

pub struct Squeeze;

impl Operator for Squeeze {
    fn schema(&self) -> Schema {
        Schema::new(
            "squeeze",
            "x without the axes `axes`, each of size 1: `y[i0, …] = x[i0, …, 0, …]`.\n\n\
             * C1: 0 <= axis < rank of x for each of `axes`, which ascend.\n\
             * C2: x has size 1 on each of `axes`.",
        )
        .operand("x")
        .required_attr("axes", AttrKind::Ints)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let axes = call.axes("C1", "axes", x.shape.rank())?;
        for &axis in &axes {
            let size = call.known(&x.shape[axis])?;
            call.require("C2", size == 1, || format!("axis {axis} of {} has size 1", x.shape))?;
        }
        let kept = (0..x.shape.rank()).filter(|at| !axes.contains(at));
        let kept: Vec<usize> = kept.collect();
        let mut ty = x.with_shape(Shape::new(kept.iter().map(|&at| x.shape[at].clone())));
        move_axis(&mut ty, |axis| kept.iter().position(|&at| at == axis));
        Ok(vec![ty])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        evaluated(inputs, |call| self.infer(call))
    }

    fn quantize(&self) -> Quantize {
        STAYS
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_with_axes(cx, "Squeeze")
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let shape = cx.ty(0)?.shape.clone();
            let axes = match cx.ints_either("axes", 1, 13)? {
                Some(axes) => cx.axes(&axes, shape.rank())?,
                None => {
                    let mut axes = Vec::new();
                    for (axis, dim) in (0i64..).zip(shape.iter()) {
                        if cx.known(dim)? == 1 {
                            axes.push(axis);
                        }
                    }
                    axes
                }
            };
            Ok(vec![cx.op("squeeze", Attrs::new().with("axes", axes), &[x])?])
        }
        vec![Lift::standard("Squeeze", [Version::new(1, 1, &["axes"]), Version::new(13, 2, &[])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3, 1, 1], (0..6u8).collect());
        vec![Example { attrs: Attrs::new().with("axes", vec![2, 3]), operands: vec![x] }]
    }
}

pub struct Unsqueeze;

impl Operator for Unsqueeze {
    fn schema(&self) -> Schema {
        Schema::new(
            "unsqueeze",
            "x with axes of size 1 put in, so that they are the axes `axes` of y: \
             `y[i0, …, 0, …] = x[i0, …]`.\n\n\
             * C1: 0 <= axis < rank of y for each of `axes`, which ascend.",
        )
        .operand("x")
        .required_attr("axes", AttrKind::Ints)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let rank = x.shape.rank() + call.ints("axes")?.len();
        let axes = call.axes("C1", "axes", rank)?;
        let mut old = x.shape.iter().cloned();
        // As many axes are not in `axes` as x has.
        let dims =
            (0..rank).filter_map(|at| if axes.contains(&at) { Some(Dim::Fixed(1)) } else { old.next() });
        let mut ty = x.with_shape(Shape::new(dims));
        move_axis(&mut ty, |axis| (0..rank).filter(|at| !axes.contains(at)).nth(axis));
        Ok(vec![ty])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        evaluated(inputs, |call| self.infer(call))
    }

    fn quantize(&self) -> Quantize {
        STAYS
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        lower_with_axes(cx, "Unsqueeze")
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let Some(axes) = cx.ints_either("axes", 1, 13)? else {
                return Err(cx.invalid("needs axes"));
            };
            let axes = cx.axes(&axes, cx.ty(0)?.shape.rank() + axes.len())?;
            Ok(vec![cx.op("unsqueeze", Attrs::new().with("axes", axes), &[x])?])
        }
        vec![Lift::standard("Unsqueeze", [Version::new(1, 1, &["axes"]), Version::new(13, 2, &[])], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[3], vec![1.0f32, 2.0, 3.0]);
        vec![Example { attrs: Attrs::new().with("axes", vec![0, 2, 3]), operands: vec![x] }]
    }
}

/// Renumbers the axis of a per-axis grid. An axis that goes away has size 1, and a grid with one
/// entry has none.
pub(super) fn move_axis(ty: &mut TensorType, moved: impl Fn(usize) -> Option<usize>) {
    ty.grid.set_axis(ty.grid.axis().and_then(moved));
}

fn lower_with_axes(cx: &mut LowerCx, op_type: &str) -> Result<Lowered, OpError> {
    let axes = cx.initializer("axes", Tensor::vector(cx.call.ints("axes")?.to_vec()));
    let mut inputs = cx.operand_names.to_vec();
    inputs.push(axes);
    Ok(Lowered::Nodes(vec![cx.node(op_type, inputs)]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn shape_attr(entries: &[i64]) -> Attrs {
        Attrs::new().with("shape", entries.to_vec())
    }

    fn axes(axes: &[i64]) -> Attrs {
        Attrs::new().with("axes", axes.to_vec())
    }

    #[test]
    fn constraints() {
        let huge = "f32[4294967296, 4294967296]";
        let axis = |axis: i64| Attrs::new().with("axis", axis);
        // A type in text has no per-axis grid, so the last constraint of two is shown apart.
        let without_c3 = |op, cases: &[(&str, Attrs, &str)], merged: Attrs| {
            assert_eq!(broken(infer(op, merged, &[quantized("i8[2, 3, 1]", 3)])), "C3");
            for (expected, attrs, x) in cases {
                assert_eq!(broken(infer(op, attrs.clone(), &[ty(x)])), *expected);
            }
        };
        without_c3(
            "flatten",
            &[("C1", axis(3), "f32[2, 3]"), ("C1", axis(-1), "f32[2, 3]"), ("C2", axis(0), huge)],
            axis(0),
        );
        without_c3(
            "reshape",
            &[
                ("C1", shape_attr(&[-1, -1]), "f32[2, 3]"),
                ("C1", shape_attr(&[-2]), "f32[2, 3]"),
                ("C1", shape_attr(&[2, 3, 0]), "f32[2, 3]"),
                ("C2", shape_attr(&[4, 2]), "f32[2, 3]"),
                ("C2", shape_attr(&[4, -1]), "f32[2, 3]"),
                ("C2", shape_attr(&[-1]), huge),
            ],
            shape_attr(&[6]),
        );
        check_labels(
            "squeeze",
            &[
                ("C1", axes(&[2]), &["f32[2, 1]"]),
                ("C1", axes(&[1, 0]), &["f32[1, 1]"]),
                ("C2", axes(&[0]), &["f32[2, 1]"]),
            ],
        );
        check_labels("unsqueeze", &[("C1", axes(&[4]), &["f32[2, 1]"]), ("C1", axes(&[1, 1]), &["f32[2]"])]);
    }

    #[test]
    fn an_unknown_size_is_copied_or_left_over() {
        let reshaped = |x: &str, entries: &[i64]| shape("reshape", shape_attr(entries), &[x]);
        assert_eq!(reshaped("f32[N, 3, 4]", &[0, -1]), "f32[N, 12]");
        assert_eq!(reshaped("f32[N, 3, 4]", &[-1, 12]), "f32[N, 12]");
        assert_eq!(reshaped("f32[N, 3, 4]", &[-1, 2, 6]), "f32[N, 2, 6]");
        assert_eq!(reshaped("f32[2, N, 4]", &[8, -1]), "f32[8, N]");
        assert_unknown_size(infer("reshape", shape_attr(&[3, 0, -1]), &[ty("f32[N, 3, M]")]));
        assert_unknown_size(infer("reshape", shape_attr(&[1, 12]), &[ty("f32[N, 3, 4]")]));
        assert_unknown_size(infer("reshape", shape_attr(&[-1, 4]), &[ty("f32[N, 3, 2]")]));
        let none = Attrs::new();
        assert_eq!(shape("flatten", none.clone(), &["f32[N, 3, 4]"]), "f32[N, 12]");
        assert_eq!(shape("flatten", none.clone(), &["f32[2, N, 1]"]), "f32[2, N]");
        assert_unknown_size(infer("flatten", none, &[ty("f32[2, N, 3]")]));
        assert_eq!(shape("squeeze", axes(&[1, 3]), &["f32[N, 1, 3, 1]"]), "f32[N, 3]");
        assert_unknown_size(infer("squeeze", axes(&[0]), &[ty("f32[N, 1]")]));
        assert_eq!(shape("unsqueeze", axes(&[0, 2]), &["f32[N, 3]"]), "f32[1, N, 1, 3]");
    }

    #[test]
    fn a_batch_of_none_is_copied_too() {
        let y = eval("reshape", shape_attr(&[0, -1]), &[tensor::<f32>(&[0, 3, 4], [])]);
        assert_eq!(y, Ok(tensor::<f32>(&[0, 12], [])));
        let y = eval("flatten", Attrs::new(), &[tensor::<f32>(&[0, 3, 4], [])]);
        assert_eq!(y, Ok(tensor::<f32>(&[0, 12], [])));
        let zero = shape_attr(&[3, 0]).with("allowzero", true);
        assert_eq!(eval("reshape", zero, &[tensor::<f32>(&[0, 4], [])]), Ok(tensor::<f32>(&[3, 0], [])));
    }

    #[test]
    fn the_axis_of_a_grid_moves_along() {
        let axis = |op, attrs, x: &str, factors| {
            let types = infer(op, attrs, &[quantized(x, factors)]).unwrap();
            types[0].grid.affine().unwrap().axis
        };
        assert_eq!(axis("flatten", Attrs::new(), "i8[N, 3, 1, 1]", 3), Some(1));
        assert_eq!(axis("flatten", Attrs::new(), "i8[N, 3, 4, 4]", 1), None);
        assert_eq!(axis("reshape", shape_attr(&[0, 3, 16]), "i8[N, 3, 4, 4]", 3), Some(1));
        assert_eq!(axis("reshape", shape_attr(&[0, 1, 3, 1]), "i8[N, 3, 1, 1]", 3), Some(2));
        assert_eq!(axis("unsqueeze", axes(&[0, 1]), "i8[N, 3]", 3), Some(3));
        assert_eq!(axis("squeeze", axes(&[0, 2]), "i8[1, 3, 1]", 3), Some(0));
        let grid = || quantized("i8[N, 3, 2]", 3);
        assert_eq!(broken(infer("flatten", Attrs::new(), &[grid()])), "C3");
    }

    #[test]
    fn blocks_move_between_channels_and_positions() {
        let x = || Operand::Input(tensor(&[1, 8, 1, 1], (0..8u8).collect::<Vec<_>>()));
        let block = ("blocksize", OnnxAttr::Int(2));
        let mode = |mode: &str| ("mode", OnnxAttr::Str(mode.to_owned()));
        let read = |op: &str, attrs: &[(&str, OnnxAttr)], x: Operand| {
            lift_and_eval(&onnx(op, attrs), 13, &[x]).unwrap()
        };
        let y = read("DepthToSpace", std::slice::from_ref(&block), x());
        assert_eq!(y, tensor(&[1, 2, 2, 2], [0u8, 2, 4, 6, 1, 3, 5, 7]));
        assert_eq!(
            read("SpaceToDepth", std::slice::from_ref(&block), Operand::Input(y)),
            tensor(&[1, 8, 1, 1], (0..8u8).collect::<Vec<_>>())
        );
        let y = read("DepthToSpace", &[block.clone(), mode("CRD")], x());
        assert_eq!(y, tensor(&[1, 2, 2, 2], [0u8, 1, 2, 3, 4, 5, 6, 7]));
        let odd = [Operand::Typed(ty("f32[N, 6, 3, 3]"))];
        for op in ["DepthToSpace", "SpaceToDepth"] {
            assert!(matches!(
                lift(&onnx(op, std::slice::from_ref(&block)), 13, &odd),
                Err(OpError::Invalid { .. })
            ));
        }
        let (graph, y) =
            lift(&onnx("DepthToSpace", &[block]), 13, &[Operand::Typed(ty("f32[N, 4, 3, 3]"))]).unwrap();
        assert_eq!(graph.ty(y).shape.to_string(), "[N, 1, 6, 6]");
    }

    #[test]
    fn axes_come_from_attribute_or_operand() {
        let x = || Operand::Input(tensor(&[1, 2, 1], [5.0f32, 6.0]));
        let ints = |v: &[i64]| OnnxAttr::Ints(v.to_vec());
        let operand = |v: &[i64]| Operand::Constant(Tensor::vector(v.to_vec()));
        let both = |op: &str, v: &[i64]| {
            let old = lift_and_eval(&onnx(op, &[("axes", ints(v))]), 12, &[x()]);
            assert_eq!(old, lift_and_eval(&onnx(op, &[]), 13, &[x(), operand(v)]));
            old
        };
        assert_eq!(both("Squeeze", &[-1]), Ok(tensor(&[1, 2], [5.0f32, 6.0])));
        assert_eq!(both("Unsqueeze", &[4, -4]), Ok(tensor(&[1, 1, 2, 1, 1], [5.0f32, 6.0])));
        assert_eq!(lift_and_eval(&onnx("Squeeze", &[]), 13, &[x()]), Ok(tensor(&[2], [5.0f32, 6.0])));
        assert!(matches!(both("Squeeze", &[0, -3]), Err(OpError::Invalid { .. })));
        assert!(matches!(both("Squeeze", &[7]), Err(OpError::Invalid { .. })));
        assert!(matches!(lift(&onnx("Unsqueeze", &[]), 13, &[x()]), Err(OpError::Invalid { .. })));
        assert_unknown_size(lift(&onnx("Squeeze", &[]), 13, &[Operand::Typed(ty("f32[N, 1]"))]));
    }

    proptest! {
        /// What is inferred for an unknown batch holds for every batch, none included.
        #[test]
        fn reshape_is_inferred_for_every_batch(rest in prop::collection::vec(1usize..4, 1..4), batch in 0usize..4) {
            let product: usize = rest.iter().product();
            let text: Vec<String> = rest.iter().map(usize::to_string).collect();
            let x = ty(&format!("f32[N, {}]", text.join(", ")));
            let sizes: Vec<usize> = std::iter::once(batch).chain(rest.iter().copied()).collect();
            let elements: Vec<f32> = (0..batch * product).map(|i| i as f32).collect();
            for entries in [vec![-1, product as i64], vec![0, -1], vec![0, product as i64]] {
                let inferred = infer("reshape", shape_attr(&entries), std::slice::from_ref(&x)).unwrap();
                let y = eval("reshape", shape_attr(&entries), &[tensor(&sizes, elements.clone())]).unwrap();
                prop_assert!(inferred[0].shape.admits(y.sizes()));
                prop_assert_eq!(y.elements::<f32>().unwrap(), elements.as_slice());
            }
        }
    }
}
