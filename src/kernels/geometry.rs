//! What a kernel is asked to do: sizes, strides and padding, checked once.

use super::Error;

/// A two-dimensional convolution (cross-correlation).
///
/// The input is `[batch, channels, height, width]`, the weights are
/// `[filters, channels / group, kernel[0], kernel[1]]`, the bias is `[filters]` and the output
/// `[batch, filters, out_size[0], out_size[1]]`, all row-major. Depthwise is `group == channels`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2d {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub filters: usize,
    /// Rows, columns. At least 1, as are strides and dilations.
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Divides `channels` and `filters`.
    pub group: usize,
}

/// A two-dimensional transposed convolution: what a [`Conv2d`] does to gradients.
///
/// The input is `[batch, channels, height, width]`, the weights are
/// `[channels, filters / group, kernel[0], kernel[1]]`, the bias is `[filters]` and the output
/// `[batch, filters, out_size[0], out_size[1]]`, all row-major. Depthwise is `group == channels` with
/// as many filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose2d {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub filters: usize,
    /// Rows, columns. At least 1, as are strides and dilations.
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Cut off at the top, left, bottom, right.
    pub pads: [usize; 4],
    /// Added at the bottom, right.
    pub output_padding: [usize; 2],
    /// Divides `channels` and `filters`.
    pub group: usize,
}

/// A two-dimensional pooling from `[batch, channels, height, width]` to
/// `[batch, channels, out_size[0], out_size[1]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool2d {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Rows, columns. At least 1, as are strides and dilations.
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Round the output size up instead of down; the last window may then reach past the padding.
    pub ceil_mode: bool,
}

impl Conv2d {
    /// Output rows and columns, `floor((size + pads - extent) / stride) + 1` with
    /// `extent = (kernel - 1) * dilation + 1` (ONNX Conv). `None` where the kernel does not fit,
    /// a kernel, stride, dilation or group is 0, the group does not divide, or a size overflows.
    pub fn out_size(&self) -> Option<[usize; 2]> {
        self.plan().ok().map(|plan| plan.axes.map(|axis| axis.out))
    }

    pub(super) fn plan(&self) -> Result<ConvPlan, Error> {
        self.checked_plan().ok_or(Error::Geometry)
    }

    fn checked_plan(&self) -> Option<ConvPlan> {
        let axes = [0, 1].map(|i| {
            let size = [self.height, self.width][i];
            let ends = [self.pads[i], self.pads[i + 2]];
            Axis::new(size, self.kernel[i], self.strides[i], self.dilations[i], ends, false)
        });
        let [Some(rows), Some(columns)] = axes else { return None };
        let group_channels = exact_division(self.channels, self.group)?;
        let group_filters = exact_division(self.filters, self.group)?;
        let taps = self.kernel[0].checked_mul(self.kernel[1])?;
        let plan = ConvPlan {
            axes: [rows, columns],
            group: self.group,
            group_channels,
            group_filters,
            taps,
            input_plane: self.height.checked_mul(self.width)?,
            output_plane: rows.out.checked_mul(columns.out)?,
            input: product(&[self.batch, self.channels, self.height, self.width])?,
            weights: product(&[self.filters, group_channels, taps])?,
            bias: self.filters,
            output: product(&[self.batch, self.filters, rows.out, columns.out])?,
        };
        Some(plan)
    }
}

impl ConvTranspose2d {
    /// Output rows and columns, `stride * (size - 1) + extent + output_padding - pads` with
    /// `extent = (kernel - 1) * dilation + 1` (ONNX ConvTranspose). `None` where the pads leave nothing,
    /// a size, kernel, stride, dilation or group is 0, the group does not divide, or a size overflows.
    pub fn out_size(&self) -> Option<[usize; 2]> {
        self.plan().ok().map(|plan| plan.axes.map(|axis| axis.out))
    }

    pub(super) fn plan(&self) -> Result<TransposePlan, Error> {
        self.checked_plan().ok_or(Error::Geometry)
    }

    fn checked_plan(&self) -> Option<TransposePlan> {
        let axes = [0, 1].map(|i| {
            let size = [self.height, self.width][i];
            let cut = [self.pads[i], self.pads[i + 2]];
            let (stride, dilation) = (self.strides[i], self.dilations[i]);
            TransposeAxis::new(size, self.kernel[i], stride, dilation, cut, self.output_padding[i])
        });
        let [Some(rows), Some(columns)] = axes else { return None };
        let group_channels = exact_division(self.channels, self.group)?;
        let group_filters = exact_division(self.filters, self.group)?;
        let taps = self.kernel[0].checked_mul(self.kernel[1])?;
        Some(TransposePlan {
            axes: [rows, columns],
            group_channels,
            group_filters,
            taps,
            input: product(&[self.batch, self.channels, self.height, self.width])?,
            weights: product(&[self.channels, group_filters, taps])?,
            output: product(&[self.batch, self.filters, rows.out, columns.out])?,
        })
    }
}

impl Pool2d {
    /// Output rows and columns (ONNX pooling): as for a convolution, with `ceil` instead of
    /// `floor` in `ceil_mode`, where a window that would start past the input and the padding
    /// before it is left out. `None` as for [`Conv2d::out_size`].
    pub fn out_size(&self) -> Option<[usize; 2]> {
        self.plan().ok().map(|plan| plan.axes.map(|axis| axis.out))
    }

    pub(super) fn plan(&self) -> Result<PoolPlan, Error> {
        self.checked_plan().ok_or(Error::Geometry)
    }

