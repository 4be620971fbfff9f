//! Elements that an operand names by their indices: taken by `gather_elements` and `gather_nd`, replaced by
//! `scatter_elements` and `scatter_nd`.

use super::number::{Number, for_number};
use super::product::at;
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Array, DType, Dim, Element, Shape, Tensor, TensorType, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![
        Box::new(GatherBy::Axis),
        Box::new(GatherBy::Tuple),
        Box::new(ScatterBy::Axis),
        Box::new(ScatterBy::Tuple),
    ]
}

const NO_LAYER: Quantize = Quantize::No("the device does not choose among values");

fn expect_indices(call: &Call, label: &'static str) -> Result<(), OpError> {
    let i = call.ty(1)?;
    let plain = i.grid.is_plain() && matches!(i.storage(), DType::I32 | DType::I64);
    call.require(label, plain, || format!("i is plain i32 or i64, found {}", i.storage()))
}

/// The elements in one step of each axis.
fn steps(sizes: &[usize]) -> Vec<usize> {
    let mut steps = vec![1usize; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        // Of a tensor in memory, or an empty one.
        steps[axis - 1] = steps[axis].saturating_mul(sizes[axis]);
    }
    steps
}

/// An index that counts from the end if negative, which the constraint `label` is about.
fn inside(
    call: &Call,
    label: &'static str,
    i: &Tensor,
    position: usize,
    index: i64,
    size: usize,
) -> Result<usize, OpError> {
    // A size in memory.
    let size = size as i64;
    let from_start = if index < 0 { index.saturating_add(size) } else { index };
    usize::try_from(from_start).ok().filter(|_| from_start < size).ok_or_else(|| {
        call.broken(
            label,
            format!("{} is {index}, not from {} to {}", at("i", position, i.sizes()), -size, size - 1),
        )
    })
}

fn indices(i: &Tensor) -> Vec<i64> {
    i.cast(DType::I64).elements().map(<[i64]>::to_vec).unwrap_or_default()
}

/// Checks that i names an element of x by its place in i and an index along the axis.
fn check_axis(call: &Call) -> Result<usize, OpError> {
    let (x, i) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
    let axis = call.axis("C1", "axis", x.rank())?;
    expect_indices(call, "C2")?;
    let fits = |at: usize| match (i[at].fixed(), x[at].fixed()) {
        (Some(i), Some(x)) => i <= x,
        _ => i[at] == x[at],
    };
    let alike = i.rank() == x.rank() && (0..x.rank()).all(|at| at == axis || fits(at));
    call.require("C3", alike, || format!("i has the axes of x, none but {axis} longer, found {x} and {i}"))?;
    Ok(axis)
}

/// Where in x the element is that each index names.
fn places_by_axis(
    call: &Call,
    label: &'static str,
    x: &[usize],
    i: &Tensor,
    axis: usize,
) -> Result<Vec<usize>, OpError> {
    let (x_steps, i_steps) = (steps(x), steps(i.sizes()));
    let place = |(position, index): (usize, i64)| {
        let along = inside(call, label, i, position, index, x[axis])?;
        let other = (0..x.len()).filter(|&at| at != axis);
        let other = other.map(|at| position / i_steps[at] % i.sizes()[at] * x_steps[at]);
        Ok(other.sum::<usize>() + along * x_steps[axis])
    };
    indices(i).into_iter().enumerate().map(place).collect()
}

/// Checks that i has tuples of indices; gives the batch axes and the length of a tuple.
fn check_tuples(call: &Call, batch: usize) -> Result<(usize, usize), OpError> {
    let (x, i) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
    expect_indices(call, "C2")?;
    let Some((last, before)) = i.split_last() else {
        return Err(call.broken("C3", "i has at least one axis"));
    };
    let length = call.known(last)?;
    let fits = batch <= before.len() && batch + length <= x.rank() && before[..batch] == x[..batch];
    call.require("C3", fits, || {
        format!(
            "{batch} batch axes and {length} indices are axes of x, and the batch of i that of x: {x} and {i}"
        )
    })?;
    Ok((batch, length))
}

