//! Convolution over three dimensions: `conv3d`.

use super::number::Real;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{Dim, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Conv3d)]
}

pub struct Conv3d;

/// What is computed, the batch aside.
struct Geometry {
    channels: usize,
    filters: usize,
    size: [usize; 3],
    kernel: [usize; 3],
    out: [usize; 3],
    strides: [usize; 3],
    dilations: [usize; 3],
    pads: [usize; 6],
    group: usize,
}

impl Geometry {
    fn of(call: &Call) -> Result<Self, OpError> {
        let (x, w) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        let five = |shape: &Shape| <[Dim; 5]>::try_from(shape.to_vec()).ok();
        let (Some([_, channels, x @ ..]), Some([filters, taken, w @ ..])) = (five(x), five(w)) else {
            return Err(call.broken("C2", format!("x and w have 5 axes, found {x} and {w}")));
        };
        let group = usize::try_from(call.int("group")?).unwrap_or_default();
        call.require("C3", group >= 1, || format!("group is at least 1, found {group}"))?;
        let known = |dims: &[Dim; 3]| -> Result<[usize; 3], OpError> {
            Ok([call.known(&dims[0])?, call.known(&dims[1])?, call.known(&dims[2])?])
        };
        let mut geometry = Self {
            channels: call.known(&channels)?,
            filters: call.known(&filters)?,
            size: known(&x)?,
            kernel: known(&w)?,
            out: [0; 3],
            strides: call.sizes("strides", 1)?,
            dilations: call.sizes("dilations", 1)?,
            pads: call.sizes("pads", 0)?,
            group,
        };
        let taken = call.known(&taken)?;
        let divides = geometry.channels.is_multiple_of(group) && geometry.filters.is_multiple_of(group);
        call.require("C4", divides && taken == geometry.channels / group, || {
            format!("group {group} divides the channels and filters, and w takes one part of the channels")
        })?;
        for axis in 0..3 {
            geometry.out[axis] = geometry.out_size(axis).ok_or_else(|| {
                call.broken(
                    "C5",
                    format!("the kernel of {:?} fits into the padded {:?}", geometry.kernel, geometry.size),
                )
            })?;
        }
        Ok(geometry)
    }

    fn out_size(&self, axis: usize) -> Option<usize> {
        let extent = self.kernel[axis].checked_sub(1)?.checked_mul(self.dilations[axis])?.checked_add(1)?;
        let padded = self.size[axis].checked_add(self.pads[axis])?.checked_add(self.pads[axis + 3])?;
        Some(padded.checked_sub(extent)? / self.strides[axis] + 1)
    }

    /// Where tap `t` of output `o` reads; `None` in the padding.
    fn at(&self, axis: usize, o: usize, t: usize) -> Option<usize> {
        let at = o * self.strides[axis] + t * self.dilations[axis];
        at.checked_sub(self.pads[axis]).filter(|&at| at < self.size[axis])
    }

    /// The sum of one output: in the order channel, plane, row, column, from zero.
    fn sum<T: Real>(&self, x: &[T], w: &[T], first: usize, out: [usize; 3]) -> T {
        let [planes, rows, columns] = self.kernel;
        let mut acc = T::default();
        for c in 0..self.channels / self.group {
            for (p, r, s) in
                (0..planes).flat_map(|p| (0..rows).flat_map(move |r| (0..columns).map(move |s| (p, r, s))))
            {
                let tap = ((c * planes + p) * rows + r) * columns + s;
                let at = [self.at(0, out[0], p), self.at(1, out[1], r), self.at(2, out[2], s)];
                let [Some(d), Some(h), Some(v)] = at else { continue };
                let element = (((first + c) * self.size[0] + d) * self.size[1] + h) * self.size[2] + v;
                acc = T::fma(x[element], w[tap], acc);
            }
        }
        acc
    }
}

impl Conv3d {
    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let geometry = Geometry::of(&inputs.call)?;
        let (x, w, b) = (inputs.elements::<T>(0)?, inputs.elements::<T>(1)?, inputs.opt_elements::<T>(2)?);
        let batch = inputs.get(0)?.sizes().first().copied().unwrap_or_default();
        let image = geometry.channels * geometry.size.iter().product::<usize>();
        let each = geometry.channels / geometry.group;
        let filter = each * geometry.kernel.iter().product::<usize>();
        let [planes, rows, columns] = geometry.out;
        let mut y = Vec::with_capacity(batch * geometry.filters * planes * rows * columns);
        for n in 0..batch {
            let x = &x[n * image..][..image];
            for f in 0..geometry.filters {
                let (w, group) = (&w[f * filter..][..filter], f / (geometry.filters / geometry.group));
                for (p, r, s) in (0..planes)
                    .flat_map(|p| (0..rows).flat_map(move |r| (0..columns).map(move |s| (p, r, s))))
                {
                    let sum = geometry.sum(x, w, group * each, [p, r, s]);
                    y.push(b.map_or(sum, |b| sum + b[f]).canonical());
                }
            }
        }
        inputs.call.result(&[batch, geometry.filters, planes, rows, columns], y)
    }
}