    fn checked_plan(&self) -> Option<PoolPlan> {
        let axes = [0, 1].map(|i| {
            let size = [self.height, self.width][i];
            let ends = [self.pads[i], self.pads[i + 2]];
            Axis::new(size, self.kernel[i], self.strides[i], self.dilations[i], ends, self.ceil_mode)
        });
        let [Some(rows), Some(columns)] = axes else { return None };
        let planes = self.batch.checked_mul(self.channels)?;
        // The number of positions in a window is a divisor of averages.
        self.kernel[0].checked_mul(self.kernel[1])?;
        Some(PoolPlan {
            axes: [rows, columns],
            input_plane: self.height.checked_mul(self.width)?,
            input: product(&[planes, self.height, self.width])?,
            output: product(&[planes, rows.out, columns.out])?,
        })
    }
}

/// A [`Conv2d`] whose sizes are known to be consistent, with the element counts that follow.
pub(super) struct ConvPlan {
    pub axes: [Axis; 2],
    pub group: usize,
    pub group_channels: usize,
    pub group_filters: usize,
    /// Kernel rows times columns.
    pub taps: usize,
    pub input_plane: usize,
    pub output_plane: usize,
    pub input: usize,
    pub weights: usize,
    pub bias: usize,
    pub output: usize,
}

/// A [`ConvTranspose2d`] whose sizes are known to be consistent, with the element counts that follow.
pub(super) struct TransposePlan {
    pub axes: [TransposeAxis; 2],
    pub group_channels: usize,
    pub group_filters: usize,
    /// Kernel rows times columns.
    pub taps: usize,
    pub input: usize,
    pub weights: usize,
    pub output: usize,
}

/// One spatial axis of a [`ConvTranspose2d`]. Invariant: `size` and `out` are at least 1, and
/// `4 * (stride * size + extent + output padding)` fits in `isize`, so that coordinates computed from
/// indices in range never overflow.
#[derive(Clone, Copy)]
pub(super) struct TransposeAxis {
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Cut off before the first output.
    pub cut: usize,
    pub out: usize,
}

impl TransposeAxis {
    fn new(
        size: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        cut: [usize; 2],
        added: usize,
    ) -> Option<Self> {
        if stride == 0 || dilation == 0 {
            return None;
        }
        let extent = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
        let reach = stride.checked_mul(size)?.checked_add(extent)?.checked_add(added)?;
        isize::try_from(reach.checked_mul(4)?).ok()?;
        let whole = size.checked_sub(1)? * stride + extent + added;
        let out = whole.checked_sub(cut[0])?.checked_sub(cut[1])?;
        (out > 0).then_some(Self { size, kernel, stride, dilation, cut: cut[0], out })
    }

    /// Whether tap `t` takes part in output `o`, and the input coordinate that it reads there; `None`
    /// outside of the input.
    pub fn coordinate(&self, o: usize, t: usize) -> Option<Option<usize>> {
        let (at, back) = (o + self.cut, t * self.dilation);
        if at % self.stride != back % self.stride {
            return None;
        }
        Some(at.checked_sub(back).map(|ahead| ahead / self.stride).filter(|&at| at < self.size))
    }
}

/// A [`Pool2d`] whose sizes are known to be consistent.
pub(super) struct PoolPlan {
    pub axes: [Axis; 2],
    pub input_plane: usize,
    pub input: usize,
    pub output: usize,
}

/// One spatial axis. Invariant: `4 * (size + pads + extent)` fits in `usize`, and
/// `(out - 1) * stride <= size + pads`, so that coordinates computed from indices in range never
/// overflow.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Padding before and after.
    pub pads: [usize; 2],
    pub out: usize,
}

impl Axis {
    pub(super) fn new(
        size: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        pads: [usize; 2],
        ceil: bool,
    ) -> Option<Self> {
        if stride == 0 || dilation == 0 {
            return None;
        }
        let extent = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
        let padded = size.checked_add(pads[0])?.checked_add(pads[1])?;
        padded.checked_add(extent)?.checked_mul(4)?;
        let room = padded.checked_sub(extent)?;
        let mut out = room / stride + 1;
        if ceil {
            out = room.div_ceil(stride) + 1;
            if (out - 1) * stride >= size + pads[0] {
                out -= 1;
            }
        }
        if out == 0 {
            return None;
        }
        Some(Self { size, kernel, stride, dilation, pads, out })
    }

    /// The input coordinate that output `o` reads at tap `t`, or `None` in the padding.
    pub fn coordinate(&self, o: usize, t: usize) -> Option<usize> {
        (o * self.stride + t * self.dilation).checked_sub(self.pads[0]).filter(|&at| at < self.size)
    }

    /// The taps of output `o` that read the input rather than padding.
    pub fn inside(&self, o: usize) -> std::ops::Range<usize> {
        let start = o * self.stride;
        let first = self.pads[0].saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        let end = (self.size + self.pads[0]).saturating_sub(start).div_ceil(self.dilation);
        first..end.clamp(first, self.kernel)
    }

    /// The taps of output `o` within the input and its padding (all, but for a last window that
    /// `ceil_mode` added).
    pub fn within_padding(&self, o: usize) -> usize {
        let room = (self.size + self.pads[0] + self.pads[1]).saturating_sub(o * self.stride);
        room.div_ceil(self.dilation).min(self.kernel)
    }
}

fn exact_division(a: usize, b: usize) -> Option<usize> {
    (b != 0 && a.is_multiple_of(b)).then(|| a / b)
}

/// The product, also checked to count elements of up to 8 bytes that memory can address.
/// A zero size makes the whole product zero, however large the others are.
pub(super) fn product(sizes: &[usize]) -> Option<usize> {
    if sizes.contains(&0) {
        return Some(0);
    }
    let elements = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
    (elements <= isize::MAX as usize / 8).then_some(elements)
}
