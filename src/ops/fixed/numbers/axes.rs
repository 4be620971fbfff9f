//! Reductions, and what takes or joins elements along an axis with a grid (fixed-point §1.7).

use super::{At, Failure, ONE, Operation, Outcome, TWO, X, number, sample, with_int};
use crate::ir::{AttrKind, Attrs};
use crate::ops::fixed::body::Integers;
use crate::ops::fixed::operator::Layout;
use crate::ops::{Call, OnnxAttr, OpError, Schema};
use crate::tensor::fixed::{FixedError, FixedPoint, QTensor};
use crate::tensor::{Dim, Shape, Tensor, broadcast};

fn reduction_attrs(schema: Schema) -> Schema {
    schema.optional_attr("axis", AttrKind::Int).attr("keepdims", true)
}

fn reduced(call: &Call) -> Result<Shape, OpError> {
    let x = &call.ty(0)?.shape;
    let axis = match call.attrs.get_int("axis") {
        Some(_) => Some(call.axis("C2", "axis", x.rank())?),
        None => None,
    };
    let keep = call.flag("keepdims")?;
    let dims = x.iter().enumerate().filter_map(|(at, dim)| match axis.is_none_or(|axis| axis == at) {
        false => Some(dim.clone()),
        true => keep.then_some(Dim::Fixed(1)),
    });
    Ok(Shape::new(dims))
}

fn reduce(
    at: &At,
    f: fn(&FixedPoint, Option<isize>, bool) -> Result<FixedPoint, FixedError>,
) -> Result<Outcome, Failure> {
    let axis = at.call.attrs.get_int("axis").map(|axis| axis as isize);
    let keep = at.call.flag("keepdims")?;
    at.map(|x| f(x, axis, keep))
}

pub(super) const REDUCTIONS: &[Operation] = &[
    Operation {
        name: "fixed_reduce_sum",
        doc: "`y = saturate(sum(x))` along `axis`, or of everything if it is not given, on the grid of x, \
              saturated once. The axis stays, of size 1, with `keepdims`. \
              Nothing is summed along the axis of a grid.",
        attrs: reduction_attrs,
        shape: reduced,
        apply: |at| reduce(at, FixedPoint::reduce_sum),
        emit: |at| {
            let (count, sum) = (at.reduced_count()?, at.reduced("ReduceSum")?);
            Ok(Integers { bound: sum.bound.sums(count), ..sum })
        },
        example: || with_int("axis", 1),
        ..ONE
    },
    Operation {
        name: "fixed_reduce_mean",
        doc: "`y = floor(sum(x) / count)` along `axis`, or of everything, as `fixed_reduce_sum` with \
              `keepdims`. There is at least one element.",
        attrs: reduction_attrs,
        shape: reduced,
        apply: |at| reduce(at, FixedPoint::reduce_mean),
        emit: |at| {
            let (count, sum) = (at.reduced_count()?, at.reduced("ReduceSum")?);
            let bound = sum.bound;
            // Of what float64 does not hold, the quotient would be wrong.
            at.body.checked(bound.sums(count))?;
            let divisor = at.body.number(count as f64);
            let quotient = at.body.op("Div", &[&sum.name, &divisor]);
            let name = at.body.op("Floor", &[&quotient]);
            Ok(Integers { name, ..sum })
        },
        example: || with_int("axis", 1),
        ..ONE
    },
    Operation {
        name: "fixed_reduce_max",
        doc: "`y = max(x)` along `axis`, or of everything, as `fixed_reduce_sum` with `keepdims`, for x of one \
              number of frac bits. There is at least one element.",
        attrs: reduction_attrs,
        shape: reduced,
        apply: |at| reduce(at, FixedPoint::reduce_max),
        emit: |at| at.reduced("ReduceMax"),
        example: || with_int("axis", 1),
        ..ONE
    },
];

/// The shape of both behind each other.
fn joined(call: &Call) -> Result<Shape, OpError> {
    let (a, b) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
    let axis = call.axis("C2", "axis", a.rank())?;
    let others = a.rank() == b.rank() && (0..a.rank()).all(|at| at == axis || a[at] == b[at]);
    call.require("C3", others, || format!("shapes {a} and {b} are not alike outside axis {axis}"))?;
    let size = call.known(&a[axis])?.checked_add(call.known(&b[axis])?);
    let size = size.ok_or_else(|| call.unsupported("a result of that size"))?;
    let dims = a.iter().enumerate().map(|(at, dim)| if at == axis { Dim::Fixed(size) } else { dim.clone() });
    Ok(Shape::new(dims))
}

