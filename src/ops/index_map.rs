//! Operators whose every element is one of x, chosen axis by axis: `slice`, `tile`, `expand`. Any
//! grid passes through that does not belong to an axis on which elements are chosen.
//!
//! [`chosen`] is their one meaning; padding with elements of x uses it too.

use ndarray::Axis;

use super::stretch;
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OpError, Operator, Quantize, Schema,
    Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Array, Element, Shape, Tensor, TensorType, broadcast, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(SliceOp), Box::new(Tile), Box::new(Expand)]
}

const MOVES: Quantize = Quantize::No("the device does not take a map apart, nor repeat it");

/// `y[i0, i1, …] = x[m0[i0], m1[i1], …]` with a list for each axis on which elements are chosen.
///
/// The lists have indices of x.
pub fn chosen<T: Element>(
    call: &Call,
    x: &Array<T>,
    maps: &[(usize, Vec<usize>)],
) -> Result<Tensor, OpError> {
    let mut sizes = x.shape().to_vec();
    for (axis, map) in maps {
        sizes[*axis] = map.len();
    }
    // Shrinking axes first, so that nothing on the way is larger than x or y.
    call.filled(&sizes, T::default())?;
    let mut maps: Vec<&(usize, Vec<usize>)> = maps.iter().collect();
    maps.sort_by_key(|(axis, map)| map.len() > x.shape()[*axis]);
    let mut y = x.clone();
    for (axis, map) in maps {
        y = y.select(Axis(*axis), map).into_shared();
    }
    Ok(T::wrap(y))
}

/// Refuses a grid that belongs to an axis on which elements are chosen.
fn expect_grid_elsewhere(
    call: &Call,
    label: &'static str,
    x: &TensorType,
    mut chosen: impl Iterator<Item = usize>,
) -> Result<(), OpError> {
    let grid_axis = x.grid.axis();
    let meets = chosen.find(|&axis| Some(axis) == grid_axis);
    call.require(label, meets.is_none(), || {
        format!("the grid of x belongs to axis {}", meets.unwrap_or_default())
    })
}

pub struct SliceOp;

/// What is taken of one axis.
struct Taken {
    axis: usize,
    start: usize,
    size: usize,
    step: i64,
}

impl Taken {
    fn map(&self) -> Vec<usize> {
        // Checked: the last index is within the axis, so none passes i64.
        (0..self.size as i64).map(|i| (self.start as i64 + i * self.step) as usize).collect()
    }
}

impl SliceOp {
    fn taken(call: &Call) -> Result<Vec<Taken>, OpError> {
        let x = call.ty(0)?;
        let axes = call.axes("C1", "axes", x.shape.rank())?;
        let (starts, sizes, steps) = (call.ints("starts")?, call.ints("sizes")?, call.ints("steps")?);
        let alike = [starts.len(), sizes.len(), steps.len()].iter().all(|&count| count == axes.len());
        call.require("C2", alike, || format!("there are {} of each list, as of `axes`", axes.len()))?;
        let mut taken = Vec::with_capacity(axes.len());
        for (at, &axis) in axes.iter().enumerate() {
            let whole = call.known(&x.shape[axis])?;
            let (start, size, step) = (starts[at], sizes[at], steps[at]);
            // In 128 bits, where nothing overflows.
            let last = i128::from(start) + (i128::from(size) - 1) * i128::from(step);
            let inside = |index: i128| (0..whole as i128).contains(&index);
            let fits = size == 0 || size > 0 && inside(start.into()) && inside(last);
            call.require("C3", fits && step != 0, || {
                format!("elements {start} to {last} by {step} are on axis {axis} of {}", x.shape)
            })?;
            // An empty slice starts anywhere.
            let start = usize::try_from(start).unwrap_or_default();
            taken.push(Taken { axis, start, size: size as usize, step });
        }
        Ok(taken)
    }
}

