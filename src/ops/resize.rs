//! ONNX's Resize and Upsample: along each axis in turn, every element becomes a weighted sum of elements around the
//! place that it comes from. Where that is one element, they are a gather, or an `upsample2d` of maps whose
//! elements are repeated; else a gather of all, a product with the weights, and a sum.

use super::{FLOATS, Lift, LiftCx, OpError, Version};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{DType, Tensor};

pub fn lifts() -> Vec<Lift> {
    const RESIZE: &[&str] = &[
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "mode",
        "nearest_mode",
    ];
    const NEWER: &[&str] = &[
        "antialias",
        "axes",
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
    ];
    let resize = [Version::new(10, 2, &["mode"]), Version::new(11, 4, RESIZE), Version::new(18, 4, NEWER)];
    vec![
        Lift::standard("Resize", resize, lift_resize),
        Lift::standard(
            "Upsample",
            [Version::new(7, 1, &["mode", "scales"]), Version::new(9, 2, &["mode"])],
            lift_resize,
        ),
    ]
}

/// How positions of the result are places of the operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Places {
    Asymmetric,
    AlignCorners,
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// What is summed up.
#[derive(Clone, Copy)]
enum Kernel {
    Nearest(Nearest),
    Linear,
    /// With its coefficient.
    Cubic(f64),
}

#[derive(Clone, Copy)]
enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

impl Kernel {
    /// The weight at a distance from the place.
    fn weight(self, distance: f64) -> f64 {
        let t = distance.abs();
        match self {
            Kernel::Nearest(_) => 0.0,
            Kernel::Linear => (1.0 - t).max(0.0),
            Kernel::Cubic(a) if t <= 1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
            Kernel::Cubic(a) if t < 2.0 => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
            Kernel::Cubic(_) => 0.0,
        }
    }

    /// The distance from which on weights are 0.
    fn reach(self) -> f64 {
        if matches!(self, Kernel::Cubic(_)) { 2.0 } else { 1.0 }
    }
}

impl Nearest {
    fn index(self, place: f64) -> f64 {
        match self {
            Nearest::RoundPreferFloor => libm::ceil(place - 0.5),
            Nearest::RoundPreferCeil => libm::floor(place + 0.5),
            Nearest::Floor => libm::floor(place),
            Nearest::Ceil => libm::ceil(place),
        }
    }
}

struct Stated {
    places: Places,
    kernel: Kernel,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: f32,
}

/// One axis that changes.
struct Axis {
    axis: usize,
    size: usize,
    out: usize,
    /// Size of the result for one of the operand; `out` is that of all, rounded.
    scale: f64,
    roi: [f64; 2],
}

fn stated(cx: &LiftCx) -> Result<Stated, OpError> {
    let text = |name: &str, default: &'static str| Ok(cx.opt_text(name)?.unwrap_or(default).to_owned());
    let old = cx.opset < 11 || cx.node.op_type == "Upsample";
    let places =
        match &*text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })? {
            "asymmetric" => Places::Asymmetric,
            "align_corners" => Places::AlignCorners,
            "half_pixel" => Places::HalfPixel,
            "half_pixel_symmetric" => Places::HalfPixelSymmetric,
            "pytorch_half_pixel" => Places::PytorchHalfPixel,
            "tf_half_pixel_for_nn" => Places::TfHalfPixelForNn,
            "tf_crop_and_resize" => Places::TfCropAndResize,
            other => return Err(cx.invalid(format!("`coordinate_transformation_mode` is `{other}`"))),
        };
    let nearest = match &*text("nearest_mode", if old { "floor" } else { "round_prefer_floor" })? {
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => return Err(cx.invalid(format!("`nearest_mode` is `{other}`"))),
    };
    let kernel = match &*text("mode", "nearest")? {
        "nearest" => Kernel::Nearest(nearest),
        "linear" => Kernel::Linear,
        "cubic" => Kernel::Cubic(cx.float("cubic_coeff_a", -0.75)?.into()),
        other => return Err(cx.invalid(format!("`mode` is `{other}`"))),
    };
    let antialias = cx.int("antialias", 0)? != 0;
    if antialias && matches!(kernel, Kernel::Nearest(_)) {
        return Err(cx.invalid("has no antialias in mode `nearest`"));
    }
    Ok(Stated {
        places,
        kernel,
        antialias,
        exclude_outside: cx.int("exclude_outside", 0)? != 0,
        extrapolation: cx.float("extrapolation_value", 0.0)?,
    })
}

