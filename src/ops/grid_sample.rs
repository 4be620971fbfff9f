//! `grid_sample`: elements of maps at places that an operand names; ONNX's AffineGrid makes such places.

use super::number::Real;
use super::{
    Arithmetic, Call, Entry, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError,
    Operator, Quantize, Schema, Version, for_float,
};
use crate::ir::{Attrs, ValueId};
use crate::tensor::{Dim, Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(GridSample)]
}

/// How an element is made of those around its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What lies beyond the borders of a map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// What attributes say.
#[derive(Clone, Copy)]
struct Sampling {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
}

/// The elements of an axis that have a part in the result, `None` for one that is 0, and their weights.
type Taps<T> = Vec<(Option<usize>, T)>;

impl Sampling {
    fn of(call: &Call) -> Result<Self, OpError> {
        let mode = match call.text("mode")? {
            "nearest" => Mode::Nearest,
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic,
            other => return Err(call.broken("C3", format!("`mode` is \"{other}\""))),
        };
        let padding = match call.text("padding_mode")? {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            other => return Err(call.broken("C4", format!("`padding_mode` is \"{other}\""))),
        };
        Ok(Self { mode, padding, align_corners: call.flag("align_corners")? })
    }

    /// The place on an axis of `size` elements that the grid names from -1 to 1.
    fn place<T: Real>(&self, g: T, size: usize) -> T {
        // Sizes of 2^24 and more are as near as an f32 is.
        let (size, one, two) = (T::from(size as f32), T::from(1.0), T::from(2.0));
        if self.align_corners { (g + one) / two * (size - one) } else { ((g + one) * size - one) / two }
    }

    /// The element that an index means.
    fn element(&self, index: i64, size: usize) -> Option<usize> {
        // A size in memory, and above 0 where there is a border.
        let last = size as i64 - 1;
        let inside = match self.padding {
            Padding::Zeros => index,
            Padding::Border => index.clamp(0, last.max(0)),
            Padding::Reflection if self.align_corners => {
                let at = index.rem_euclid((2 * last).max(1));
                at.min(2 * last - at)
            }
            Padding::Reflection => {
                let at = index.rem_euclid((2 * last + 2).max(1));
                at.min(2 * last + 1 - at)
            }
        };
        usize::try_from(inside).ok().filter(|&inside| inside < size)
    }

    /// What a place on an axis is made of; `None` where that is no number.
    fn taps<T: Real>(&self, place: T, size: usize) -> Option<Taps<T>> {
        let is_number = place.partial_cmp(&place).is_some();
        let finite = place.finite();
        if !is_number || !finite && self.padding == Padding::Reflection {
            return None;
        }
        let one = T::from(1.0);
        if self.mode == Mode::Nearest {
            return Some(vec![(self.element(place.half_even().integer(), size), one)]);
        }
        let before = place.floor();
        let (index, t) = (before.integer(), place - before);
        let beyond = index < -2 || index > (size as i64).saturating_add(1);
        let weights = match self.mode {
            // All are the same there; and an infinite place has no weights.
            _ if beyond && self.padding == Padding::Border => {
                return Some(vec![(self.element(index, size), one)]);
            }
            Mode::Nearest | Mode::Linear => vec![(0, one - t), (1, t)],
            Mode::Cubic => {
                let far = |t: T| {
                    let a = T::from(-0.75);
                    ((a * t - T::from(5.0) * a) * t + T::from(8.0) * a) * t - T::from(4.0) * a
                };
                let near = |t: T| {
                    let a = T::from(-0.75);
                    ((a + T::from(2.0)) * t - (a + T::from(3.0))) * t * t + one
                };
                let rest = one - t;
                vec![(-1, far(t + one)), (0, near(t)), (1, near(rest)), (2, far(rest + one))]
            }
        };
        let tap = |(offset, weight)| (self.element(index.saturating_add(offset), size), weight);
        Some(weights.into_iter().map(tap).collect())
    }
}

