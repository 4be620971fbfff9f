//! `roi_align`: parts of maps, each resized to the same sizes.

use super::number::{Number, Real};
use super::product::at;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator,
    Quantize, Schema, Version, for_float,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{DType, Dim, Grid, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(RoiAlign)]
}

/// Samples of one element of a result; a part of a map that calls for more is no part of one.
const MOST_SAMPLES: i64 = 1 << 20;

/// What attributes say.
struct Plan {
    sizes: [usize; 2],
    largest: bool,
    half_pixel: bool,
    sampling_ratio: i64,
    spatial_scale: f32,
}

/// Where the samples of one axis of a part are.
struct Samples<T> {
    start: T,
    /// The length of what becomes one element.
    bin: T,
    count: usize,
}

/// The elements around a sample, and its distance from the first of them.
type Around<T> = Option<([usize; 2], T)>;

impl<T: Real> Samples<T> {
    /// What lies around sample `at` of element `element`, on an axis of `size` elements; `None` outside of it.
    fn around(&self, element: usize, at: usize, size: usize) -> Around<T> {
        let number = |count: usize| T::from(count as f32);
        let offset = (number(at) + T::from(0.5)) * self.bin / number(self.count);
        let place = self.start + number(element) * self.bin + offset;
        if place < T::from(-1.0) || place > number(size) {
            return None;
        }
        let place = if place < T::default() { T::default() } else { place };
        let first = usize::try_from(place.integer()).unwrap_or_default();
        // There is an element.
        let last = size - 1;
        Some(if first >= last {
            ([last; 2], T::default())
        } else {
            ([first, first + 1], place - number(first))
        })
    }
}

pub struct RoiAlign;

impl RoiAlign {
    fn plan(call: &Call) -> Result<Plan, OpError> {
        let largest = match call.text("mode")? {
            "avg" => false,
            "max" => true,
            other => return Err(call.broken("C3", format!("`mode` is \"{other}\""))),
        };
        let sampling_ratio = call.int("sampling_ratio")?;
        call.require("C4", (0..=1024).contains(&sampling_ratio), || {
            format!("`sampling_ratio` is 0 to 1024, found {sampling_ratio}")
        })?;
        Ok(Plan {
            sizes: call.sizes("sizes", 1)?,
            largest,
            half_pixel: call.flag("half_pixel")?,
            sampling_ratio,
            spatial_scale: call.float("spatial_scale")?,
        })
    }

    fn dims(call: &Call) -> Result<Vec<Dim>, OpError> {
        let [rows, columns] = Self::plan(call)?.sizes;
        let [x, rois, batches] = [&call.ty(0)?.shape, &call.ty(1)?.shape, &call.ty(2)?.shape];
        let fits = match (&**x, &**rois, &**batches) {
            ([_, _, height, width], [parts, Dim::Fixed(4)], [others]) => {
                parts == others && ![height, width].contains(&&Dim::Fixed(0))
            }
            _ => false,
        };
        call.require("C2", fits, || {
            format!("x is [N, C, H, W], rois [R, 4] and batch_indices [R], found {x}, {rois} and {batches}")
        })?;
        Ok(vec![rois[0].clone(), x[1].clone(), rows.into(), columns.into()])
    }

    /// The samples of both axes of a part.
    fn samples<T: Real>(
        call: &Call,
        plan: &Plan,
        position: usize,
        roi: &[T],
    ) -> Result<[Samples<T>; 2], OpError> {
        let &[left, top, right, bottom] = roi else {
            return Err(call.broken("C2", "rois has 4 columns"));
        };
        let offset = T::from(if plan.half_pixel { 0.5 } else { 0.0 });
        let scaled = |v: T| v * T::from(plan.spatial_scale) - offset;
        let axis = |start: T, end: T, size: usize| {
            let (start, end) = (scaled(start), scaled(end));
            let mut length = end - start;
            if !plan.half_pixel && length < T::from(1.0) {
                length = T::from(1.0);
            }
            let bin = length / T::from(size as f32);
            let count = match plan.sampling_ratio {
                // None of a negative length.
                0 => Ord::max((-(-bin).floor()).integer(), 0),
                stated => stated,
            };
            let finite = start.finite() && bin.finite();
            (Samples { start, bin, count: usize::try_from(count).unwrap_or_default() }, count, finite)
        };
        let (rows, row_count, finite_rows) = axis(top, bottom, plan.sizes[0]);
        let (columns, column_count, finite_columns) = axis(left, right, plan.sizes[1]);
        let few = row_count.saturating_mul(column_count) <= MOST_SAMPLES;
        let few = few && row_count <= MOST_SAMPLES && column_count <= MOST_SAMPLES;
        call.require("C6", few && finite_rows && finite_columns, || {
            format!("rois[{position}] is no part of a map that is sampled at {MOST_SAMPLES} places an element, or fewer")
        })?;
        Ok([rows, columns])
    }