/// The floats of an operand that must be a constant; `None` if it is absent or empty.
fn constant_floats(cx: &LiftCx, position: usize, name: &str) -> Result<Option<Vec<f64>>, OpError> {
    if cx.opt_operand(position).is_none() {
        return Ok(None);
    }
    let Some(tensor) = cx.constant(position) else {
        return Err(cx.not_constant(format!("`{name}` that is not a constant")));
    };
    let floats = tensor.cast(DType::F64).elements::<f64>().unwrap_or_default().to_vec();
    Ok(Some(floats).filter(|floats| !floats.is_empty()))
}

/// The axes that change, and by how much.
fn axes(cx: &LiftCx, places: Places) -> Result<Vec<Axis>, OpError> {
    let shape = cx.ty(0)?.shape.clone();
    let rank = shape.rank();
    let axes: Vec<usize> = match cx.opt_ints("axes")? {
        // Axes are below the rank.
        Some(axes) => axes
            .iter()
            .map(|&axis| Ok(cx.axis(axis, rank, rank)? as usize))
            .collect::<Result<_, OpError>>()?,
        None => (0..rank).collect(),
    };
    let old = cx.opset < 11 || cx.node.op_type == "Upsample";
    let (roi, scales, sizes) = if !old {
        let sizes = cx.constant_ints(3, "sizes")?.filter(|sizes| !sizes.is_empty());
        (constant_floats(cx, 1, "roi")?, constant_floats(cx, 2, "scales")?, sizes)
    } else if let Some(crate::ops::OnnxAttr::Floats(scales)) = cx.node.attrs.get("scales") {
        (None, Some(scales.iter().map(|&scale| scale.into()).collect()), None)
    } else {
        (None, constant_floats(cx, 1, "scales")?, None)
    };
    let roi = match roi.filter(|_| places == Places::TfCropAndResize) {
        None => vec![[0.0, 1.0]; axes.len()],
        Some(roi) if roi.len() == 2 * axes.len() => {
            (0..axes.len()).map(|at| [roi[at], roi[at + axes.len()]]).collect()
        }
        Some(roi) => return Err(cx.invalid(format!("`roi` has {} entries", roi.len()))),
    };
    let entries = match (&scales, &sizes) {
        (Some(scales), None) => scales.len(),
        (None, Some(sizes)) => sizes.len(),
        _ => return Err(cx.invalid("has either scales or sizes")),
    };
    if entries != axes.len() {
        return Err(cx.invalid(format!("has {entries} scales or sizes for {} axes", axes.len())));
    }
    let known = |at: usize| cx.known(&shape[axes[at]]);
    let policy = cx.opt_text("keep_aspect_ratio_policy")?.unwrap_or("stretch").to_owned();
    // The one scale of all axes, where their ratio is kept.
    let mut common = None;
    if let Some(sizes) = sizes.as_ref().filter(|_| policy != "stretch") {
        let mut ratios = Vec::new();
        for (at, &size) in sizes.iter().enumerate() {
            ratios.push(size as f64 / known(at)? as f64);
        }
        common = Some(match &*policy {
            "not_larger" => ratios.into_iter().fold(f64::INFINITY, f64::min),
            "not_smaller" => ratios.into_iter().fold(0.0, f64::max),
            other => return Err(cx.invalid(format!("`keep_aspect_ratio_policy` is `{other}`"))),
        });
    }
    let mut changed = Vec::new();
    for (at, (&axis, roi)) in axes.iter().zip(roi).enumerate() {
        let whole = roi == [0.0, 1.0];
        if whole && scales.as_ref().is_some_and(|scales| scales[at] == 1.0) {
            continue;
        }
        let size = known(at)?;
        let (scale, out) = match (&scales, &sizes, common) {
            (Some(scales), ..) => (scales[at], libm::floor(size as f64 * (roi[1] - roi[0]) * scales[at])),
            (None, _, Some(common)) => (common, libm::floor(common * size as f64 + 0.5)),
            (None, Some(sizes), None) => (sizes[at] as f64 / size as f64, sizes[at] as f64),
            (None, None, None) => (1.0, size as f64),
        };
        if size == 0 || !(scale > 0.0 && (0.0..=f64::from(1 << 24)).contains(&out)) {
            return Err(cx.unsupported(format!("axis {axis} of {shape} resized to {out} by {scale}")));
        }
        // Within 2^24.
        let out = out as usize;
        if !(whole && size == out && (scale - 1.0).abs() <= 1e-9) {
            changed.push(Axis { axis, size, out, scale, roi });
        }
    }
    Ok(changed)
}

