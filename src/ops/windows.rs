//! Poolings over windows of any number of axes, with dilations: `max_pool`, `avg_pool`, `lp_pool`. Two axes without
//! more are `max_pool2d` and `avg_pool2d`, which the device knows.

use super::number::{NUMBERS, Number, Real, for_number};
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{DType, Dim, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Windows::Max), Box::new(Windows::Mean), Box::new(Windows::Norm)]
}

/// One operator each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    Max,
    Mean,
    Norm,
}

/// The windows along one spatial axis.
#[derive(Clone, Copy)]
struct Along {
    size: i64,
    kernel: i64,
    stride: i64,
    dilation: i64,
    pads: [i64; 2],
    out: i64,
}

impl Along {
    /// The indices of x and of the padding that window `o` covers.
    fn taps(self, o: i64) -> impl Iterator<Item = i64> {
        (0..self.kernel).map(move |k| o * self.stride - self.pads[0] + k * self.dilation)
    }

    fn inside(self, index: i64) -> bool {
        (0..self.size).contains(&index)
    }

    fn padded(self, index: i64) -> bool {
        (-self.pads[0]..self.size + self.pads[1]).contains(&index)
    }
}

/// Sizes up to which products stay far from overflow.
const LARGEST: i64 = 1 << 24;

fn geometry(call: &Call) -> Result<Vec<Along>, OpError> {
    let x = &call.ty(0)?.shape;
    let axes = x.rank().saturating_sub(2);
    call.require("C2", axes > 0, || format!("x has at least 3 axes, found {x}"))?;
    let list = |name: &str, count: usize, least: i64| {
        let ints = call.ints(name)?;
        let fits = ints.len() == count && ints.iter().all(|int| (least..=LARGEST).contains(int));
        call.require("C3", fits, || {
            format!("`{name}` is {count} integers from {least} to 2^24, found {ints:?}")
        })?;
        Ok(ints)
    };
    let (kernel, strides) = (list("kernel_shape", axes, 1)?, list("strides", axes, 1)?);
    let (dilations, pads) = (list("dilations", axes, 1)?, list("pads", 2 * axes, 0)?);
    let up = call.flag("ceil_mode")?;
    let along = |at: usize| {
        let size = i64::try_from(call.known(&x[at + 2])?).ok().filter(|&size| size <= 1 << 40);
        let size = size.ok_or_else(|| call.broken("C4", format!("the sizes of {x} do not overflow")))?;
        let pads = [pads[at], pads[at + axes]];
        let room = size + pads[0] + pads[1] - (kernel[at] - 1) * dilations[at] - 1;
        call.require("C4", size > 0 && room >= 0, || {
            format!("the kernel {kernel:?} fits into the padded {x}")
        })?;
        let mut last = if up { (room + strides[at] - 1) / strides[at] } else { room / strides[at] };
        // A last window that starts behind x and the padding before it is left out.
        if up && last * strides[at] >= size + pads[0] {
            last -= 1;
        }
        Ok(Along {
            size,
            kernel: kernel[at],
            stride: strides[at],
            dilation: dilations[at],
            pads,
            out: last + 1,
        })
    };
    (0..axes).map(along).collect()
}

/// The indices of a position in row-major order.
fn unravel(mut at: usize, sizes: &[usize]) -> Vec<usize> {
    let mut indices = vec![0; sizes.len()];
    for (index, &size) in indices.iter_mut().zip(sizes).rev() {
        *index = at % size.max(1);
        at /= size.max(1);
    }
    indices
}