    fn eval_as<T: Real + Number>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let call = &inputs.call;
        let (plan, dims) = (Self::plan(call)?, Self::dims(call)?);
        let sizes: Vec<usize> = dims.iter().filter_map(Dim::fixed).collect();
        let &[images, channels, height, width] = inputs.get(0)?.sizes() else {
            return Err(call.broken("C2", "x has 4 axes"));
        };
        let (x, rois, batches) =
            (inputs.elements::<T>(0)?, inputs.elements::<T>(1)?, inputs.elements::<i64>(2)?);
        let mut y = call.room(&sizes)?;
        for (position, (roi, &batch)) in rois.chunks(4).zip(batches).enumerate() {
            let image = usize::try_from(batch).ok().filter(|&image| image < images);
            let image = image.ok_or_else(|| {
                let place = at("batch_indices", position, &[batches.len()]);
                call.broken("C5", format!("{place} is {batch}, not from 0 and below {images}"))
            })?;
            let [rows, columns] = Self::samples(call, &plan, position, roi)?;
            for channel in 0..channels {
                let start = (image * channels + channel) * height * width;
                let map = x.get(start..start + height * width).unwrap_or_default();
                for row in 0..plan.sizes[0] {
                    for column in 0..plan.sizes[1] {
                        y.push(
                            element(map, [height, width], &plan, [(&rows, row), (&columns, column)])
                                .canonical(),
                        );
                    }
                }
            }
        }
        call.result(&sizes, y)
    }
}

/// One element of a result.
fn element<T: Real + Number>(
    map: &[T],
    [height, width]: [usize; 2],
    plan: &Plan,
    [(rows, row), (columns, column)]: [(&Samples<T>, usize); 2],
) -> T {
    let mut all: Option<T> = None;
    for at_row in 0..rows.count {
        let around_row = rows.around(row, at_row, height);
        for at_column in 0..columns.count {
            let around = around_row.zip(columns.around(column, at_column, width));
            let parts = around.map_or([T::default(); 4], |(([top, bottom], down), ([left, right], over))| {
                let (up, back) = (T::from(1.0) - down, T::from(1.0) - over);
                let value =
                    |row: usize, column: usize| map.get(row * width + column).copied().unwrap_or_default();
                [
                    up * back * value(top, left),
                    up * over * value(top, right),
                    down * back * value(bottom, left),
                    down * over * value(bottom, right),
                ]
            });
            let [a, b, c, d] = parts;
            all = Some(if plan.largest {
                let here = Number::max(Number::max(a, b), Number::max(c, d));
                all.map_or(here, |all| Number::max(all, here))
            } else {
                all.unwrap_or_default() + (a + b + c + d)
            });
        }
    }
    let all = all.unwrap_or_default();
    if plan.largest { all } else { all / T::from((rows.count * columns.count).max(1) as f32) }
}