/// Reads a Conv whose operands have 5 axes.
pub fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    const SIZES: std::ops::RangeInclusive<i64> = 0..=1 << 24;
    let of = |cx: &LiftCx, name: &str, default: &[i64]| -> Result<Vec<i64>, OpError> {
        let ints = cx.opt_ints(name)?.unwrap_or(default);
        if ints.len() == default.len() && ints.iter().all(|size| SIZES.contains(size)) {
            return Ok(ints.to_vec());
        }
        Err(cx.invalid(format!("`{name}` is {} sizes from 0 to 2^24, found {ints:?}", default.len())))
    };
    let spatial = |cx: &LiftCx, position: usize| -> Result<Vec<i64>, OpError> {
        let dims = cx.ty(position)?.shape.to_vec();
        // Sizes that do not fit are refused where they are computed with.
        let size = |dim: &Dim| Ok(i64::try_from(cx.known(dim)?).unwrap_or(i64::MAX));
        dims.iter().skip(2).map(size).collect()
    };
    let kernel = spatial(cx, 1)?;
    if let Some(stated) = cx.opt_ints("kernel_shape")?
        && stated != kernel
    {
        return Err(cx.invalid(format!("kernel_shape is {stated:?}, the weights have {kernel:?}")));
    }
    let (strides, dilations) = (of(cx, "strides", &[1; 3])?, of(cx, "dilations", &[1; 3])?);
    let mut pads = of(cx, "pads", &[0; 6])?;
    match cx.opt_text("auto_pad")? {
        None | Some("NOTSET" | "") => {}
        Some("VALID") => pads = vec![0; 6],
        Some(same @ ("SAME_UPPER" | "SAME_LOWER")) => {
            let odd_first = same == "SAME_LOWER";
            for (axis, &size) in spatial(cx, 0)?.iter().enumerate() {
                let (stride, extent) =
                    (strides[axis].max(1), (kernel[axis] - 1).saturating_mul(dilations[axis]) + 1);
                let out = (size + stride - 1) / stride;
                let total = ((out - 1).saturating_mul(stride).saturating_add(extent) - size).max(0);
                let (less, more) = (total / 2, total - total / 2);
                (pads[axis], pads[axis + 3]) = if odd_first { (more, less) } else { (less, more) };
            }
        }
        Some(other) => return Err(cx.invalid(format!("auto_pad is `{other}`"))),
    }
    let attrs = Attrs::new()
        .with("strides", strides)
        .with("dilations", dilations)
        .with("pads", pads)
        .with("group", cx.int("group", 1)?);
    let (x, w, b) = (cx.operand(0)?, cx.operand(1)?, cx.opt_operand(2));
    Ok(vec![cx.op_with("conv3d", attrs, vec![Some(x), Some(w), b])?])
}