/// Where in x the elements begin that each tuple of i names, and how many they are.
fn places_by_tuple(
    call: &Call,
    label: &'static str,
    x: &[usize],
    i: &Tensor,
    batch: usize,
    length: usize,
) -> Result<(Vec<usize>, usize), OpError> {
    let x_steps = steps(x);
    let chunk = x[batch + length..].iter().product::<usize>();
    let tuples: usize = i.sizes().split_last().map_or(1, |(_, before)| before.iter().product());
    let batches: usize = x[..batch].iter().product();
    // Tuples of one batch lie side by side.
    let each = tuples.checked_div(batches).unwrap_or_default().max(1);
    let whole: usize = x[batch..].iter().product();
    let all = indices(i);
    let place = |tuple: usize| {
        let mut place = tuple / each * whole;
        for k in 0..length {
            let position = tuple * length + k;
            let index = all.get(position).copied().unwrap_or_default();
            place += inside(call, label, i, position, index, x[batch + k])? * x_steps[batch + k];
        }
        Ok(place)
    };
    Ok(((0..tuples).map(place).collect::<Result<_, OpError>>()?, chunk))
}

/// One operator each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum GatherBy {
    Axis,
    Tuple,
}

impl GatherBy {
    fn batch(call: &Call) -> Result<usize, OpError> {
        let batch = call.int("batch_dims")?;
        let rank = call.ty(0)?.shape.rank();
        let batch = usize::try_from(batch).ok().filter(|&batch| batch <= rank);
        batch.ok_or_else(|| call.broken("C1", format!("0 <= batch_dims <= {rank}")))
    }
}