impl Operator for SliceOp {
    fn schema(&self) -> Schema {
        Schema::new(
            "slice",
            "`y[i0, i1, …] = x[starts + i0 * steps, …]` on each of `axes`, where y has the size `sizes` instead of \
             that of x; on the other axes all of x. A step below 0 goes backwards.\n\n\
             * C1: 0 <= axis < rank of x for each of `axes`, which ascend.\n\
             * C2: `starts`, `sizes` and `steps` have an entry for each of `axes`.\n\
             * C3: no step is 0, and every element that is taken is one of x.\n\
             * C4: the grid of x belongs to none of `axes`.",
        )
        .operand("x")
        .required_attr("axes", AttrKind::Ints)
        .required_attr("starts", AttrKind::Ints)
        .required_attr("sizes", AttrKind::Ints)
        .required_attr("steps", AttrKind::Ints)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let taken = Self::taken(call)?;
        expect_grid_elsewhere(call, "C4", x, taken.iter().map(|taken| taken.axis))?;
        let mut dims = x.shape.to_vec();
        for taken in taken {
            dims[taken.axis] = taken.size.into();
        }
        Ok(vec![x.with_shape(dims)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let maps: Vec<_> = Self::taken(&inputs.call)?.iter().map(|taken| (taken.axis, taken.map())).collect();
        Ok(vec![dispatch!(inputs.get(0)?, array => chosen(&inputs.call, array, &maps)?)])
    }

    fn quantize(&self) -> Quantize {
        MOVES
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let taken = Self::taken(&cx.call)?;
        let list = |of: fn(&Taken) -> i64| Tensor::vector(taken.iter().map(of).collect::<Vec<i64>>());
        let starts = cx.initializer("starts", list(|taken| taken.start as i64));
        // Behind the last element; before the first of an axis is what no index names.
        let ends = cx.initializer(
            "ends",
            list(|taken| {
                // One step of a single element may be of any size.
                let end = (taken.size as i64).saturating_mul(taken.step).saturating_add(taken.start as i64);
                if taken.size == 0 {
                    taken.start as i64
                } else if end < 0 {
                    i64::from(i32::MIN)
                } else {
                    end
                }
            }),
        );
        let axes = cx.initializer("axes", list(|taken| taken.axis as i64));
        let steps = cx.initializer("steps", list(|taken| taken.step));
        let mut inputs = cx.operand_names.to_vec();
        inputs.extend([starts, ends, axes, steps]);
        Ok(Lowered::Nodes(vec![cx.node("Slice", inputs)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard(
            "Slice",
            [Version::new(1, 1, &["axes", "ends", "starts"]), Version::new(10, 5, &[])],
            lift_slice,
        )]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let attrs = |axes: Vec<i64>, starts: Vec<i64>, sizes: Vec<i64>, steps: Vec<i64>| {
            Attrs::new().with("axes", axes).with("starts", starts).with("sizes", sizes).with("steps", steps)
        };
        let x = || Tensor::new(&[2, 4, 3], (0..24u8).collect());
        vec![
            Example { attrs: attrs(vec![1], vec![1], vec![2], vec![1]), operands: vec![x()] },
            Example { attrs: attrs(vec![0, 1], vec![1, 3], vec![2, 2], vec![-1, -2]), operands: vec![x()] },
            // All of an axis, turned round.
            Example { attrs: attrs(vec![0], vec![1], vec![2], vec![-1]), operands: vec![x()] },
        ]
    }
}

/// Starts and ends may lie past the axis, and count from its end if negative.
fn lift_slice(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let shape = cx.ty(0)?.shape.clone();
    let rank = shape.rank();
    let list = |name: &str, position: usize| cx.ints_either(name, position, 10);
    let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
    let (axes, steps) = (list("axes", 3)?, list("steps", 4)?);
    let (Some(starts), Some(ends)) = (starts, ends) else {
        return Err(cx.invalid("needs starts and ends"));
    };
    // Ranks are small: they count the entries of a list in memory.
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&count| count != starts.len()) {
        return Err(cx.invalid("starts, ends, axes and steps have as many entries"));
    }
    let mut taken: Vec<[i64; 4]> = Vec::new();
    for (at, &axis) in axes.iter().enumerate() {
        let axis = cx.axis(axis, rank, rank)?;
        let (start, end, step) = (starts[at], ends[at], steps[at]);
        // Below the rank. All of an axis, whatever its size: from the first on to past any last.
        if start == 0 && step == 1 && end >= i64::from(i32::MAX) {
            continue;
        }
        let size = i64::try_from(cx.known(&shape[axis as usize])?).unwrap_or(i64::MAX);
        let from_start = |index: i64| if index < 0 { index.saturating_add(size) } else { index };
        let (first, count) = match step {
            0 => return Err(cx.invalid("a step is 0")),
            1.. => {
                let (first, end) = (from_start(start).clamp(0, size), from_start(end).clamp(0, size));
                (first, (end - first).max(0))
            }
            ..=-1 => {
                let first = from_start(start).clamp(-1, size - 1);
                (first, (first - from_start(end).clamp(-1, size - 1)).max(0))
            }
        };
        // Not negative, and the step not 0; one step of any size is enough for one element.
        let count = count.unsigned_abs().div_ceil(step.unsigned_abs()) as i64;
        let step = if count <= 1 { step.signum() } else { step };
        taken.push([axis, first.max(0), count, step]);
    }
    taken.sort_unstable();
    if taken.windows(2).any(|pair| pair[0][0] == pair[1][0]) {
        return Err(cx.invalid(format!("axes {axes:?} name one axis twice")));
    }
    if taken.is_empty() {
        return Ok(vec![cx.op("identity", Attrs::new(), &[x])?]);
    }
    let list = |at: usize| taken.iter().map(|taken| taken[at]).collect::<Vec<i64>>();
    let attrs = Attrs::new()
        .with("axes", list(0))
        .with("starts", list(1))
        .with("sizes", list(2))
        .with("steps", list(3));
    Ok(vec![cx.op("slice", attrs, &[x])?])
}

pub struct Tile;

impl Tile {
    fn repeats(call: &Call) -> Result<Vec<usize>, OpError> {
        let rank = call.ty(0)?.shape.rank();
        let ints = call.ints("repeats")?;
        let repeats: Vec<usize> = ints.iter().filter_map(|&count| usize::try_from(count).ok()).collect();
        call.require("C1", ints.len() == rank && repeats.len() == rank, || {
            format!("`repeats` is {rank} integers from 0, found {ints:?}")
        })?;
        Ok(repeats)
    }
}

impl Operator for Tile {
    fn schema(&self) -> Schema {
        Schema::new(
            "tile",
            "`y[i0, i1, …] = x[i0 mod d0, i1 mod d1, …]` for x `[d0, d1, …]` and y `[d0 * repeats[0], …]`: x, as \
             often on each axis as `repeats` says.\n\n\
             * C1: `repeats` is an integer from 0 for each axis of x.\n\
             * C2: the grid of x belongs to no axis that is repeated.\n\
             * C3: the sizes of y do not overflow.",
        )
        .operand("x")
        .required_attr("repeats", AttrKind::Ints)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        let repeats = Self::repeats(call)?;
        let repeated = |axis: &usize| repeats[*axis] != 1;
        expect_grid_elsewhere(call, "C2", x, (0..repeats.len()).filter(repeated))?;
        let mut dims = x.shape.to_vec();
        for axis in (0..repeats.len()).filter(repeated) {
            let size = call.known(&dims[axis])?.checked_mul(repeats[axis]);
            dims[axis] = size.ok_or_else(|| call.broken("C3", "the sizes of y do not overflow"))?.into();
        }
        Ok(vec![x.with_shape(dims)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let repeats = Self::repeats(&inputs.call)?;
        let x = inputs.get(0)?;
        // The room for y was seen to before.
        let repeated = |(axis, (&size, &count)): (usize, (&usize, &usize))| {
            (axis, (0..size * count).map(|i| i % size).collect::<Vec<usize>>())
        };
        let maps: Vec<_> = x.sizes().iter().zip(&repeats).enumerate().map(repeated).collect();
        Ok(vec![dispatch!(x, array => chosen(&inputs.call, array, &maps)?)])
    }

    fn quantize(&self) -> Quantize {
        MOVES
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let repeats = cx.initializer("repeats", Tensor::vector(cx.call.ints("repeats")?.to_vec()));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(repeats);
        Ok(Lowered::Nodes(vec![cx.node("Tile", inputs)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        // Before opset 6 it repeated one axis.
        vec![Lift::standard("Tile", [Version::new(6, 2, &[])], |cx| {
            let x = cx.operand(0)?;
            let Some(repeats) = cx.constant_ints(1, "repeats")? else {
                return Err(cx.invalid("needs repeats"));
            };
            Ok(vec![cx.op("tile", Attrs::new().with("repeats", repeats), &[x])?])
        })]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        vec![Example { attrs: Attrs::new().with("repeats", vec![2, 1, 3]), operands: vec![x] }]
    }
}

pub struct Expand;

impl Expand {
    fn result(call: &Call) -> Result<Shape, OpError> {
        let (x, ints) = (&call.ty(0)?.shape, call.ints("shape")?);
        let sizes: Vec<usize> = ints.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
        call.require("C1", sizes.len() == ints.len(), || format!("`shape` has sizes, found {ints:?}"))?;
        let shape = broadcast(x, &Shape::fixed(&sizes));
        shape.ok_or_else(|| call.broken("C2", format!("the shapes broadcast, found {x} and {ints:?}")))
    }
}

impl Operator for Expand {
    fn schema(&self) -> Schema {
        Schema::new(
            "expand",
            "x, its sizes of 1 stretched as by an element-wise operator with a tensor of the sizes `shape`: \
             `y[…, i1, i0] = x[…, min(i1, d1 - 1), min(i0, d0 - 1)]`, axes being aligned at the end.\n\n\
             * C1: `shape` has sizes.\n\
             * C2: on every axis, sizes are equal or one of them is 1; an unknown size stays as it is.\n\
             * C3: the grid of x belongs to no axis.",
        )
        .operand("x")
        .required_attr("shape", AttrKind::Ints)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        expect_grid_elsewhere(call, "C3", x, 0..x.shape.rank())?;
        Ok(vec![x.with_shape(Self::result(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        let sizes = Self::result(&inputs.call)?.sizes().unwrap_or_default();
        inputs.call.room::<u8>(&sizes)?;
        let y = inputs.get(0)?.stretched(&sizes);
        Ok(vec![y.ok_or_else(|| inputs.call.broken("C2", "the shapes broadcast"))?])
    }

    fn quantize(&self) -> Quantize {
        MOVES
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let shape = cx.initializer("shape", Tensor::vector(cx.call.ints("shape")?.to_vec()));
        let mut inputs = cx.operand_names.to_vec();
        inputs.push(shape);
        Ok(Lowered::Nodes(vec![cx.node("Expand", inputs)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard("Expand", [Version::new(8, 2, &[])], |cx| {
            let x = cx.operand(0)?;
            let shape = match cx.constant_ints(1, "shape") {
                Err(error) => return Ok(vec![stretch::expanded(cx)?.ok_or(error)?]),
                Ok(shape) => shape.ok_or_else(|| cx.invalid("needs a shape"))?,
            };
            Ok(vec![cx.op("expand", Attrs::new().with("shape", shape), &[x])?])
        })]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 1], vec![1.0f32, 2.0]);
        vec![Example { attrs: Attrs::new().with("shape", vec![2, 1, 3]), operands: vec![x] }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn slice(axes: &[i64], starts: &[i64], sizes: &[i64], steps: &[i64]) -> Attrs {
        let list = |list: &[i64]| list.to_vec();
        Attrs::new()
            .with("axes", list(axes))
            .with("starts", list(starts))
            .with("sizes", list(sizes))
            .with("steps", list(steps))
    }

    fn repeats(repeats: &[i64]) -> Attrs {
        Attrs::new().with("repeats", repeats.to_vec())
    }

    fn to(shape: &[i64]) -> Attrs {
        Attrs::new().with("shape", shape.to_vec())
    }

    #[test]
    fn constraints() {
        let per_axis = || quantized("i8[2, 3]", 3);
        for (label, attrs, x) in [
            ("C1", slice(&[2], &[0], &[1], &[1]), ty("f32[2, 3]")),
            ("C2", slice(&[1], &[0], &[1], &[]), ty("f32[2, 3]")),
            ("C3", slice(&[1], &[0], &[2], &[0]), ty("f32[2, 3]")),
            ("C3", slice(&[1], &[1], &[3], &[1]), ty("f32[2, 3]")),
            ("C3", slice(&[1], &[0], &[2], &[-1]), ty("f32[2, 3]")),
            ("C3", slice(&[1], &[0], &[i64::MAX], &[i64::MAX]), ty("f32[2, 3]")),
            ("C3", slice(&[1], &[0], &[-1], &[1]), ty("f32[2, 3]")),
            ("C4", slice(&[1], &[0], &[1], &[1]), per_axis()),
        ] {
            assert_eq!(broken(infer("slice", attrs, &[x])), label);
        }
        for (label, attrs, x) in [
            ("C1", repeats(&[1]), ty("f32[2, 3]")),
            ("C1", repeats(&[1, -1]), ty("f32[2, 3]")),
            ("C2", repeats(&[1, 2]), per_axis()),
            ("C3", repeats(&[1, 4]), ty("f32[1, 9223372036854775807]")),
        ] {
            assert_eq!(broken(infer("tile", attrs, &[x])), label);
        }
        for (label, attrs, x) in [
            ("C1", to(&[-1]), ty("f32[2, 3]")),
            ("C2", to(&[2]), ty("f32[2, 3]")),
            ("C2", to(&[4, 3]), ty("f32[N, 3]")),
            ("C3", to(&[2, 3]), per_axis()),
        ] {
            assert_eq!(broken(infer("expand", attrs, &[x])), label);
        }
        assert_eq!(shape("slice", slice(&[1], &[1], &[2], &[1]), &["f32[N, 3]"]), "f32[N, 2]");
        assert_eq!(shape("tile", repeats(&[1, 2]), &["f32[N, 3]"]), "f32[N, 6]");
        assert_eq!(shape("expand", to(&[2, 1, 3]), &["f32[N, 1]"]), "f32[2, N, 3]");
        assert_unknown_size(infer("slice", slice(&[0], &[0], &[1], &[1]), &[ty("f32[N]")]));
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[2, 3], [1i8, 2, 3, 4, 5, 6]);
        let on = |op: &str, attrs: Attrs| {
            let own = eval(op, attrs.clone(), std::slice::from_ref(&x)).unwrap();
            assert_eq!(read_back(op, attrs, std::slice::from_ref(&x)), own);
            own
        };
        assert_eq!(on("slice", slice(&[1], &[2], &[2], &[-2])), tensor(&[2, 2], [3i8, 1, 6, 4]));
        assert_eq!(on("slice", slice(&[0, 1], &[1, 0], &[1, 0], &[1, 1])), tensor::<i8>(&[1, 0], []));
        assert_eq!(on("tile", repeats(&[2, 1])), tensor(&[4, 3], [1i8, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]));
        assert_eq!(on("tile", repeats(&[0, 1])), tensor::<i8>(&[0, 3], []));
        let y = on("expand", to(&[2, 1, 1]));
        assert_eq!(y, tensor(&[2, 2, 3], [1i8, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]));
    }

    /// As Python slices a list, whatever the bounds.
    #[test]
    fn slices_are_read_as_python_has_them() {
        let size = 5i64;
        let x = || Operand::Input(tensor(&[5], [0i64, 1, 2, 3, 4]));
        let one = |v: i64| Operand::Constant(Tensor::vector(vec![v]));
        let ends = [i64::MIN, -7, -6, -5, -2, 0, 2, 4, 5, 9, i64::MAX];
        for step in [1i64, 2, 3, -1, -2, i64::MIN, i64::MAX] {
            for start in ends {
                for end in ends {
                    let clamp = |v: i64| {
                        let v = if v < 0 { v.saturating_add(size) } else { v };
                        if step > 0 { v.clamp(0, size) } else { v.clamp(-1, size - 1) }
                    };
                    let (mut at, end_at, mut expected) = (clamp(start), clamp(end), Vec::new());
                    while if step > 0 { at < end_at } else { at > end_at } {
                        expected.push(at);
                        at = at.saturating_add(step);
                    }
                    let y = lift_and_eval(
                        &onnx("Slice", &[]),
                        13,
                        &[x(), one(start), one(end), one(0), one(step)],
                    );
                    assert_eq!(y, Ok(tensor(&[expected.len()], expected)), "{start}:{end}:{step}");
                }
            }
        }
    }

    #[test]
    fn old_slices_have_attributes() {
        let ints = |v: &[i64]| super::super::OnnxAttr::Ints(v.to_vec());
        let node = onnx("Slice", &[("starts", ints(&[1])), ("ends", ints(&[-1])), ("axes", ints(&[1]))]);
        let y = lift_and_eval(&node, 9, &[Operand::Input(tensor(&[1, 4], [1.0f32, 2.0, 3.0, 4.0]))]);
        assert_eq!(y, Ok(tensor(&[1, 2], [2.0f32, 3.0])));
        let node =
            onnx("Slice", &[("starts", ints(&[0])), ("ends", ints(&[i64::MAX])), ("axes", ints(&[0]))]);
        assert!(lift(&node, 9, &[Operand::Typed(ty("f32[N, 4]"))]).is_ok());
    }
}