impl Operator for Conv3d {
    fn schema(&self) -> Schema {
        Schema::new(
            "conv3d",
            "`y[n, f, i, j, k] = sum over c, p, r, s of x[n, g * C/group + c, i * strides[0] + p * dilations[0] - \
             pads[0], j * strides[1] + …, k * strides[2] + …] * w[f, c, p, r, s] + b[f]` with `g = f / (F/group)`, x \
             being 0 outside; for x `[N, C, D, H, W]`, w `[F, C/group, P, R, S]`, b `[F]` and y `[N, F, (D + pads[0] + \
             pads[3] - (P-1) * dilations[0] - 1) / strides[0] + 1, …]`. `pads` are the begins, then the ends. The sum \
             is `fma` in the order c, p, r, s from 0, then b is added.\n\n\
             * C0: `strides` and `dilations` are 3 sizes from 1, `pads` 6 from 0.\n\
             * C1: x, w and b are plain and stored alike, as f32 or f64.\n\
             * C2: x and w have 5 axes.\n\
             * C3: group is at least 1.\n\
             * C4: group divides C and F, and w takes C/group channels.\n\
             * C5: y has at least one element along each of its last axes, and the sizes do not overflow.\n\
             * C6: b has the one axis F.",
        )
        .operand("x")
        .operand("w")
        .optional("b")
        .attr("strides", vec![1, 1, 1])
        .attr("dilations", vec![1, 1, 1])
        .attr("pads", vec![0, 0, 0, 0, 0, 0])
        .attr("group", 1i64)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        let geometry = Geometry::of(call)?;
        if let Some(b) = call.opt_ty(2) {
            call.require("C6", b.shape.sizes() == Some(vec![geometry.filters]), || {
                format!("b has shape [{}], found {}", geometry.filters, b.shape)
            })?;
        }
        let mut dims = vec![call.ty(0)?.shape[0].clone(), geometry.filters.into()];
        dims.extend(geometry.out.map(Dim::from));
        Ok(vec![TensorType::new(storage, dims)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device convolves the rows and columns of a frame, or the frames behind each other")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let mut node = cx.node("Conv", cx.operand_names.to_vec());
        for attr in ["strides", "dilations", "pads"] {
            node = node.attr(attr, OnnxAttr::Ints(cx.call.ints(attr)?.to_vec()));
        }
        let kernel = Geometry::of(&cx.call)?.kernel.map(|size| size as i64);
        let node = node.attr("kernel_shape", OnnxAttr::Ints(kernel.to_vec()));
        Ok(Lowered::Nodes(vec![node.attr("group", OnnxAttr::Int(cx.call.int("group")?))]))
    }

    fn lifts(&self) -> Vec<super::Lift> {
        // ONNX has one Conv for all ranks, which `conv2d` reads.
        Vec::new()
    }

    fn macs(&self, call: &Call) -> u64 {
        Geometry::of(call).map_or(0, |geometry| {
            let taps = geometry.kernel.into_iter().chain([geometry.channels / geometry.group]);
            let outputs = geometry.out.into_iter().chain([geometry.filters]);
            taps.chain(outputs).fold(1u64, |macs, size| macs.saturating_mul(size as u64))
        })
    }

    fn examples(&self) -> Vec<Example> {
        let ramp = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i % 7) as f32 - 2.5).collect())
        };
        let attrs = Attrs::new().with("pads", vec![2, 0, 1, 0, 0, 0]).with("strides", vec![1, 2, 1]);
        let grouped = Attrs::new().with("group", 2).with("dilations", vec![2, 1, 1]);
        vec![
            Example { attrs, operands: vec![ramp(&[1, 2, 2, 3, 2]), ramp(&[2, 2, 3, 2, 1]), ramp(&[2])] },
            Example { attrs: grouped, operands: vec![ramp(&[2, 2, 3, 1, 2]), ramp(&[2, 1, 2, 1, 1])] },
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    #[test]
    fn constraints() {
        let (none, group) = (Attrs::new(), |group: i64| Attrs::new().with("group", group));
        let (x, w) = ("f32[1, 2, 3, 3, 3]", "f32[4, 2, 1, 1, 1]");
        check_labels(
            "conv3d",
            &[
                ("C0", Attrs::new().with("strides", vec![0, 1, 1]), &[x, w]),
                ("C0", Attrs::new().with("pads", vec![1, 1, 1]), &[x, w]),
                ("C1", none.clone(), &[x, "f64[4, 2, 1, 1, 1]"]),
                ("C2", none.clone(), &["f32[1, 2, 3, 3]", w]),
                ("C3", group(0), &[x, w]),
                ("C4", group(3), &[x, w]),
                ("C4", group(2), &[x, w]),
                ("C5", none.clone(), &[x, "f32[4, 2, 4, 1, 1]"]),
                ("C6", none, &[x, w, "f32[3]"]),
            ],
        );
    }

    proptest! {
        /// With one plane in kernel and input it is the convolution of rows and columns.
        #[test]
        fn of_one_plane_it_is_conv2d(
            group in 1usize..3, height in 2usize..5, width in 2usize..5, pad in 0i64..2, seed in 1u32..1000,
        ) {
            let fill = |count: usize, salt: u32| -> Vec<f32> {
                (0..count as u32).map(|i| ((i + salt).wrapping_mul(seed) % 17) as f32 / 7.0 - 1.2).collect()
            };
            let (channels, filters) = (2 * group, 3 * group);
            let (x, w) = (fill(2 * channels * height * width, 1), fill(filters * 2 * 4, 2));
            let b = tensor(&[filters], fill(filters, 3));
            let attrs = |strides: Vec<i64>, pads: Vec<i64>| {
                Attrs::new().with("group", group as i64).with("strides", strides).with("pads", pads)
            };
            let flat = eval(
                "conv2d",
                attrs(vec![1, 2], vec![pad, 0, 0, 1]),
                &[tensor(&[2, channels, height, width], x.clone()), tensor(&[filters, 2, 2, 2], w.clone()), b.clone()],
            ).unwrap();
            let operands =
                [tensor(&[2, channels, 1, height, width], x), tensor(&[filters, 2, 1, 2, 2], w), b];
            let attrs = attrs(vec![1, 1, 2], vec![0, pad, 0, 0, 0, 1]);
            let deep = eval("conv3d", attrs.clone(), &operands).unwrap();
            prop_assert_eq!(deep.elements::<f32>().unwrap(), flat.elements::<f32>().unwrap());
            prop_assert_eq!(read_back("conv3d", attrs, &operands), deep);
        }
    }
}