impl Operator for GatherBy {
    fn schema(&self) -> Schema {
        match self {
            GatherBy::Axis => Schema::new(
                "gather_elements",
                "`y[j0, …, k, …] = x[j0, …, i[j0, …, k, …], …]`: along `axis`, i says which element of x it is; a \
                 negative index counts from the end. y has the sizes of i.\n\n\
                 * C1: 0 <= axis < rank of x.\n\
                 * C2: i is plain i32 or i64.\n\
                 * C3: i has as many axes as x, and none but the axis is longer.\n\
                 * C4: x is plain.\n\
                 * C5 (when it runs): the elements of i are below the size of the axis, and not below its negative.",
            )
            .operand("x")
            .operand("i")
            .required_attr("axis", AttrKind::Int),
            GatherBy::Tuple => Schema::new(
                "gather_nd",
                "`y[b…, j…, l…] = x[b…, i[b…, j…, 0], i[b…, j…, 1], …, l…]`: the last axis of i has indices of as many \
                 axes of x, behind `batch_dims` axes that both have; a negative index counts from the end.\n\n\
                 * C1: 0 <= batch_dims <= rank of x.\n\
                 * C2: i is plain i32 or i64.\n\
                 * C3: i has at least one axis, its first sizes are those of x, and there are not more indices than axes.\n\
                 * C4: x is plain.\n\
                 * C5 (when it runs): the elements of i are below the size of their axis, and not below its negative.",
            )
            .operand("x")
            .operand("i")
            .attr("batch_dims", 0i64),
        }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (x, i) = (call.ty(0)?, call.ty(1)?);
        let shape = match self {
            GatherBy::Axis => {
                check_axis(call)?;
                i.shape.clone()
            }
            GatherBy::Tuple => {
                let (batch, length) = check_tuples(call, Self::batch(call)?)?;
                let before = i.shape.iter().take(i.shape.rank() - 1);
                Shape::new(before.chain(&x.shape[batch + length..]).cloned())
            }
        };
        call.require("C4", x.grid.is_plain(), || "x is quantized".to_owned())?;
        Ok(vec![x.with_shape(shape)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(x: &Array<T>, places: &[usize], chunk: usize) -> Vec<T> {
            // Contiguous, as every tensor is.
            let x = x.as_slice().unwrap_or_default();
            places.iter().flat_map(|&place| x.iter().skip(place).take(chunk).copied()).collect()
        }
        let (call, x, i) = (&inputs.call, inputs.get(0)?, inputs.get(1)?);
        let (places, chunk) = match self {
            GatherBy::Axis => (places_by_axis(call, "C5", x.sizes(), i, check_axis(call)?)?, 1),
            GatherBy::Tuple => {
                let (batch, length) = check_tuples(call, Self::batch(call)?)?;
                places_by_tuple(call, "C5", x.sizes(), i, batch, length)?
            }
        };
        let sizes = self.infer(call)?.first().and_then(|ty| ty.shape.sizes()).unwrap_or_default();
        dispatch!(x, array => call.result(&sizes, go(array, &places, chunk)))
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let (onnx, attr) = match self {
            GatherBy::Axis => ("GatherElements", "axis"),
            GatherBy::Tuple => ("GatherND", "batch_dims"),
        };
        let mut inputs = cx.operand_names.to_vec();
        let mut nodes = Vec::new();
        if *self == GatherBy::Tuple && cx.call.ty(1)?.storage() == DType::I32 {
            // ONNX has it for indices of 64 bits only.
            let wide = format!("{}_i", cx.node_name);
            let cast = super::OnnxNode::new("Cast", &[&inputs[1]], &[&wide]);
            nodes.push(cast.attr("to", OnnxAttr::Int(super::dtype_to_onnx(DType::I64))));
            inputs[1] = wide;
        }
        nodes.push(cx.node(onnx, inputs).attr(attr, OnnxAttr::Int(cx.call.int(attr)?)));
        Ok(Lowered::Nodes(nodes))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift_axis(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, i, rank) = (cx.operand(0)?, cx.operand(1)?, cx.ty(0)?.shape.rank());
            let axis = cx.axis(cx.int("axis", 0)?, rank, rank)?;
            Ok(vec![cx.op("gather_elements", Attrs::new().with("axis", axis), &[x, i])?])
        }
        fn lift_tuple(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let (x, i, batch) = (cx.operand(0)?, cx.operand(1)?, cx.int("batch_dims", 0)?);
            Ok(vec![cx.op("gather_nd", Attrs::new().with("batch_dims", batch), &[x, i])?])
        }
        match self {
            GatherBy::Axis => {
                vec![Lift::standard("GatherElements", [Version::new(11, 2, &["axis"])], lift_axis)]
            }
            GatherBy::Tuple => vec![Lift::standard(
                "GatherND",
                [Version::new(11, 2, &[]), Version::new(12, 2, &["batch_dims"])],
                lift_tuple,
            )],
        }
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let i = Tensor::new(&[2, 2], vec![0i64, -1, 1, 1]);
        let attrs = match self {
            GatherBy::Axis => Attrs::new().with("axis", 1),
            GatherBy::Tuple => Attrs::new(),
        };
        vec![Example { attrs, operands: vec![x, i] }]
    }
}

/// What becomes of an element that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reduction {
    None,
    Add,
    Mul,
    Max,
    Min,
}

impl Reduction {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "none" => Reduction::None,
            "add" => Reduction::Add,
            "mul" => Reduction::Mul,
            "max" => Reduction::Max,
            "min" => Reduction::Min,
            _ => return None,
        })
    }

    fn combine<T: Number>(self) -> fn(T, T) -> T {
        match self {
            Reduction::None => |_, update| update,
            Reduction::Add => T::add,
            Reduction::Mul => T::mul,
            Reduction::Max => T::max,
            Reduction::Min => T::min,
        }
    }
}

/// One operator each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ScatterBy {
    Axis,
    Tuple,
}

/// What both have in common.
macro_rules! reduction {
    ($formula:literal, $constraints:literal) => {
        concat!(
            $formula,
            " Where several updates meet one element, they take part in their order. With `reduction` \"add\", \"mul\", \
             \"max\" or \"min\" instead of \"none\", an update is combined with the element that is there.\n\n",
            $constraints,
            "\n* C4: x and updates are plain and stored alike; as numbers, if there is a reduction.\n\
             * C5: updates has a shape that fits i.\n\
             * C6: `reduction` is \"none\", \"add\", \"mul\", \"max\" or \"min\".\n\
             * C7 (when it runs): the elements of i are below the size of their axis, and not below its negative."
        )
    };
}

impl ScatterBy {
    fn reduction(call: &Call) -> Result<Reduction, OpError> {
        let text = call.text("reduction")?;
        Reduction::of(text).ok_or_else(|| call.broken("C6", format!("`reduction` is \"{text}\"")))
    }
}