/// Calls `f` for each window: with the elements of x that it covers (their place in their plane, in row-major order),
/// how many places it covers of x and the padding, and the plane.
fn each_window<U>(
    inputs: &Inputs,
    mut f: impl FnMut(&[usize], usize, usize) -> U,
) -> Result<(Vec<usize>, Vec<U>), OpError> {
    let along = geometry(&inputs.call)?;
    let x = inputs.get(0)?.sizes();
    let out: Vec<usize> = along.iter().map(|along| along.out as usize).collect();
    let sizes = [&x[..2], &out].concat();
    let (planes, each) = (x[0] * x[1], out.iter().product::<usize>());
    let mut results = Vec::new();
    let mut places = Vec::new();
    for window in 0..planes * each {
        let at = unravel(window % each, &out);
        // The places that are left, axis by axis.
        places.clear();
        places.push(0usize);
        let mut covered = 1usize;
        for (along, &o) in along.iter().zip(&at) {
            covered *= along.taps(o as i64).filter(|&index| along.padded(index)).count();
            let inside: Vec<usize> = along
                .taps(o as i64)
                .filter(|&index| along.inside(index))
                .map(|index| index as usize)
                .collect();
            places = places
                .iter()
                .flat_map(|place| inside.iter().map(move |index| place * along.size as usize + index))
                .collect();
        }
        results.push(f(&places, covered, window / each));
    }
    Ok((sizes, results))
}

impl Windows {
    fn name(self) -> &'static str {
        match self {
            Windows::Max => "max_pool",
            Windows::Mean => "avg_pool",
            Windows::Norm => "lp_pool",
        }
    }

    fn storages(self) -> &'static [DType] {
        if self == Windows::Max { &NUMBERS } else { FLOATS }
    }

    /// The attributes of an ONNX node, whatever its number of spatial axes.
    fn attrs(cx: &LiftCx) -> Result<Attrs, OpError> {
        let shape = cx.ty(0)?.shape.clone();
        let Some(axes) = shape.rank().checked_sub(2).filter(|&axes| axes > 0) else {
            return Err(cx.invalid(format!("has an operand of at least 3 axes, found {shape}")));
        };
        let list = |name: &str, count: usize, default: i64, least: i64| {
            let ints = cx.opt_ints(name)?.map_or_else(|| vec![default; count], <[i64]>::to_vec);
            let fits = ints.len() == count && ints.iter().all(|int| (least..=LARGEST).contains(int));
            let message = || format!("`{name}` is {count} integers from {least} to 2^24, found {ints:?}");
            if fits { Ok(ints) } else { Err(cx.invalid(message())) }
        };
        if cx.opt_ints("kernel_shape")?.is_none() {
            return Err(cx.invalid("needs kernel_shape"));
        }
        let (kernel, strides) = (list("kernel_shape", axes, 1, 1)?, list("strides", axes, 1, 1)?);
        let (dilations, mut pads) = (list("dilations", axes, 1, 1)?, list("pads", 2 * axes, 0, 0)?);
        let odd_first = match cx.opt_text("auto_pad")?.unwrap_or("NOTSET") {
            "NOTSET" | "" => None,
            "VALID" => {
                pads.fill(0);
                None
            }
            "SAME_UPPER" => Some(false),
            "SAME_LOWER" => Some(true),
            other => return Err(cx.invalid(format!("auto_pad is `{other}`"))),
        };
        if let Some(odd_first) = odd_first {
            for at in 0..axes {
                let size = super::window::known_size(cx, &shape[at + 2])?;
                let out = (size + strides[at] - 1) / strides[at];
                let extent = (kernel[at] - 1) * dilations[at] + 1;
                let total = Ord::max((out - 1) * strides[at] + extent - size, 0);
                let (less, more) = (total / 2, total - total / 2);
                (pads[at], pads[at + axes]) = if odd_first { (more, less) } else { (less, more) };
            }
        }
        Ok(Attrs::new()
            .with("kernel_shape", kernel)
            .with("strides", strides)
            .with("dilations", dilations)
            .with("pads", pads)
            .with("ceil_mode", cx.int("ceil_mode", 0)? != 0))
    }
}

/// MaxPool with what `max_pool2d` does not have.
pub fn lift_max(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let attrs = Windows::attrs(cx)?.with("column_major", cx.int("storage_order", 0)? != 0);
    let name = cx.result_name();
    let node = cx.builder.node("max_pool", attrs, vec![Some(x)], &name)?;
    Ok([0, 1].map(|result| ValueId { node, result }).to_vec())
}

/// AveragePool with what `avg_pool2d` does not have.
pub fn lift_avg(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let attrs = Windows::attrs(cx)?.with("count_include_pad", cx.int("count_include_pad", 0)? != 0);
    Ok(vec![cx.op("avg_pool", attrs, &[x])?])
}