/// The weighted sum over the axes of a map, the last axis first.
fn sampled<T: Real>(x: &[T], sizes: &[usize], taps: &[Taps<T>]) -> T {
    let (Some((_, inner)), Some((first, rest))) = (sizes.split_first(), taps.split_first()) else {
        return x.first().copied().unwrap_or_default();
    };
    let step: usize = inner.iter().product();
    let part = |at: usize| sampled(x.get(at * step..).unwrap_or_default(), inner, rest);
    if let [(only, _)] = first[..] {
        return only.map(part).unwrap_or_default();
    }
    let taking = first.iter().filter_map(|&(at, weight)| Some((at?, weight)));
    taking.fold(T::default(), |sum, (at, weight)| T::fma(weight, part(at), sum))
}

pub struct GridSample;

impl GridSample {
    /// Checks the shapes; gives that of the result.
    fn shape(call: &Call) -> Result<Shape, OpError> {
        let (x, grid) = (&call.ty(0)?.shape, &call.ty(1)?.shape);
        let wrong =
            || call.broken("C2", format!("x is [N, C, …] and grid [N, …, axes], found {x} and {grid}"));
        let ([batch, channels, spatial @ ..], [of_grid, out @ .., axes]) = (&**x, &**grid) else {
            return Err(wrong());
        };
        let fits = batch == of_grid && out.len() == spatial.len() && !spatial.is_empty();
        if !fits || *axes != Dim::Fixed(spatial.len()) {
            return Err(wrong());
        }
        let sampling = Sampling::of(call)?;
        let border = sampling.padding != Padding::Zeros;
        call.require("C5", !border || !spatial.contains(&Dim::Fixed(0)), || {
            format!("x has elements, found {x}")
        })?;
        Ok(Shape::new([batch, channels].into_iter().chain(out).cloned()))
    }

    fn eval_as<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let sampling = Sampling::of(&inputs.call)?;
        let (x, grid) = (inputs.elements::<T>(0)?, inputs.elements::<T>(1)?);
        let sizes = Self::shape(&inputs.call)?.sizes().unwrap_or_default();
        let spatial = inputs.get(0)?.sizes().get(2..).unwrap_or_default();
        let mut y = inputs.call.filled(&sizes, T::default())?.into_raw_vec_and_offset().0;
        if y.is_empty() {
            return inputs.call.result(&sizes, y);
        }
        // As y has elements, so does the grid, and x no axes of any size beside one of 0.
        let places: usize = sizes[2..].iter().product();
        let map: usize = spatial.iter().fold(1, |product: usize, &size| product.saturating_mul(size));
        let channels = sizes[1];
        let nan = T::from(f32::NAN);
        for (at, named) in grid.chunks(spatial.len()).enumerate() {
            // The grid names the last axis first.
            let taps = spatial.iter().zip(named.iter().rev());
            let taps: Option<Vec<Taps<T>>> =
                taps.map(|(&size, &g)| sampling.taps(sampling.place(g, size), size)).collect();
            for channel in 0..channels {
                let plane = at / places * channels + channel;
                let x = x.get(plane * map..).unwrap_or_default();
                let value = taps.as_ref().map_or(nan, |taps| sampled(x, spatial, taps));
                y[plane * places + at % places] = value.canonical();
            }
        }
        inputs.call.result(&sizes, y)
    }
}

