//! `stretch`: an axis that becomes as long as one of another value, where that size is open: what files say by lists
//! of sizes that are computed when the network runs.

use std::sync::Arc;

use super::body::Body;
use super::index_map::chosen;
use super::{
    Arithmetic, Call, Entry, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Array, Dim, Element, Shape, Tensor, TensorType, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Stretch)]
}

pub struct Stretch;

impl Stretch {
    /// The axis, and the size that it gets.
    fn stretched(call: &Call) -> Result<(usize, Dim), OpError> {
        let (x, like) = (call.ty(0)?, call.ty(1)?);
        let axis = call.axis("C1", "axis", x.shape.rank())?;
        let of = call.axis("C2", "of", like.shape.rank())?;
        call.require("C1", x.shape[axis] == Dim::Fixed(1), || {
            format!("x has size 1 on axis {axis}, found {}", x.shape)
        })?;
        Ok((axis, like.shape[of].clone()))
    }
}

impl Operator for Stretch {
    fn schema(&self) -> Schema {
        Schema::new(
            "stretch",
            "`y[…, i, …] = x[…, 0, …]` for each i on `axis` below the size that like has on the axis `of`; its elements \
             do not matter.\n\n\
             * C1: 0 <= axis < rank of x, and x has size 1 there.\n\
             * C2: 0 <= of < rank of like.\n\
             * C3: the grid of x does not belong to `axis`.",
        )
        .operand("x")
        .operand("like")
        .required_attr("axis", AttrKind::Int)
        .attr("of", 0i64)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let (axis, size) = Self::stretched(call)?;
        let grid_axis = x.grid.axis();
        call.require("C3", grid_axis != Some(axis), || format!("the grid of x belongs to axis {axis}"))?;
        let mut dims = x.shape.to_vec();
        dims[axis] = size;
        Ok(vec![x.with_shape(dims)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn none<T: Element>(call: &Call, _: &Array<T>, sizes: &[usize]) -> Result<Vec<Tensor>, OpError> {
            call.result::<T>(sizes, Vec::new())
        }
        let call = &inputs.call;
        let (axis, size) = Self::stretched(call)?;
        let (x, size) = (inputs.get(0)?, call.known(&size)?);
        if x.is_empty() || size == 0 {
            let mut sizes = x.sizes().to_vec();
            sizes[axis] = size;
            return dispatch!(x, array => none(call, array, &sizes));
        }
        Ok(vec![dispatch!(x, array => chosen(call, array, &[(axis, vec![0; size])])?)])
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not repeat a map")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let (axis, rank) = (cx.call.axis("C1", "axis", usize::MAX)?, cx.call.ty(0)?.shape.rank());
        let of = cx.call.int("of")?;
        let [x, like] = [0, 1].map(|at| cx.operand_names.get(at).cloned().unwrap_or_default());
        let mut body = Body::of_node(cx);
        let part = vec![("start", OnnxAttr::Int(of)), ("end", OnnxAttr::Int(of + 1))];
        let mut sizes = body.op_with("Shape", &[&like], part);
        if rank > 1 {
            let before = body.vector(vec![1i64; axis]);
            let after = body.vector(vec![1i64; rank - 1 - axis]);
            sizes = body.op_with("Concat", &[&before, &sizes, &after], vec![("axis", OnnxAttr::Int(0))]);
        }
        body.op("Expand", &[&x, &sizes]);
        Ok(body.nodes_of(cx))
    }

    fn lifts(&self) -> Vec<Lift> {
        // ONNX has no such operator: its lists of open sizes are read as it.
        Vec::new()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 1], vec![1.0f32, 2.0]);
        let like = Tensor::new(&[3, 1], vec![0u8, 1, 2]);
        vec![Example { attrs: Attrs::new().with("axis", 1), operands: vec![x, like] }]
    }
}

/// An input that has an axis of the open size of that name, and the axis.
fn source(cx: &LiftCx, name: &str) -> Option<(ValueId, i64)> {
    let graph = &*cx.builder.graph;
    let open = Dim::Symbol(name.into());
    let axis = |shape: &Shape| (0..).zip(shape.iter()).find(|(_, dim)| **dim == open).map(|(axis, _)| axis);
    graph.inputs().find_map(|input| Some((input, axis(&graph.ty(input).shape)?)))
}