impl Operator for ScatterBy {
    fn schema(&self) -> Schema {
        let schema = match self {
            ScatterBy::Axis => Schema::new(
                "scatter_elements",
                reduction!(
                    "`y[j0, …, i[j0, …, k, …], …] = updates[j0, …, k, …]` along `axis`, and y is x elsewhere; a negative \
                     index counts from the end.",
                    "* C1: 0 <= axis < rank of x.\n\
                     * C2: i is plain i32 or i64.\n\
                     * C3: i has as many axes as x, and none but the axis is longer."
                ),
            ),
            ScatterBy::Tuple => Schema::new(
                "scatter_nd",
                reduction!(
                    "`y[i[j…, 0], i[j…, 1], …, l…] = updates[j…, l…]`, and y is x elsewhere: the last axis of i has \
                     indices of as many axes of x; a negative index counts from the end.",
                    "* C2: i is plain i32 or i64.\n\
                     * C3: i has at least one axis, and not more indices than x has axes."
                ),
            ),
        };
        let schema = schema.operand("x").operand("i").operand("updates").attr("reduction", "none").rounding();
        match self {
            ScatterBy::Axis => schema.required_attr("axis", AttrKind::Int),
            ScatterBy::Tuple => schema,
        }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (x, i, updates) = (call.ty(0)?, call.ty(1)?, call.ty(2)?);
        let expected = match self {
            ScatterBy::Axis => {
                check_axis(call)?;
                i.shape.clone()
            }
            ScatterBy::Tuple => {
                let (_, length) = check_tuples(call, 0)?;
                let before = i.shape.iter().take(i.shape.rank() - 1);
                Shape::new(before.chain(&x.shape[length..]).cloned())
            }
        };
        let number = x.storage() != DType::Bool || Self::reduction(call)? == Reduction::None;
        let plain = x.grid.is_plain() && x.grid == updates.grid && number;
        call.require("C4", plain, || format!("x and updates are {} and {}", x.storage(), updates.storage()))?;
        let fits = |(a, b): (&Dim, &Dim)| a == b;
        let alike =
            updates.shape.rank() == expected.rank() && updates.shape.iter().zip(expected.iter()).all(fits);
        call.require("C5", alike, || format!("updates has shape {expected}, found {}", updates.shape))?;
        Self::reduction(call)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(
            inputs: &Inputs,
            places: &[usize],
            chunk: usize,
            combine: impl Fn(T, T) -> T,
        ) -> Result<Vec<Tensor>, OpError> {
            let mut y = inputs.elements::<T>(0)?.to_vec();
            for (&place, updates) in places.iter().zip(inputs.elements::<T>(2)?.chunks(chunk.max(1))) {
                for (element, &update) in y.iter_mut().skip(place).zip(updates) {
                    *element = combine(*element, update);
                }
            }
            inputs.call.result(inputs.get(0)?.sizes(), y)
        }
        let (call, x, i) = (&inputs.call, inputs.get(0)?, inputs.get(1)?);
        let (places, chunk) = match self {
            ScatterBy::Axis => (places_by_axis(call, "C7", x.sizes(), i, check_axis(call)?)?, 1),
            ScatterBy::Tuple => {
                let (batch, length) = check_tuples(call, 0)?;
                places_by_tuple(call, "C7", x.sizes(), i, batch, length)?
            }
        };
        let reduction = Self::reduction(call)?;
        if x.dtype() == DType::Bool {
            return go::<bool>(inputs, &places, chunk, |_, update| update);
        }
        for_number!(call, x.dtype(), T => go::<T>(inputs, &places, chunk, reduction.combine::<T>()))
    }