impl Operator for GridSample {
    fn schema(&self) -> Schema {
        Schema::new(
            "grid_sample",
            "`y[n, c, j…]` is x[n, c] at the place `p(k) = ((grid[n, j…, R - 1 - k] + 1) * d(k) - 1) / 2` on each of its \
             R spatial axes k of d(k) elements: -1 and 1 are the outer edges of the first and the last element, or with \
             `align_corners` their centers, `p(k) = (grid[n, j…, R - 1 - k] + 1) / 2 * (d(k) - 1)`. For x \
             `[N, C, d(0), …]` and grid `[N, …, R]`, y is `[N, C, …]`.\n\n\
             With the `mode` \"nearest\" the element is that of the nearest index, ties to the even one; with \"linear\" \
             it is interpolated between 2 elements of each axis, with \"cubic\" between 4, weighted by the polynomials \
             of coefficient -0.75. Beyond the borders of x elements are 0 with the `padding_mode` \"zeros\", the last \
             ones with \"border\", and with \"reflection\" those that a mirror shows: at the outer edges of the last \
             elements, or with `align_corners` at their centers. Where the grid is NaN, or is infinite and reflected, y \
             is NaN. Each step of a place and of a weight is rounded; sums are `fma` in the order of the elements, the \
             last axis first.\n\n\
             * C1: x and grid are plain and stored alike, as f32 or f64.\n\
             * C2: x and grid have the same N, there is a spatial axis, and the last axis of grid is as long as there \
             are of them.\n\
             * C3: `mode` is \"nearest\", \"linear\" or \"cubic\".\n\
             * C4: `padding_mode` is \"zeros\", \"border\" or \"reflection\".\n\
             * C5: where there is a border, no spatial axis of x has size 0.",
        )
        .operand("x")
        .operand("grid")
        .attr("mode", "linear")
        .attr("padding_mode", "zeros")
        .attr("align_corners", false)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        Ok(vec![TensorType::new(storage, Self::shape(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not choose among values")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let text = |attr| Ok::<_, OpError>(OnnxAttr::Str(cx.call.text(attr)?.to_owned()));
        let node = cx.node("GridSample", cx.operand_names.to_vec()).attr("mode", text("mode")?);
        let node = node.attr("padding_mode", text("padding_mode")?);
        let align_corners = OnnxAttr::Int(cx.call.flag("align_corners")?.into());
        Ok(Lowered::Nodes(vec![node.attr("align_corners", align_corners)]))
    }

    fn lifts(&self) -> Vec<Lift> {
        const ATTRS: &[&str] = &["align_corners", "mode", "padding_mode"];
        vec![
            Lift::standard(
                "GridSample",
                [Version::new(16, 2, ATTRS), Version::new(20, 2, ATTRS)],
                lift_sample,
            ),
            Lift::standard("AffineGrid", [Version::new(20, 2, &["align_corners"])], lift_affine),
        ]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let ramp = |sizes: &[usize], step: f32| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| ((i * 7 % 13) as f32 - 6.0) * step).collect())
        };
        let example = |mode: &str, padding: &str, align_corners: bool, sizes: &[usize]| {
            let axes = sizes.len() - 2;
            let mut grid = vec![2; axes + 1];
            grid[0] = sizes[0];
            grid.push(axes);
            let attrs = Attrs::new().with("mode", mode).with("padding_mode", padding);
            Example {
                attrs: attrs.with("align_corners", align_corners),
                operands: vec![ramp(sizes, 0.5), ramp(&grid, 0.25)],
            }
        };
        vec![
            example("linear", "zeros", false, &[1, 2, 3, 4]),
            example("nearest", "reflection", false, &[2, 1, 3, 2]),
            example("cubic", "border", true, &[1, 1, 3, 4]),
            example("linear", "reflection", true, &[1, 1, 2, 3, 2]),
        ]
    }
}

fn lift_sample(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let (x, grid) = (cx.operand(0)?, cx.operand(1)?);
    let [of_x, of_grid] = [cx.ty(0)?.storage(), cx.ty(1)?.storage()];
    if of_x != of_grid || !of_x.is_float() {
        let what = format!("a grid stored as {of_grid} for elements stored as {of_x}");
        let way_out = Some("convert both to float32 before, by a Cast".to_owned());
        return Err(OpError::Unsupported { op: cx.node.op_type.clone(), what, way_out });
    }
    // Newer versions have shorter names, for any number of axes.
    let mode = match cx.opt_text("mode")?.unwrap_or("linear") {
        "bilinear" => "linear",
        "bicubic" => "cubic",
        other => other,
    };
    let padding = cx.opt_text("padding_mode")?.unwrap_or("zeros");
    let attrs = Attrs::new().with("mode", mode).with("padding_mode", padding);
    let attrs = attrs.with("align_corners", cx.int("align_corners", 0)? != 0);
    Ok(vec![cx.op("grid_sample", attrs, &[x, grid])?])
}

/// The products of matrices with places that are evenly spaced between -1 and 1 on each axis.
fn lift_affine(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let theta = cx.operand(0)?;
    let (ty, align_corners) = (cx.ty(0)?.clone(), cx.int("align_corners", 0)? != 0);
    let Some(entries) = cx.entries(1) else {
        return Err(cx.not_constant("`size` that is not a constant".to_owned()));
    };
    let (Some(axes @ (2 | 3)), [batch, rows, columns]) = (entries.len().checked_sub(2), &*ty.shape) else {
        return Err(cx.invalid(format!("theta has 3 axes and `size` 4 or 5 entries, found {}", ty.shape)));
    };
    if !ty.storage().is_float() || [rows, columns] != [&Dim::Fixed(axes), &Dim::Fixed(axes + 1)] {
        let found = format!("found {}{}", ty.storage(), ty.shape);
        return Err(cx.invalid(format!("theta is float[N, {axes}, {}], {found}", axes + 1)));
    }
    if let (Entry::Number(stated), Some(batch)) = (&entries[0], batch.fixed())
        && usize::try_from(*stated) != Ok(batch)
    {
        return Err(cx.invalid(format!("`size` is of a batch of {stated}, and theta of {batch}")));
    }
    let mut sizes = Vec::new();
    for entry in &entries[2..] {
        match entry {
            Entry::Number(size) => sizes.push(*size),
            _ => return Err(cx.not_constant("`size` that is not a constant".to_owned())),
        }
    }
    let count =
        sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(usize::try_from(size).ok()?));
    let count = count.filter(|&count| (1..=1 << 24).contains(&count));
    let count = count.ok_or_else(|| cx.unsupported(format!("a grid of sizes {sizes:?}")))?;
    if align_corners && sizes.contains(&1) {
        let what =
            format!("a grid of sizes {sizes:?} with `align_corners`, where one element is at no corner,");
        let way_out = Some("a size of 1 has a place without `align_corners`".to_owned());
        return Err(OpError::Unsupported { op: cx.node.op_type.clone(), what, way_out });
    }
    // Rows of x, y, (z and) 1, the last axis first.
    let mut places = vec![1.0f64; (axes + 1) * count];
    let mut step = 1;
    for (row, &size) in places.chunks_mut(count).zip(sizes.iter().rev()) {
        for (at, place) in row.iter_mut().enumerate() {
            // No size is 0.
            let i = (at / step % size as usize) as f64;
            let size = size as f64;
            *place = if align_corners { 2.0 * i / (size - 1.0) - 1.0 } else { (2.0 * i + 1.0) / size - 1.0 };
        }
        step *= size as usize;
    }
    let places = Tensor::new(&[axes + 1, count], places);
    let places =
        places.ok_or_else(|| cx.unsupported(format!("a grid of sizes {sizes:?}")))?.cast(ty.storage());
    let places = cx.add_const("places", places);
    let grid = cx.step("rows", "matmul", Attrs::new(), &[theta, places])?;
    let grid = cx.step("columns", "transpose", Attrs::new().with("perm", vec![0, 2, 1]), &[grid])?;
    // The batch may be open; its size is copied.
    let shape = std::iter::once(0).chain(sizes).chain([axes as i64]).collect::<Vec<i64>>();
    Ok(vec![cx.op("reshape", Attrs::new().with("shape", shape), &[grid])?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn sampling(mode: &str, padding: &str, align_corners: bool) -> Attrs {
        let attrs = Attrs::new().with("mode", mode).with("padding_mode", padding);
        attrs.with("align_corners", align_corners)
    }

    #[test]
    fn constraints() {
        let (x, grid) = ("f32[N, C, 3, 4]", "f32[N, H, 5, 2]");
        let text = |attr: &str| Attrs::new().with(attr, "bilinear");
        let border = Attrs::new().with("padding_mode", "border");
        check_labels(
            "grid_sample",
            &[
                ("C1", Attrs::new(), &[x, "f64[N, H, 5, 2]"]),
                ("C1", Attrs::new(), &["u8[N, C, 3, 4]", "u8[N, H, 5, 2]"]),
                ("C2", Attrs::new(), &[x, "f32[N, H, 5, 3]"]),
                ("C2", Attrs::new(), &[x, "f32[N, H, 2]"]),
                ("C2", Attrs::new(), &[x, "f32[M, H, 5, 2]"]),
                ("C2", Attrs::new(), &["f32[N, C]", "f32[N, 0]"]),
                ("C3", text("mode"), &[x, grid]),
                ("C4", text("padding_mode"), &[x, grid]),
                ("C5", border.clone(), &["f32[N, C, 3, 0]", grid]),
            ],
        );
        assert_eq!(shape("grid_sample", Attrs::new(), &[x, grid]), "f32[N, C, H, 5]");
        assert_eq!(shape("grid_sample", border, &["f64[1, 2, D]", "f64[1, 7, 1]"]), "f64[1, 2, 7]");
    }

    /// One element of a map of 2 rows.
    fn at(attrs: Attrs, place: [f32; 2]) -> f32 {
        let x = tensor(&[1, 1, 2, 2], [1.0f32, 2.0, 3.0, 4.0]);
        let operands = [x, tensor(&[1, 1, 1, 2], place)];
        let y = eval("grid_sample", attrs.clone(), &operands).unwrap();
        let back = read_back("grid_sample", attrs, &operands);
        let [y, back] = [y, back].map(|y| y.elements::<f32>().unwrap()[0]);
        assert_eq!(y.to_bits(), back.to_bits());
        y
    }

    #[test]
    fn by_hand() {
        for align_corners in [false, true] {
            for padding in ["zeros", "border", "reflection"] {
                assert_eq!(at(sampling("linear", padding, align_corners), [0.0, 0.0]), 2.5);
                assert_eq!(at(sampling("nearest", padding, align_corners), [0.4, -0.4]), 2.0);
            }
        }
        // The outer corner of the first element, or its center.
        assert_eq!(at(sampling("linear", "zeros", false), [-1.0, -1.0]), 0.25);
        assert_eq!(at(sampling("linear", "border", false), [-1.0, -1.0]), 1.0);
        assert_eq!(at(sampling("linear", "zeros", true), [-1.0, -1.0]), 1.0);
        for mode in ["nearest", "linear", "cubic"] {
            assert_eq!(at(sampling(mode, "zeros", true), [1.0, -1.0]), 2.0, "{mode}");
            // A row further, and two: mirrored at the edge, or at the center.
            let places = [[-0.5, 1.5], [-0.5, 2.5], [-0.5, 3.5]];
            let mirrored = places.map(|place| at(sampling(mode, "reflection", false), place));
            assert_eq!(mirrored, [3.0, 1.0, 1.0], "{mode}");
            let mirrored =
                [[-1.0, 3.0], [-1.0, 5.0]].map(|place| at(sampling(mode, "reflection", true), place));
            assert_eq!(mirrored, [1.0, 3.0], "{mode}");
            assert_eq!(at(sampling(mode, "border", false), [9.0, 9.0]), 4.0, "{mode}");
            // What no number names.
            let infinite = [f32::NEG_INFINITY, f32::INFINITY];
            assert_eq!(at(sampling(mode, "zeros", false), infinite), 0.0, "{mode}");
            assert_eq!(at(sampling(mode, "border", false), infinite), 3.0, "{mode}");
            assert!(at(sampling(mode, "reflection", false), infinite).is_nan(), "{mode}");
            assert!(at(sampling(mode, "zeros", false), [f32::NAN, 0.0]).is_nan(), "{mode}");
            assert_eq!(at(sampling(mode, "zeros", false), [f32::MAX, 0.0]), 0.0, "{mode}");
        }
        let x = tensor(&[1, 1, 2, 2, 2], (1..9).map(|v| v as f64).collect::<Vec<_>>());
        let y = eval("grid_sample", Attrs::new(), &[x, tensor(&[1, 1, 1, 1, 3], [0.0f64; 3])]);
        assert_eq!(y, Ok(tensor(&[1, 1, 1, 1, 1], [4.5f64])));
        let none = [tensor::<f32>(&[1, 1, 0, 2], []), tensor(&[1, 1, 1, 2], [0.0f32; 2])];
        assert_eq!(eval("grid_sample", Attrs::new(), &none), Ok(tensor(&[1, 1, 1, 1], [0.0f32])));
    }

    #[test]
    fn the_places_of_all_elements_are_a_grid() {
        let theta = || tensor(&[1, 2, 3], [1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let size = |sizes: &[i64]| Operand::Constant(Tensor::vector(sizes.to_vec()));
        let grid = |align_corners: i64, theta: Tensor, sizes: &[i64]| {
            let node = onnx("AffineGrid", &[("align_corners", OnnxAttr::Int(align_corners))]);
            lift_and_eval(&node, 20, &[Operand::Input(theta), size(sizes)])
        };
        let x = tensor(&[1, 1, 2, 4], (0..8u8).map(f32::from).collect::<Vec<_>>());
        for align_corners in [false, true] {
            let grid = grid(align_corners.into(), theta(), &[1, 1, 2, 4]).unwrap();
            let y = eval("grid_sample", sampling("nearest", "zeros", align_corners), &[x.clone(), grid]);
            assert_eq!(y, Ok(x.clone()));
        }
        let moved = tensor(&[1, 3, 4], [0.0f32, 0.0, 0.0, 7.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let y = grid(1, moved, &[1, 1, 2, 1, 2]);
        assert!(matches!(y, Err(OpError::Unsupported { way_out: Some(_), .. })));
        let moved = tensor(&[1, 3, 4], [0.0f32, 0.0, 0.0, 7.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        // 7, z and x.
        let y = grid(0, moved, &[1, 1, 2, 1, 2]).unwrap();
        let expected = [[7.0f32, -0.5, -0.5], [7.0, -0.5, 0.5], [7.0, 0.5, -0.5], [7.0, 0.5, 0.5]];
        assert_eq!(y, tensor(&[1, 2, 1, 2, 3], expected.as_flattened().to_vec()));
        for wrong in [&[2, 1, 2, 2][..], &[1, 1, 2], &[1, 1, 2, 2, 2]] {
            assert!(matches!(grid(0, theta(), wrong), Err(OpError::Invalid { .. })), "{wrong:?}");
        }
        assert!(grid(0, theta(), &[1, 1, i64::MAX, i64::MAX]).is_err());
        assert!(grid(0, theta(), &[1, 1, 0, 2]).is_err());
        let given = [Operand::Typed(ty("f32[N, 2, 3]")), Operand::Typed(ty("i64[4]"))];
        assert!(matches!(
            lift(&onnx("AffineGrid", &[]), 20, &given),
            Err(OpError::Unsupported { way_out: Some(_), .. })
        ));
        let open = [Operand::Typed(ty("f32[N, 2, 3]")), size(&[1, 1, 2, 3])];
        let (graph, y) = lift(&onnx("AffineGrid", &[]), 20, &open).unwrap();
        assert_eq!(graph.ty(y), &ty("f32[N, 2, 3, 2]"));
    }

    #[test]
    fn modes_have_two_names() {
        let operands = || [Operand::Typed(ty("f32[N, 1, 2, 2]")), Operand::Typed(ty("f32[N, 3, 3, 2]"))];
        for (opset, mode, expected) in
            [(16, "bilinear", "linear"), (16, "bicubic", "cubic"), (20, "cubic", "cubic")]
        {
            let node = onnx("GridSample", &[("mode", OnnxAttr::Str(mode.to_owned()))]);
            let (graph, y) = lift(&node, opset, &operands()).unwrap();
            let crate::ir::Kind::Op { attrs, .. } = &graph.node(y.node).kind else { panic!("no operator") };
            assert_eq!(attrs.get_str("mode"), Some(expected));
        }
        let bytes = [Operand::Typed(ty("u8[N, 1, 2, 2]")), Operand::Typed(ty("f32[N, 3, 3, 2]"))];
        assert!(matches!(
            lift(&onnx("GridSample", &[]), 20, &bytes),
            Err(OpError::Unsupported { way_out: Some(_), .. })
        ));
    }
}