/// The value with these axes, of size 1, stretched to open sizes; `None` where no input has them.
fn to_open(
    cx: &mut LiftCx,
    mut value: ValueId,
    open: &[(usize, Arc<str>)],
) -> Result<Option<ValueId>, OpError> {
    for (left, (axis, name)) in (0..open.len()).rev().zip(open) {
        let Some((like, of)) = source(cx, name) else { return Ok(None) };
        // Ranks are small: they count the entries of a list in memory.
        let attrs = Attrs::new().with("axis", *axis as i64).with("of", of);
        let suffix = (left > 0).then(|| format!("axis_{axis}"));
        value = cx.step_or_op(suffix.as_deref(), "stretch", attrs, &[value, like])?;
    }
    Ok(Some(value))
}

/// ONNX's Expand to a list of which some entries are open sizes; `None` where they are something else.
pub fn expanded(cx: &mut LiftCx) -> Result<Option<ValueId>, OpError> {
    let mut x = cx.operand(0)?;
    let own = cx.ty(0)?.shape.clone();
    let Some(entries) = cx.entries(1) else { return Ok(None) };
    let rank = own.rank().max(entries.len());
    let (mut shape, mut open) = (vec![1i64; rank], Vec::new());
    for (axis, size) in shape.iter_mut().enumerate() {
        let entry = (axis + entries.len()).checked_sub(rank).map(|at| &entries[at]);
        let own = (axis + own.rank()).checked_sub(rank).map(|at| &own[at]);
        match (entry, own) {
            (None, _) => {}
            (Some(Entry::Number(stated)), _) => *size = *stated,
            (Some(Entry::Size(name)), Some(Dim::Symbol(own))) if name == own => {}
            (Some(Entry::Size(name)), None | Some(Dim::Fixed(1))) => open.push((axis, name.clone())),
            _ => return Ok(None),
        }
    }
    if open.is_empty() {
        return Ok(Some(cx.op("expand", Attrs::new().with("shape", shape), &[x])?));
    }
    if rank != own.rank() || shape.iter().any(|&size| size != 1) {
        x = cx.step("sizes", "expand", Attrs::new().with("shape", shape), &[x])?;
    }
    to_open(cx, x, &open)
}

/// A list of sizes of which some are open: those that are not, 1 in their place, and what stretches a tensor of these.
pub struct Open {
    pub sizes: Vec<i64>,
    open: Vec<(usize, Arc<str>)>,
}

impl Open {
    /// The list at `position`; `None` where entries are open and no sizes.
    pub fn of(cx: &LiftCx, position: usize) -> Option<Self> {
        let mut open = Vec::new();
        let entry = |(axis, entry)| match entry {
            Entry::Number(size) => Some(size),
            Entry::Size(name) => {
                open.push((axis, name));
                Some(1)
            }
            Entry::Open => None,
        };
        let sizes = cx.entries(position)?.into_iter().enumerate().map(entry).collect::<Option<_>>()?;
        Some(Self { sizes, open })
    }

    /// A constant of the sizes, stretched; `None` where no input has what is open.
    pub fn stretched(&self, cx: &mut LiftCx, tensor: Tensor) -> Result<Option<ValueId>, OpError> {
        let value = cx.add_const("value", tensor);
        to_open(cx, value, &self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn axis(axis: i64, of: i64) -> Attrs {
        Attrs::new().with("axis", axis).with("of", of)
    }

    #[test]
    fn by_hand() {
        for (label, attrs, x) in [
            ("C1", axis(2, 0), ty("f32[2, 1]")),
            ("C1", axis(0, 0), ty("f32[2, 1]")),
            ("C1", axis(0, 0), ty("f32[N, 1]")),
            ("C2", axis(1, 1), ty("f32[2, 1]")),
            ("C3", axis(1, 0), quantized("i8[2, 1]", 1)),
        ] {
            let mut x = x;
            if let (crate::tensor::Grid::Affine(grid), "C3") = (&mut x.grid, label) {
                grid.axis = Some(1);
            }
            assert_eq!(broken(infer("stretch", attrs, &[x, ty("u8[N]")])), label);
        }
        assert_eq!(shape("stretch", axis(1, 1), &["f32[M, 1]", "u8[3, N]"]), "f32[M, N]");
        let x = tensor(&[2, 1], [1i8, 2]);
        for (size, expected) in [(0, vec![]), (1, vec![1i8, 2]), (2, vec![1, 1, 2, 2])] {
            let operands = [x.clone(), tensor(&[1, size], vec![0u8; size])];
            let y = eval("stretch", axis(1, 1), &operands);
            assert_eq!(y, Ok(tensor(&[2, size], expected)));
            assert_eq!(read_back("stretch", axis(1, 1), &operands), y.unwrap());
        }
        let none = [tensor::<i8>(&[0, 1], []), tensor::<i8>(&[1 << 60, 0], [])];
        assert_eq!(eval("stretch", axis(1, 0), &none), Ok(tensor::<i8>(&[0, 1 << 60], [])));
    }
}