    fn quantize(&self) -> Quantize {
        NO_LAYER
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let mut inputs = cx.operand_names.to_vec();
        let mut nodes = Vec::new();
        let onnx = match self {
            ScatterBy::Axis => "ScatterElements",
            ScatterBy::Tuple => "ScatterND",
        };
        if *self == ScatterBy::Tuple && cx.call.ty(1)?.storage() == DType::I32 {
            // ONNX has it for indices of 64 bits only.
            let wide = format!("{}_i", cx.node_name);
            let cast = super::OnnxNode::new("Cast", &[&inputs[1]], &[&wide]);
            nodes.push(cast.attr("to", OnnxAttr::Int(super::dtype_to_onnx(DType::I64))));
            inputs[1] = wide;
        }
        let mut node = cx.node(onnx, inputs);
        node = node.attr("reduction", OnnxAttr::Str(cx.call.text("reduction")?.to_owned()));
        if *self == ScatterBy::Axis {
            node = node.attr("axis", OnnxAttr::Int(cx.call.int("axis")?));
        }
        nodes.push(node);
        Ok(Lowered::Nodes(nodes))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn attrs(cx: &LiftCx) -> Result<Attrs, OpError> {
            let reduction = cx.opt_text("reduction")?.unwrap_or("none").to_owned();
            if Reduction::of(&reduction).is_none() {
                return Err(cx.invalid(format!("`reduction` is `{reduction}`")));
            }
            Ok(Attrs::new().with("reduction", &*reduction))
        }
        fn lift_axis(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let operands = [cx.operand(0)?, cx.operand(1)?, cx.operand(2)?];
            let rank = cx.ty(0)?.shape.rank();
            let attrs = attrs(cx)?.with("axis", cx.axis(cx.int("axis", 0)?, rank, rank)?);
            Ok(vec![cx.op("scatter_elements", attrs, &operands)?])
        }
        fn lift_tuple(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let operands = [cx.operand(0)?, cx.operand(1)?, cx.operand(2)?];
            let attrs = attrs(cx)?;
            Ok(vec![cx.op("scatter_nd", attrs, &operands)?])
        }
        match self {
            ScatterBy::Axis => {
                let versions = [Version::new(11, 3, &["axis"]), Version::new(16, 3, &["axis", "reduction"])];
                vec![
                    Lift::standard("ScatterElements", versions, lift_axis),
                    Lift::standard("Scatter", [Version::new(9, 3, &["axis"])], lift_axis),
                ]
            }
            ScatterBy::Tuple => vec![Lift::standard(
                "ScatterND",
                [Version::new(11, 3, &[]), Version::new(16, 3, &["reduction"])],
                lift_tuple,
            )],
        }
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = || Tensor::new(&[2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        match self {
            ScatterBy::Axis => vec![Example {
                attrs: Attrs::new().with("axis", 1),
                operands: vec![
                    x(),
                    Tensor::new(&[2, 2], vec![0i64, -1, 1, 0]),
                    Tensor::new(&[2, 2], vec![10.0f32, 20.0, 30.0, 40.0]),
                ],
            }],
            ScatterBy::Tuple => vec![Example {
                attrs: Attrs::new().with("reduction", "add"),
                operands: vec![
                    x(),
                    Tensor::new(&[2, 1], vec![1i64, -1]),
                    Tensor::new(&[2, 3], vec![10.0f32, 20.0, 30.0, 0.5, 0.5, 0.5]),
                ],
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn axis(axis: i64) -> Attrs {
        Attrs::new().with("axis", axis)
    }

    #[test]
    fn constraints() {
        let none = Attrs::new;
        for (op, label, attrs, operands) in [
            ("gather_elements", "C1", axis(2), vec![ty("f32[2, 3]"), ty("i64[2, 3]")]),
            ("gather_elements", "C2", axis(1), vec![ty("f32[2, 3]"), ty("i8[2, 3]")]),
            ("gather_elements", "C3", axis(1), vec![ty("f32[2, 3]"), ty("i64[3, 3]")]),
            ("gather_elements", "C4", axis(1), vec![quantized("i8[2, 3]", 3), ty("i64[2, 3]")]),
            ("gather_nd", "C1", none().with("batch_dims", 3), vec![ty("f32[2, 3]"), ty("i64[2, 1]")]),
            ("gather_nd", "C2", none(), vec![ty("f32[2, 3]"), ty("u8[2, 1]")]),
            ("gather_nd", "C3", none(), vec![ty("f32[2, 3]"), ty("i64[2, 3]")]),
            ("gather_nd", "C4", none(), vec![quantized("i8[2, 3]", 3), ty("i64[2, 1]")]),
            ("scatter_elements", "C1", axis(2), vec![ty("f32[2]"), ty("i64[2]"), ty("f32[2]")]),
            ("scatter_elements", "C2", axis(0), vec![ty("f32[2]"), ty("i8[2]"), ty("f32[2]")]),
            ("scatter_elements", "C3", axis(0), vec![ty("f32[2]"), ty("i64[2, 1]"), ty("f32[2]")]),
            ("scatter_elements", "C4", axis(0), vec![ty("f32[2]"), ty("i64[2]"), ty("f64[2]")]),
            ("scatter_elements", "C5", axis(0), vec![ty("f32[2]"), ty("i64[2]"), ty("f32[1]")]),
            (
                "scatter_elements",
                "C6",
                axis(0).with("reduction", "mean"),
                vec![ty("f32[2]"), ty("i64[2]"), ty("f32[2]")],
            ),
            ("scatter_nd", "C2", none(), vec![ty("f32[2]"), ty("i8[2, 1]"), ty("f32[2]")]),
            ("scatter_nd", "C3", none(), vec![ty("f32[2]"), ty("i64[2, 2]"), ty("f32[2]")]),
            (
                "scatter_nd",
                "C4",
                none().with("reduction", "add"),
                vec![ty("bool[2]"), ty("i64[2, 1]"), ty("bool[2]")],
            ),
            ("scatter_nd", "C5", none(), vec![ty("f32[2]"), ty("i64[2, 1]"), ty("f32[1]")]),
            (
                "scatter_nd",
                "C6",
                none().with("reduction", "?"),
                vec![ty("f32[2]"), ty("i64[2, 1]"), ty("f32[2]")],
            ),
        ] {
            assert_eq!(broken(infer(op, attrs, &operands)), label, "{op}");
        }
        assert_eq!(shape("gather_nd", none(), &["f32[2, 3, 4]", "i64[5, 2]"]), "f32[5, 4]");
        let batched = none().with("batch_dims", 1);
        assert_eq!(shape("gather_nd", batched, &["f32[N, 3, 4]", "i64[N, 1]"]), "f32[N, 4]");
    }

    #[test]
    fn by_hand() {
        let x = || tensor(&[2, 3], [1i32, 2, 3, 4, 5, 6]);
        let on = |op: &str, attrs: Attrs, operands: &[Tensor]| {
            let y = eval(op, attrs.clone(), operands).unwrap();
            assert_eq!(read_back(op, attrs, operands), y);
            y
        };
        let i = tensor(&[1, 3], [1i64, 0, -1]);
        assert_eq!(on("gather_elements", axis(0), &[x(), i]), tensor(&[1, 3], [4i32, 2, 6]));
        let i = tensor(&[2, 2], [0i32, 2, 1, -3]);
        assert_eq!(on("gather_nd", Attrs::new(), &[x(), i.clone()]), tensor(&[2], [3i32, 4]));
        let each = tensor(&[2, 1], [2i64, 0]);
        let batched = Attrs::new().with("batch_dims", 1);
        assert_eq!(on("gather_nd", batched, &[x(), each]), tensor(&[2], [3i32, 4]));
        let updates = tensor(&[2, 2], [10i32, 20, 30, 40]);
        let y = on("scatter_elements", axis(1).with("reduction", "add"), &[x(), i, updates]);
        assert_eq!(y, tensor(&[2, 3], [11i32, 2, 23, 44, 35, 6]));
        let rows = [x(), tensor(&[2, 1], [1i64, 1]), tensor(&[2, 3], [7i32, 8, 9, 0, 9, 0])];
        assert_eq!(on("scatter_nd", Attrs::new(), &rows), tensor(&[2, 3], [1i32, 2, 3, 0, 9, 0]));
        let greatest = Attrs::new().with("reduction", "max");
        assert_eq!(on("scatter_nd", greatest, &rows), tensor(&[2, 3], [1i32, 2, 3, 7, 9, 9]));
        for outside in [3i64, -4] {
            let i = tensor(&[2, 1], [0, outside]);
            assert_eq!(broken(eval("gather_elements", axis(1), &[x(), i])), "C5");
        }
    }
}