impl Axis {
    /// The place in the operand that position `at` of the result comes from.
    fn place(&self, places: Places, at: usize) -> f64 {
        let (at, size, scale) = (at as f64, self.size as f64, self.scale);
        // What rounding makes `out` of.
        let length = scale * size;
        match places {
            Places::Asymmetric => at / scale,
            Places::AlignCorners if length == 1.0 || self.out == 1 => 0.0,
            Places::AlignCorners => at * (size - 1.0) / (length - 1.0),
            Places::HalfPixel => (at + 0.5) / scale - 0.5,
            Places::HalfPixelSymmetric => {
                let margin = size / 2.0 * (1.0 - self.out as f64 / length);
                margin + (at + 0.5) / scale - 0.5
            }
            Places::PytorchHalfPixel if self.out == 1 => 0.0,
            Places::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
            Places::TfHalfPixelForNn => (at + 0.5) / scale,
            Places::TfCropAndResize => {
                let [start, end] = self.roi;
                if self.out == 1 {
                    (start + end) * (size - 1.0) / 2.0
                } else {
                    start * (size - 1.0) + at * (end - start) * (size - 1.0) / (self.out as f64 - 1.0)
                }
            }
        }
    }

    /// The element of the axis that an index means: beyond its ends, the last one there.
    fn clamped(&self, index: f64) -> i64 {
        // Within the axis, which is in memory.
        index.clamp(0.0, (self.size - 1) as f64) as i64
    }

    /// The indices around each place, as many for each, and their weights.
    fn taps(&self, stated: &Stated) -> (usize, Vec<i64>, Vec<f64>) {
        let shrink = if stated.antialias { self.scale.min(1.0) } else { 1.0 };
        let first = libm::floor(-stated.kernel.reach() / shrink) + 1.0;
        // Symmetrical about the place, which lies between two elements.
        let count = (2.0 - 2.0 * first) as usize;
        let (mut indices, mut weights) = (Vec::new(), Vec::new());
        for at in 0..self.out {
            let place = self.place(stated.places, at);
            let start = libm::floor(place) + first;
            let index = |tap: usize| start + tap as f64;
            let outside = |tap: usize| index(tap) < 0.0 || index(tap) >= self.size as f64;
            let mut of_place: Vec<f64> =
                (0..count).map(|tap| stated.kernel.weight((index(tap) - place) * shrink)).collect();
            if stated.exclude_outside {
                (0..count).filter(|&tap| outside(tap)).for_each(|tap| of_place[tap] = 0.0);
            }
            let sum: f64 = of_place.iter().sum();
            if (stated.antialias || stated.exclude_outside) && sum != 0.0 {
                of_place.iter_mut().for_each(|weight| *weight /= sum);
            }
            indices.extend((0..count).map(|tap| self.clamped(index(tap))));
            weights.extend(of_place);
        }
        (count, indices, weights)
    }
}

/// The factors of height and width, where elements of maps are repeated and nothing else is done.
fn repeats(cx: &LiftCx, stated: &Stated, changed: &[Axis]) -> Result<Option<Vec<i64>>, OpError> {
    let x = cx.ty(0)?;
    let Kernel::Nearest(nearest) = stated.kernel else { return Ok(None) };
    let sizes = x.shape.iter().skip(2).all(|dim| dim.fixed().is_some());
    if x.shape.rank() != 4 || !sizes || !FLOATS.contains(&x.storage()) || changed.is_empty() {
        return Ok(None);
    }
    let mut factors = vec![1, 1];
    for axis in changed {
        let factor = axis.out / axis.size;
        let index = |at| axis.clamped(nearest.index(axis.place(stated.places, at)));
        // Sizes are within 2^24.
        let repeated = factor > 0
            && axis.out == factor * axis.size
            && (0..axis.out).all(|at| index(at) == (at / factor) as i64);
        match axis.axis.checked_sub(2) {
            Some(at) if repeated && stated.places != Places::TfCropAndResize => factors[at] = factor as i64,
            _ => return Ok(None),
        }
    }
    Ok(Some(factors))
}