impl Operator for RoiAlign {
    fn schema(&self) -> Schema {
        Schema::new(
            "roi_align",
            "`y[r, c, i, j]` is the mean, or with the `mode` \"max\" the largest, of samples of \
             `x[batch_indices[r], c]`. Part r of a map has the corners `rois[r] = [left, top, right, bottom]`, times \
             `spatial_scale`, and less 1/2 with `half_pixel`; it is cut into the `sizes` of y, and each piece is sampled \
             at `sampling_ratio` evenly spaced places on each axis, or where that is 0 at as many as it is long, rounded \
             up. Without `half_pixel` a part is at least 1 long. For x `[N, C, H, W]`, rois `[R, 4]` and batch_indices \
             `[R]`, y is `[R, C, sizes[0], sizes[1]]`.\n\n\
             A sample is the sum of the four elements around it, weighted by how near they are: the first ones, up to 1 \
             before x, and the last ones by themselves; 0 further outside. The largest is that of the weighted elements, \
             not of their sums. Each step is rounded; sums go in the order of rows, then columns.\n\n\
             * C0: `sizes` is 2 sizes from 1.\n\
             * C1: x and rois are plain and stored alike, as f32 or f64, batch_indices is i64.\n\
             * C2: the operands have these axes, and H and W are not 0.\n\
             * C3: `mode` is \"avg\" or \"max\".\n\
             * C4: `sampling_ratio` is 0 to 1024.\n\
             * C5 (when it runs): the elements of batch_indices are from 0 and below N.\n\
             * C6 (when it runs): the elements of rois are finite, and call for no more than 2^20 samples of one element.",
        )
        .operand("x")
        .operand("rois")
        .operand("batch_indices")
        .required_attr("sizes", AttrKind::Ints)
        .attr("mode", "avg")
        .attr("half_pixel", true)
        .attr("sampling_ratio", 0i64)
        .attr("spatial_scale", 1.0f32)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let (x, rois, batches) = (call.ty(0)?, call.ty(1)?, call.ty(2)?);
        let plain = FLOATS.iter().any(|&float| x.grid == Grid::Plain(float));
        let plain = plain && rois.grid == x.grid && batches.grid == Grid::Plain(DType::I64);
        call.require("C1", plain, || {
            let found = [x, rois, batches].map(|ty| ty.storage().to_string()).join(", ");
            format!("x and rois are stored alike as f32 or f64, batch_indices as i64, found {found}")
        })?;
        Ok(vec![TensorType::new(x.storage(), Self::dims(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device does not choose among values")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let plan = Self::plan(&cx.call)?;
        // Sizes within 2^24.
        let [height, width] = plan.sizes.map(|size| OnnxAttr::Int(size as i64));
        let mode = if plan.half_pixel { "half_pixel" } else { "output_half_pixel" };
        let node = cx.node("RoiAlign", cx.operand_names.to_vec());
        let node = node.attr("coordinate_transformation_mode", OnnxAttr::Str(mode.to_owned()));
        let node = node.attr("mode", OnnxAttr::Str(cx.call.text("mode")?.to_owned()));
        let node = node.attr("output_height", height).attr("output_width", width);
        let node = node.attr("sampling_ratio", OnnxAttr::Int(plan.sampling_ratio));
        Ok(Lowered::Nodes(vec![node.attr("spatial_scale", OnnxAttr::Float(plan.spatial_scale))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        const OLD: &[&str] = &["mode", "output_height", "output_width", "sampling_ratio", "spatial_scale"];
        const NEW: &[&str] = &[
            "coordinate_transformation_mode",
            "mode",
            "output_height",
            "output_width",
            "sampling_ratio",
            "spatial_scale",
        ];
        vec![Lift::standard("RoiAlign", [Version::new(10, 3, OLD), Version::new(16, 3, NEW)], lift_roi)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 1, 3, 4], (0..24u8).map(f32::from).collect());
        let rois = Tensor::new(&[2, 4], vec![0.0f32, 0.0, 3.0, 2.0, -1.0, 0.5, 1.5, 4.0]);
        let batches = Tensor::new(&[2], vec![1i64, 0]);
        let attrs = Attrs::new().with("sizes", vec![2, 2]);
        let largest = attrs.clone().with("mode", "max").with("half_pixel", false).with("sampling_ratio", 2);
        let operands = vec![x, rois, batches];
        vec![
            Example { attrs, operands: operands.clone() },
            Example { attrs: largest.with("spatial_scale", 0.5f32), operands },
        ]
    }
}

fn lift_roi(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let operands = [cx.operand(0)?, cx.operand(1)?, cx.operand(2)?];
    // Older versions do not move places to the centers of elements.
    let default = if cx.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match cx.opt_text("coordinate_transformation_mode")?.unwrap_or(default) {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return Err(cx.invalid(format!("`coordinate_transformation_mode` is `{other}`"))),
    };
    let scale = cx.float("spatial_scale", 1.0)?;
    if !scale.is_finite() {
        return Err(cx.invalid(format!("`spatial_scale` is {scale}")));
    }
    let attrs = Attrs::new()
        .with("sizes", vec![cx.int("output_height", 1)?, cx.int("output_width", 1)?])
        .with("mode", cx.opt_text("mode")?.unwrap_or("avg"))
        .with("half_pixel", half_pixel)
        .with("sampling_ratio", cx.int("sampling_ratio", 0)?)
        .with("spatial_scale", scale);
    Ok(vec![cx.op("roi_align", attrs, &operands)?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn to(sizes: &[i64]) -> Attrs {
        Attrs::new().with("sizes", sizes)
    }

    #[test]
    fn constraints() {
        let (x, rois, batches) = ("f32[N, C, H, 4]", "f32[R, 4]", "i64[R]");
        check_labels(
            "roi_align",
            &[
                ("C0", to(&[2]), &[x, rois, batches]),
                ("C0", to(&[2, 0]), &[x, rois, batches]),
                ("C1", to(&[2, 2]), &[x, "f64[R, 4]", batches]),
                ("C1", to(&[2, 2]), &[x, rois, "i32[R]"]),
                ("C2", to(&[2, 2]), &["f32[N, C, 0, 4]", rois, batches]),
                ("C2", to(&[2, 2]), &[x, "f32[R, 5]", batches]),
                ("C2", to(&[2, 2]), &[x, rois, "i64[3]"]),
                ("C3", to(&[2, 2]).with("mode", "sum"), &[x, rois, batches]),
                ("C4", to(&[2, 2]).with("sampling_ratio", -1), &[x, rois, batches]),
            ],
        );
        assert_eq!(shape("roi_align", to(&[2, 3]), &[x, rois, batches]), "f32[R, C, 2, 3]");
    }

    fn aligned(attrs: Attrs, roi: [f32; 4], batch: i64) -> Result<Vec<f32>, OpError> {
        let x = tensor(&[2, 1, 2, 2], (1..9u8).map(f32::from).collect::<Vec<_>>());
        let operands = [x, tensor(&[1, 4], roi), tensor(&[1], [batch])];
        let y = eval("roi_align", attrs.clone(), &operands)?;
        let y = y.elements::<f32>().unwrap().to_vec();
        assert_eq!(read_back("roi_align", attrs, &operands).elements::<f32>().unwrap(), y);
        Ok(y)
    }

    #[test]
    fn by_hand() {
        // Pieces whose centers are those of elements.
        assert_eq!(aligned(to(&[2, 2]), [0.0, 0.0, 2.0, 2.0], 1), Ok(vec![5.0, 6.0, 7.0, 8.0]));
        assert_eq!(aligned(to(&[1, 1]), [0.0, 0.0, 2.0, 2.0], 0), Ok(vec![2.5]));
        let scaled = to(&[1, 2]).with("spatial_scale", 0.5f32);
        assert_eq!(aligned(scaled, [0.0, 0.0, 4.0, 2.0], 0), Ok(vec![1.0, 2.0]));
        // From the centers themselves.
        let centers = to(&[1, 1]).with("half_pixel", false).with("sampling_ratio", 1);
        assert_eq!(aligned(centers.clone(), [0.0, 0.0, 1.0, 1.0], 0), Ok(vec![2.5]));
        assert_eq!(aligned(centers.clone().with("mode", "max"), [0.0, 0.0, 1.0, 1.0], 0), Ok(vec![1.0]));
        // As long as an element; before the first one, and further.
        assert_eq!(aligned(centers.clone(), [-1.0, -1.0, -1.0, -1.0], 0), Ok(vec![1.0]));
        assert_eq!(aligned(centers, [-2.0, -2.0, -2.0, -2.0], 0), Ok(vec![0.0]));
        // Of a part without extent there are no samples.
        assert_eq!(aligned(to(&[1, 1]), [1.0, 1.0, 1.0, 0.0], 0), Ok(vec![0.0]));
        for batch in [-1, 2, i64::MAX] {
            assert_eq!(broken(aligned(to(&[1, 1]), [0.0, 0.0, 2.0, 2.0], batch)), "C5");
        }
        for end in [f32::NAN, f32::INFINITY, 1e30, 1e6] {
            assert_eq!(broken(aligned(to(&[1, 1]), [0.0, 0.0, end, 2e6], 0)), "C6");
        }
    }

    #[test]
    fn older_versions_sample_elsewhere() {
        let lift = |opset: i64, attrs: &[(&str, OnnxAttr)]| {
            let operands = ["f32[N, 1, 2, 2]", "f32[R, 4]", "i64[R]"].map(|text| Operand::Typed(ty(text)));
            let (graph, y) = lift(&onnx("RoiAlign", attrs), opset, &operands)?;
            let crate::ir::Kind::Op { attrs, .. } = &graph.node(y.node).kind else { panic!("no operator") };
            Ok(attrs.get_bool("half_pixel").unwrap())
        };
        let mode = |text: &str| [("coordinate_transformation_mode", OnnxAttr::Str(text.to_owned()))];
        assert_eq!([lift(10, &[]), lift(16, &[])], [Ok(false), Ok(true)]);
        assert_eq!(lift(22, &mode("output_half_pixel")), Ok(false));
        let wrong: Result<bool, OpError> = lift(22, &mode("asymmetric"));
        assert!(matches!(wrong, Err(OpError::Invalid { .. })));
        assert!(matches!(lift(10, &mode("half_pixel")), Err(OpError::AttrOfOtherVersion { .. })));
    }
}