fn axis_attr(schema: Schema) -> Schema {
    schema.required_attr("axis", AttrKind::Int)
}

/// The attribute `axis`, which [`Call::axis`] has checked.
fn axis(at: &At) -> Result<isize, Failure> {
    Ok(at.call.int("axis")? as isize)
}

pub(super) const ROWS: &[Operation] = &[
    Operation {
        name: "fixed_concat",
        doc: "`y = concat(a, b)` along `axis`, in the value bits of a or of b, whichever are more. Along the \
              last axis, or the one of the grid of a, frac bits and scales of either are put behind each other; along \
              another, both have the same.",
        attrs: axis_attr,
        shape: joined,
        apply: |at| {
            let axis = axis(at)?;
            at.both(|a, b| a.concat(b, axis), |a, b| a.concat(b, axis))
        },
        emit: |at| {
            let attrs = vec![("axis", OnnxAttr::Int(at.call.int("axis")?))];
            let name = at.body.body.op_with("Concat", &[&at.x[0].name, &at.x[1].name], attrs);
            Ok(Integers { name, bound: at.x[0].bound.union(at.x[1].bound), ..at.same()? })
        },
        example: || (Attrs::new().with("axis", 1i64), vec![sample(&[2, 3]), sample(&[2, 1])]),
        ..TWO
    },
    Operation {
        name: "fixed_stack",
        doc: "`y = stack(a, b)` of two tensors of one shape along a new `axis`, in the value bits of a or of b, \
              whichever are more. As the last one it has the frac bits of either, which have one each; \
              along another, both have the same. There are no scales.",
        attrs: axis_attr,
        shape: |call| {
            let (a, b) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
            let axis = call.axis("C2", "axis", a.rank() + 1)?;
            call.require("C3", a == b, || format!("a has shape {a}, and b {b}"))?;
            let mut dims: Vec<Dim> = a.iter().cloned().collect();
            dims.insert(axis, Dim::Fixed(2));
            Ok(Shape::new(dims))
        },
        apply: |at| Ok(at.fixed(0)?.stack(at.fixed(1)?, axis(at)?)?.into()),
        emit: |at| {
            let axis = at.call.int("axis")?;
            let names = [0, 1].map(|position: usize| at.x[position].name.clone());
            let axes = at.body.body.vector(vec![axis]);
            let names = names.map(|name| at.body.op("Unsqueeze", &[&name, &axes]));
            let attrs = vec![("axis", OnnxAttr::Int(axis))];
            let name = at.body.body.op_with("Concat", &[&names[0], &names[1]], attrs);
            Ok(Integers { name, bound: at.x[0].bound.union(at.x[1].bound), ..at.same()? })
        },
        example: || (Attrs::new().with("axis", 0i64), vec![sample(&[2, 3]), sample(&[2, 3])]),
        ..TWO
    },
    Operation {
        name: "fixed_broadcast_to",
        doc: "`y = x`, repeated along axes before those of x, and along axes of size 1 but the last, so that it \
              has the sizes `shape`; along the last axis there may be a grid.",
        constraints: "* C4: `shape` has sizes that x stretches to, of which the last is that of x.",
        attrs: |schema| schema.required_attr("shape", AttrKind::Ints),
        shape: |call| {
            let (x, given) = (&call.ty(0)?.shape, call.ints("shape")?);
            let sizes: Vec<usize> = given.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
            let shape = Shape::fixed(&sizes);
            let stretches = sizes.len() == given.len()
                && x.last() == shape.last()
                && broadcast(x, &shape).as_ref() == Some(&shape);
            call.require("C4", stretches, || format!("x of shape {x} does not stretch to {given:?}"))?;
            Ok(shape)
        },
        apply: |at| {
            let sizes: Vec<usize> = at.call.ints("shape")?.iter().map(|&size| size as usize).collect();
            // A grid is that of x, from the end: of a sample, the other axes have one element.
            let like = |x: &FixedPoint| -> Vec<usize> {
                let (own, before) = (x.sizes(), sizes.len().saturating_sub(x.sizes().len()));
                (0..sizes.len()).map(|axis| if axis < before { 1 } else { own[axis - before] }).collect()
            };
            at.map(|x| x.broadcast_to(&if at.samples { like(x) } else { sizes.clone() }))
        },
        emit: |at| {
            let shape = at.body.body.vector(at.call.ints("shape")?.to_vec());
            let name = at.body.op("Expand", &[&at.x[0].name.clone(), &shape]);
            Ok(Integers { name, ..at.same()? })
        },
        example: || (Attrs::new().with("shape", vec![2i64, 2, 3]), vec![sample(&[2, 3])]),
        ..ONE
    },
    Operation {
        name: "fixed_gather",
        doc: "`y = x[index]` of `axis`, which goes, with the frac bits and the scale of this `index` if they \
              lie along it.",
        constraints: "* C4: -size <= index < size of `axis`.",
        attrs: |schema| axis_attr(schema).required_attr("index", AttrKind::Int),
        shape: |call| {
            let x = &call.ty(0)?.shape;
            let axis = call.axis("C2", "axis", x.rank())?;
            let (size, index) = (call.known(&x[axis])? as i128, i128::from(number(call, "index")?));
            call.require("C4", (-size..size).contains(&index), || format!("index {index} of {size}"))?;
            Ok(Shape::new(x.iter().enumerate().filter(|&(at, _)| at != axis).map(|(_, dim)| dim.clone())))
        },
        apply: |at| {
            let (index, axis) = (at.number("index")? as isize, axis(at)?);
            Ok(match at.numbers(0)? {
                QTensor::Fixed(x) => x.gather(index, axis)?.into(),
                QTensor::Float(x) => x.gather(index, axis)?.into(),
            })
        },
        emit: |at| {
            let index = at.body.body.scalar(at.call.int("index")?);
            let attrs = vec![("axis", OnnxAttr::Int(at.call.int("axis")?))];
            let name = at.body.body.op_with("Gather", &[&at.x[0].name, &index], attrs);
            Ok(Integers { name, ..at.same()? })
        },
        example: || (Attrs::new().with("axis", 1i64).with("index", 2i64), vec![sample(&[2, 3])]),
        ..ONE
    },
    Operation {
        name: "fixed_pad",
        doc: "`y = x` with value, one number of the same frac bits and without scales, around it: as many as \
              `pads` says before each axis, and then after each. x has one number of frac bits.",
        constraints: "* C4: `pads` has two entries for each axis, none of them negative.\n* C5: value is one number.",
        operands: &[X, ("value", Layout::Same)],
        attrs: |schema| schema.required_attr("pads", AttrKind::Ints),
        shape: |call| {
            let (x, value) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
            call.require("C5", value.elements() == Some(1), || format!("value has shape {value}"))?;
            let sides = pad_sides(call)?;
            let wide = x.iter().zip(sides).map(|(dim, (before, after))| match (before, after) {
                (0, 0) => Ok(dim.clone()),
                _ => {
                    let size = call.known(dim)?.checked_add(before).and_then(|size| size.checked_add(after));
                    size.map(Dim::Fixed).ok_or_else(|| call.unsupported("a result of that size"))
                }
            });
            Ok(Shape::new(wide.collect::<Result<Vec<Dim>, OpError>>()?))
        },
        apply: |at| {
            let mut sides = pad_sides(at.call)?;
            if at.samples {
                sides.fill((0, 0));
            }
            let value = at.fixed(1)?.clone();
            at.map(|x| x.pad(&sides, &value))
        },
        emit: |at| {
            let (x, value) = (at.same()?, at.x[1].clone());
            let (before, after) = at.call.ints("pads")?.split_at(x.rank);
            // Standard operators pad by constants: by 0 what is above the number.
            let shape = at.body.body.vector(Vec::<i64>::new());
            let around = at.body.op("Reshape", &[&value.name, &shape]);
            let above = at.body.op("Sub", &[&x.name, &around]);
            let padded = at.body.padded(&above, before, after);
            let name = at.body.op("Add", &[&padded, &around]);
            Ok(Integers { name, bound: x.bound.union(value.bound), ..x })
        },
        example: || {
            (Attrs::new().with("pads", vec![0i64, 1, 0, 1]), vec![sample(&[2, 3]), Tensor::scalar(0i8)])
        },
        ..ONE
    },
];

/// The attribute `pads`, by axes.
fn pad_sides(call: &Call) -> Result<Vec<(usize, usize)>, OpError> {
    let (pads, rank) = (call.ints("pads")?, call.ty(0)?.shape.rank());
    let sizes: Vec<usize> = pads.iter().filter_map(|&pad| usize::try_from(pad).ok()).collect();
    let fits = sizes.len() == pads.len() && sizes.len() == 2 * rank;
    call.require("C4", fits, || format!("`pads` is {pads:?}, for {rank} axes"))?;
    Ok((0..rank).map(|axis| (sizes[axis], sizes[rank + axis])).collect())
}