fn lift_resize(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let stated = stated(cx)?;
    let changed = axes(cx, stated.places)?;
    let (storage, rank) = (cx.ty(0)?.storage(), cx.ty(0)?.shape.rank());
    let mut x = cx.operand(0)?;
    if !matches!(stated.kernel, Kernel::Nearest(_)) && !storage.is_float() {
        return Err(cx.unsupported(format!("an interpolation of elements stored as {storage}")));
    }
    let none = Attrs::new;
    if let Some(factors) = repeats(cx, &stated, &changed)? {
        return Ok(vec![cx.op("upsample2d", none().with("factors", factors), &[x])?]);
    }
    let too_large = |cx: &LiftCx| cx.unsupported("an axis of this size");
    for axis in &changed {
        let name = |what: &str| format!("{what}_{}", axis.axis);
        // Ranks are small: they count the entries of a list in memory.
        let along = || none().with("axis", axis.axis as i64);
        if let Kernel::Nearest(nearest) = stated.kernel {
            let index = |at| axis.clamped(nearest.index(axis.place(stated.places, at)));
            let indices = Tensor::vector((0..axis.out).map(index).collect::<Vec<i64>>());
            let indices = cx.add_const(&name("indices"), indices);
            x = cx.step(&name("axis"), "gather", along(), &[x, indices])?;
        } else {
            let (count, indices, weights) = axis.taps(&stated);
            let indices = Tensor::new(&[axis.out, count], indices).ok_or_else(|| too_large(cx))?;
            let mut sizes = vec![axis.out, count];
            sizes.resize(rank - axis.axis + 1, 1);
            let weights = Tensor::new(&sizes, weights).ok_or_else(|| too_large(cx))?.cast(storage);
            let (indices, weights) =
                (cx.add_const(&name("indices"), indices), cx.add_const(&name("weights"), weights));
            let around = cx.step(&name("around"), "gather", along(), &[x, indices])?;
            let weighted = cx.step(&name("weighted"), "mul", none(), &[around, weights])?;
            let sum = none().with("axes", vec![axis.axis as i64 + 1]).with("keepdims", false);
            x = cx.step(&name("axis"), "reduce_sum", sum, &[weighted])?;
        }
        if stated.places == Places::TfCropAndResize {
            let inside = |at| (0.0..=(axis.size - 1) as f64).contains(&axis.place(stated.places, at));
            let inside: Vec<bool> = (0..axis.out).map(inside).collect();
            if !inside.iter().all(|&inside| inside) {
                let mut sizes = vec![axis.out];
                sizes.resize(rank - axis.axis, 1);
                let mask = Tensor::new(&sizes, inside).ok_or_else(|| too_large(cx))?;
                let mask = cx.add_const(&name("inside"), mask);
                let value = cx.number_like(0, &name("outside"), stated.extrapolation)?;
                x = cx.step(&name("cropped"), "select", none(), &[mask, x, value])?;
            }
        }
    }
    Ok(vec![cx.op("identity", none(), &[x])?])
}

#[cfg(test)]
mod tests {
    use super::super::OnnxAttr;
    use super::super::testing::*;
    use super::*;

    fn text(name: &'static str, value: &str) -> (&'static str, OnnxAttr) {
        (name, OnnxAttr::Str(value.to_owned()))
    }

    fn resized(attrs: &[(&str, OnnxAttr)], x: &[f32], scale: f32) -> Vec<f32> {
        let x = Operand::Input(tensor(&[1, x.len()], x));
        let scales = Operand::Constant(tensor(&[2], [1.0f32, scale]));
        let y = lift_and_eval(&onnx("Resize", attrs), 13, &[x, Operand::Absent, scales]).unwrap();
        y.elements::<f32>().unwrap().to_vec()
    }