fn lift_norm(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let x = cx.operand(0)?;
    let attrs = Windows::attrs(cx)?.with("p", cx.int("p", 2)?);
    Ok(vec![cx.op("lp_pool", attrs, &[x])?])
}

/// What all three have in common.
macro_rules! doc {
    ($formula:literal, $storages:literal) => {
        concat!(
            $formula,
            " Window `o` of an axis covers the indices `o * strides - pads + k * dilations` of x, k below `kernel_shape`; \
             `pads` has the padding before each spatial axis, then that behind each. With `ceil_mode` there are as many \
             windows as the size rounded up says, but none that starts behind x.\n\n\
             * C1: x is plain",
            $storages,
            ".\n\
             * C2: x has at least 3 axes: batch, channels, and spatial ones.\n\
             * C3: `kernel_shape`, `strides` and `dilations` have a size from 1 for each spatial axis, `pads` two from 0.\n\
             * C4: y has an element along each spatial axis, and the sizes do not overflow."
        )
    };
}

impl Operator for Windows {
    fn schema(&self) -> Schema {
        let schema = match self {
            Windows::Max => Schema::new(
                self.name(),
                doc!(
                    "`y = max of x` over each window, NaN if there is one, and `positions` with the place of the first \
                     such element in the whole of x, in row-major order, or with `column_major` in column-major order of \
                     the spatial axes; of a window of padding only, the least value and position -1.",
                    ", a float or an integer"
                ),
            ),
            Windows::Mean => Schema::new(
                self.name(),
                doc!(
                    "`y = (sum of x) / count` over each window, the sum in row-major order from 0; count is the number of \
                     elements of x, or with `count_include_pad` those of the padding, too. Of a window of padding only it \
                     is 0.",
                    " f32 or f64"
                ),
            )
            .rounding(),
            Windows::Norm => Schema::new(
                self.name(),
                doc!(
                    "`y = (sum of |x|^p) ^ (1/p)` over each window, the sum in row-major order from 0.",
                    " f32 or f64"
                ),
            )
            .rounding(),
        };
        let schema = schema
            .operand("x")
            .required_attr("kernel_shape", AttrKind::Ints)
            .required_attr("strides", AttrKind::Ints)
            .required_attr("dilations", AttrKind::Ints)
            .required_attr("pads", AttrKind::Ints)
            .attr("ceil_mode", false);
        match self {
            Windows::Max => {
                Schema { results: vec!["y".into(), "positions".into()], ..schema.attr("column_major", false) }
            }
            Windows::Mean => schema.attr("count_include_pad", false),
            Windows::Norm => schema.attr("p", 2i64),
        }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", self.storages())?;
        let along = geometry(call)?;
        let x = &call.ty(0)?.shape;
        // The geometry has seen three axes.
        let spatial = along.iter().map(|along| Dim::Fixed(along.out as usize));
        let dims: Vec<Dim> = x.iter().take(2).cloned().chain(spatial).collect();
        let y = TensorType::new(storage, dims.clone());
        match self {
            Windows::Max => {
                call.flag("column_major")?;
                Ok(vec![y, TensorType::new(DType::I64, dims)])
            }
            Windows::Mean => {
                call.flag("count_include_pad")?;
                Ok(vec![y])
            }
            Windows::Norm => {
                let p = call.int("p")?;
                let fits = (1..=LARGEST).contains(&p);
                if fits { Ok(vec![y]) } else { Err(call.unsupported(format!("`p` = {p}"))) }
            }
        }
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn max<T: Number>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
            let (x, sizes) = (inputs.elements::<T>(0)?, inputs.get(0)?.sizes());
            let plane: usize = sizes[2..].iter().product();
            let column_major = inputs.call.flag("column_major")?;
            let (out, results) = each_window(inputs, |places, _, window| {
                let largest =
                    places.iter().fold(T::LEAST, |best, &place| Number::max(best, x[window * plane + place]));
                // Only NaN has no order, not even with itself; where there is one, it is the largest.
                let is_largest = |v: T| v == largest || v.partial_cmp(&v).is_none();
                let first = places.iter().find(|&&place| is_largest(x[window * plane + place]));
                let position = first.map_or(-1, |&place| {
                    let place = if column_major {
                        let at = unravel(place, &sizes[2..]);
                        at.iter()
                            .zip(&sizes[2..])
                            .rev()
                            .fold(0, |place, (&index, &size)| place * size + index)
                    } else {
                        place
                    };
                    (window * plane + place) as i64
                });
                (largest, position)
            })?;
            let (y, positions): (Vec<T>, Vec<i64>) = results.into_iter().unzip();
            let y = inputs.call.result(&out, y)?;
            Ok(y.into_iter().chain(inputs.call.result(&out, positions)?).collect())
        }
        fn sums<T: Real>(inputs: &Inputs, op: Windows) -> Result<Vec<Tensor>, OpError> {
            let (x, sizes) = (inputs.elements::<T>(0)?, inputs.get(0)?.sizes());
            let plane: usize = sizes[2..].iter().product();
            let all = op == Windows::Mean && inputs.call.flag("count_include_pad")?;
            let p = if op == Windows::Norm { inputs.call.int("p")? } else { 1 };
            let element = |v: T| {
                let magnitude = if v < T::default() { -v } else { v };
                (1..p).fold(magnitude, |power, _| power * magnitude)
            };
            let (out, y) = each_window(inputs, |places, covered, window| {
                let each = places.iter().map(|place| x[window * plane + place]);
                if op == Windows::Norm {
                    let sum = each.fold(T::default(), |sum, v| sum + element(v));
                    return T::root(sum, p).canonical();
                }
                let sum = each.fold(T::default(), |sum, v| sum + v);
                let count = if all { covered } else { places.len() };
                if count == 0 { T::default() } else { T::mean(sum, count).canonical() }
            })?;
            inputs.call.result(&out, y)
        }
        let storage = inputs.get(0)?.dtype();
        match self {
            Windows::Max => for_number!(inputs.call, storage, T => max::<T>(inputs)),
            op => for_float!(inputs.call, storage, T => sums::<T>(inputs, *op)),
        }
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a pooling runs on the device only over windows of rows and columns without dilations")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let onnx = match self {
            Windows::Max => "MaxPool",
            Windows::Mean => "AveragePool",
            Windows::Norm => "LpPool",
        };
        let storage = cx.call.ty(0)?.storage();
        if *self == Windows::Max && !matches!(storage, DType::F32 | DType::F64 | DType::I8 | DType::U8) {
            return Err(cx.call.unsupported(format!("a maximum over windows of {storage}, in ONNX,")));
        }
        let mut node = cx.node(onnx, cx.operand_names.to_vec());
        for attr in ["kernel_shape", "strides", "dilations", "pads"] {
            node = node.attr(attr, OnnxAttr::Ints(cx.call.ints(attr)?.to_vec()));
        }
        let flag = |name| Ok::<_, OpError>(OnnxAttr::Int(cx.call.flag(name)?.into()));
        node = node.attr("ceil_mode", flag("ceil_mode")?);
        node = match self {
            Windows::Max => node.attr("storage_order", flag("column_major")?),
            Windows::Mean => node.attr("count_include_pad", flag("count_include_pad")?),
            Windows::Norm => node.attr("p", OnnxAttr::Int(cx.call.int("p")?)),
        };
        Ok(Lowered::Nodes(vec![node]))
    }

    fn lifts(&self) -> Vec<Lift> {
        const OLD: &[&str] = &["auto_pad", "kernel_shape", "p", "pads", "strides"];
        const NEW: &[&str] = &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "p", "pads", "strides"];
        match self {
            // Read by the poolings of two axes, and handed on.
            Windows::Max | Windows::Mean => Vec::new(),
            Windows::Norm => {
                let versions = [Version::new(2, 1, OLD), Version::new(18, 1, NEW)];
                vec![Lift::standard("LpPool", versions, lift_norm)]
            }
        }
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 1, 2, 2, 3], (0..12u8).map(|i| f32::from(i * 5 % 11) - 4.0).collect());
        let attrs = Attrs::new()
            .with("kernel_shape", vec![2, 1, 2])
            .with("strides", vec![1, 1, 1])
            .with("dilations", vec![1, 1, 2])
            .with("pads", vec![0, 0, 1, 0, 0, 0]);
        vec![Example { attrs, operands: vec![x] }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Arithmetic, Registry};
    use super::*;

    fn attrs(kernel: &[i64], strides: &[i64], dilations: &[i64], pads: &[i64]) -> Attrs {
        Attrs::new()
            .with("kernel_shape", kernel.to_vec())
            .with("strides", strides.to_vec())
            .with("dilations", dilations.to_vec())
            .with("pads", pads.to_vec())
    }

    #[test]
    fn constraints() {
        let two = || attrs(&[2], &[1], &[1], &[0, 0]);
        for op in ["max_pool", "avg_pool", "lp_pool"] {
            let wrong = if op == "max_pool" { "bool[1, 1, 3]" } else { "i8[1, 1, 3]" };
            check_labels(
                op,
                &[
                    ("C1", two(), &[wrong]),
                    ("C2", two(), &["f32[1, 3]"]),
                    ("C3", attrs(&[2], &[0], &[1], &[0, 0]), &["f32[1, 1, 3]"]),
                    ("C3", attrs(&[2], &[1], &[1], &[0]), &["f32[1, 1, 3]"]),
                    ("C4", attrs(&[2], &[1], &[3], &[0, 0]), &["f32[1, 1, 3]"]),
                ],
            );
            assert_unknown_size(infer(op, two(), &[ty("f32[1, 1, N]")]));
        }
        assert_eq!(shape("avg_pool", two(), &["f32[N, 2, 3]"]), "f32[N, 2, 2]");
    }

    #[test]
    fn by_hand() {
        let x = tensor(&[1, 1, 4], [1.0f32, 5.0, 3.0, 4.0]);
        let run = |op: &str, attrs: Attrs| {
            let registry = Registry::built_in();
            let attrs = registry.complete(op, attrs).unwrap();
            registry.eval(op, &attrs, &[Some(x.clone())], Arithmetic::Exact).unwrap()
        };
        let dilated = || attrs(&[2], &[1], &[2], &[1, 0]);
        let y = run("max_pool", dilated());
        assert_eq!(y, [tensor(&[1, 1, 3], [5.0f32, 3.0, 5.0]), tensor(&[1, 1, 3], [1i64, 2, 1])]);
        assert_eq!(run("avg_pool", dilated()), [tensor(&[1, 1, 3], [5.0f32, 2.0, 4.5])]);
        let all = dilated().with("count_include_pad", true);
        assert_eq!(run("avg_pool", all), [tensor(&[1, 1, 3], [2.5f32, 2.0, 4.5])]);
        // The last window reaches past the padding, which is not counted.
        let past = attrs(&[3], &[2], &[1], &[0, 0]).with("ceil_mode", true).with("count_include_pad", true);
        assert_eq!(run("avg_pool", past), [tensor(&[1, 1, 2], [3.0f32, 3.5])]);
        assert_eq!(run("lp_pool", attrs(&[2], &[2], &[1], &[0, 0]))[0].elements::<f32>().unwrap()[1], 5.0);
        let plane = tensor(&[1, 1, 2, 2], [1.0f32, 9.0, 2.0, 3.0]);
        let attrs = attrs(&[2, 2], &[1, 1], &[1, 1], &[0; 4]).with("column_major", true);
        let registry = Registry::built_in();
        let attrs = registry.complete("max_pool", attrs).unwrap();
        let y = registry.eval("max_pool", &attrs, &[Some(plane)], Arithmetic::Exact).unwrap();
        assert_eq!(y[1], tensor(&[1, 1, 1, 1], [2i64]));
        let plane = tensor(&[1, 1, 2, 2], [1.0f32, 9.0, f32::NAN, 3.0]);
        let y = registry.eval("max_pool", &attrs, &[Some(plane)], Arithmetic::Exact).unwrap();
        assert_eq!(y[1], tensor(&[1, 1, 1, 1], [1i64]));
    }
}