    #[test]
    fn nearest_and_linear() {
        let x = [1.0f32, 2.0];
        assert_eq!(resized(&[], &x, 2.0), [1.0, 1.0, 2.0, 2.0]);
        let linear = text("mode", "linear");
        assert_eq!(resized(std::slice::from_ref(&linear), &x, 2.0), [1.0, 1.25, 1.75, 2.0]);
        let corners = text("coordinate_transformation_mode", "align_corners");
        assert_eq!(resized(&[linear.clone(), corners], &[1.0, 4.0], 2.0), [1.0, 2.0, 3.0, 4.0]);
        let antialias = [linear, ("antialias", OnnxAttr::Int(1))];
        let x = Operand::Input(tensor(&[4], [1.0f32, 2.0, 3.0, 8.0]));
        let sizes = Operand::Constant(Tensor::vector(vec![2i64]));
        let y = lift_and_eval(&onnx("Resize", &antialias), 18, &[x, Operand::Absent, Operand::Absent, sizes]);
        // Weights 1/4, 3/4, 3/4, 1/4 at distances of 3/2 and 1/2; the ends are repeated.
        let expected = [1.0 + 0.75 * 2.0 + 0.25 * 3.0, 0.25 * 2.0 + 0.75 * 3.0 + 8.0f32];
        assert_eq!(y, Ok(tensor(&[2], expected.map(|v| v / 2.0))));
    }

    #[test]
    fn maps_that_repeat_elements_are_upsampled() {
        let x = || Operand::Input(tensor(&[1, 1, 2, 3], [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let upsampled = |attrs: &[(&str, OnnxAttr)], down: f32, across: f32| {
            let scales = Operand::Constant(tensor(&[4], [1.0f32, 1.0, down, across]));
            let (graph, y) = lift(&onnx("Resize", attrs), 13, &[x(), Operand::Absent, scales]).unwrap();
            (graph.node(y.node).op() == Some("upsample2d")).then(|| graph.ty(y).shape.to_string())
        };
        let floor = [text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
        assert_eq!(upsampled(&floor, 2.0, 3.0).as_deref(), Some("[1, 1, 4, 9]"));
        assert_eq!(upsampled(&[], 2.0, 1.0).as_deref(), Some("[1, 1, 4, 3]"));
        // Half of two elements.
        let ceil = [text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "ceil")];
        assert_eq!(upsampled(&ceil, 2.0, 2.0), None);
        assert_eq!(upsampled(&floor, 1.5, 1.0), None);
    }

    #[test]
    fn cubic_gives_lines_back() {
        let x: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let y = resized(&[text("mode", "cubic"), ("cubic_coeff_a", OnnxAttr::Float(-0.5))], &x, 2.0);
        assert_eq!(&y[4..12], [1.75, 2.25, 2.75, 3.25, 3.75, 4.25, 4.75, 5.25]);
    }

    #[test]
    fn what_is_open_or_unknown_is_refused() {
        let x = || Operand::Typed(ty("f32[N, 2, W]"));
        let scales = |scales: [f32; 3]| Operand::Constant(tensor(&[3], scales));
        let node = onnx("Resize", &[]);
        assert_unknown_size(lift(&node, 13, &[x(), Operand::Absent, scales([1.0, 1.0, 2.0])]));
        let (graph, y) = lift(&node, 13, &[x(), Operand::Absent, scales([1.0, 2.0, 1.0])]).unwrap();
        assert_eq!(graph.ty(y).shape.to_string(), "[N, 4, W]");
        assert!(lift(&node, 13, &[x()]).is_err());
        assert!(lift(&node, 13, &[x(), Operand::Absent, scales([1.0, f32::NAN, 1.0])]).is_err());
        let linear = onnx("Resize", &[text("mode", "linear")]);
        let bytes = [Operand::Typed(ty("u8[2]")), Operand::Absent, Operand::Constant(tensor(&[1], [2.0f32]))];
        assert!(matches!(lift(&linear, 13, &bytes), Err(OpError::Unsupported { .. })));
    }
}
