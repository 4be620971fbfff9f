//! Products with a sum (fixed-point §1.6).

use super::{Operation, Sample, TWO, sample};
use crate::ir::Attrs;
use crate::ops::fixed::operator::{Layer, Layout, pads};
use crate::ops::fixed::{conv, transposed};
use crate::ops::{Call, OpError};
use crate::tensor::fixed::QFloat;
use crate::tensor::{Dim, Shape, broadcast};

/// The shape of a product of matrices.
fn matrices(call: &Call) -> Result<Shape, OpError> {
    let split = |position: usize, flag: &str| -> Result<(Shape, Dim, Dim), OpError> {
        let shape = &call.ty(position)?.shape;
        let name = || call.schema.operand_name(position);
        call.require("C3", shape.rank() >= 2, || format!("{} of shape {shape} is no matrix", name()))?;
        let (batch, matrix) = (Shape::new(shape.iter().take(shape.rank() - 2).cloned()), shape.rank() - 2);
        let (rows, columns) = (shape[matrix].clone(), shape[matrix + 1].clone());
        Ok(if call.flag(flag)? { (batch, columns, rows) } else { (batch, rows, columns) })
    };
    let (a, rows, inner) = split(0, "transpose_a")?;
    let (b, other, columns) = split(1, "transpose_b")?;
    call.require("C3", inner == other, || format!("a sum over {inner} and {other} elements"))?;
    let batch = broadcast(&a, &b).ok_or_else(|| call.broken("C3", format!("{a} and {b} matrices")))?;
    if let Some(axis) = call.ty(1)?.grid.axis() {
        let rank = call.ty(1)?.shape.rank();
        let summed = rank - if call.flag("transpose_b")? { 1 } else { 2 };
        call.require("C4", axis != summed || call.flag("transpose_b")?, || {
            format!("the grid of b lies along axis {axis}, which is summed over")
        })?;
    }
    Ok(Shape::new(batch.into_dims().into_iter().chain([rows, columns])))
}

pub(super) const ROWS: &[Operation] = &[
    Operation {
        name: "fixed_matmul",
        doc: "`y = saturate(sum_k a[…, i, k] * b[…, k, j])` in the value bits of a, saturated once; the last \
              two axes of a are swapped first with `transpose_a`, those of b with `transpose_b`. \
              Frac bits add up, and scales are as in `fixed_mul`. A side has one number of frac bits where the \
              sum runs over its last axis.",
        constraints: "* C4: the grid of b does not lie along the axis that is summed over.",
        attrs: |schema| schema.attr("transpose_a", false).attr("transpose_b", false),
        shape: matrices,
        sample: Sample::Matrices,
        apply: |at| {
            let (a, b) = (at.call.flag("transpose_a")?, at.call.flag("transpose_b")?);
            at.product(|x, y| x.matmul(y, a, b), |x, y| QFloat::matmul(x, y, a, b))
        },
        emit: |at| at.matrices(),
        macs: |call| {
            let elements = matrices(call).map_or(0, |shape| {
                sizes(&shape.into_dims()[1.min(call.ty(0).map_or(0, |a| a.shape.rank() - 2))..])
            });
            let inner = call.opt_ty(1).map_or(1, |b| {
                let at = b.shape.rank().saturating_sub(if call.flag("transpose_b").unwrap_or(false) {
                    1
                } else {
                    2
                });
                b.shape.get(at).and_then(Dim::fixed).unwrap_or(1) as u64
            });
            elements.saturating_mul(inner)
        },
        example: || (Attrs::new(), vec![sample(&[2, 3]), sample(&[3, 2])]),
        ..TWO
    },
    Operation {
        name: "fixed_conv2d",
        doc: "`conv2d` of one group, for x `[N, C, H, W]` of one number of frac bits and kernel `[F, C, R, S]`, \
              with `strides`, `dilations` and `pads` (top, left, bottom, right). y has the value bits of x, \
              in which each sum saturates once; frac bits add up, and scales are as in `fixed_mul`.",
        constraints: "* C0: sizes are as `conv2d` wants them.",
        operands: &[("x", Layout::Map), ("kernel", Layout::Kernel)],
        attrs: conv::convolution_attrs,
        shape: |call| conv::Conv2DLayer.shape(call),
        sample: Sample::Maps,
        apply: |at| {
            let (stride, padding) = (conv::stride(at.call)?, pads(at.call)?);
            at.product(
                |x, k| x.convolution(k, stride, padding),
                |x, k| QFloat::convolution(x, k, stride, padding),
            )
        },
        emit: |at| {
            let taps = at.body.size(1, 1)? * at.body.size(1, 2)? * at.body.size(1, 3)?;
            let (x, kernel, attrs) = (at.x[0].clone(), at.x[1].clone(), conv::geometry(at.call)?);
            at.body.convolution(&x, &kernel, taps, &attrs, x.value_bits)
        },
        macs: |call| conv::products(call, 1, call.sizes("pads", 0).unwrap_or_default()),
        example: || (Attrs::new(), vec![sample(&[1, 2, 3, 3]), sample(&[3, 2, 2, 2])]),
    },
    Operation {
        name: "fixed_depthwise_conv2d",
        doc: "`conv2d` with a group for each channel, for x `[N, C, H, W]` and kernel `[C, 1, R, S]`, otherwise \
              as `fixed_conv2d`, with `strides`, `dilations` and `pads`; \
              x may have frac bits for each channel, and no scales.",
        constraints: "* C0: sizes are as `conv2d` wants them.",
        operands: &[("x", Layout::Map), ("kernel", Layout::Depthwise)],
        attrs: conv::convolution_attrs,
        shape: |call| conv::DepthwiseConv2DLayer.shape(call),
        sample: Sample::Maps,
        apply: |at| {
            let (stride, padding) = (conv::stride(at.call)?, pads(at.call)?);
            let x = at.fixed(0)?;
            at.product(
                |x, k| x.depthwise_convolution(k, stride, padding),
                |_, k| QFloat::depthwise_convolution(x, k, stride, padding),
            )
        },
        emit: |at| {
            let (x, kernel) = (at.x[0].clone(), at.x[1].clone());
            conv::depthwise(&mut at.body, &x, &kernel, x.value_bits)
        },
        macs: |call| conv::products(call, 1, call.sizes("pads", 0).unwrap_or_default()),
        example: || (Attrs::new(), vec![sample(&[1, 2, 3, 3]), sample(&[2, 1, 2, 2])]),
    },
    Operation {
        name: "fixed_conv2d_transpose",
        doc: "`conv2d_transpose` of one group, for x `[N, C, H, W]` of one number of frac bits and without \
              scales, and kernel `[C, F, R, S]`, with `strides`, `pads` and `output_padding`, otherwise as \
              `fixed_conv2d`.",
        constraints: "* C0: sizes are as `conv2d_transpose` wants them.",
        operands: &[("x", Layout::Map), ("kernel", Layout::Transposed)],
        attrs: transposed::transposed_attrs,
        shape: |call| transposed::Conv2DTransposeLayer.shape(call),
        sample: Sample::Maps,
        apply: |at| {
            let geometry = transposed::transposed(at.call)?;
            let (x, kernel) = (at.fixed(0)?, at.numbers(1)?);
            let size =
                geometry.of_map("fixed_conv2d_transpose", &x.clone().into(), kernel.fixed().sizes())?;
            let (strides, padding) = (geometry.strides, geometry.padding);
            at.product(
                |x, k| x.transposed_convolution(k, strides, padding, size),
                |_, k| QFloat::transposed_convolution(x, k, strides, padding, size),
            )
        },
        emit: |at| {
            let (x, kernel) = (at.x[0].clone(), at.x[1].clone());
            let bits = x.value_bits;
            transposed::scattered(&mut at.body, x, kernel, bits, false)
        },
        macs: transposed::products,
        example: || (Attrs::new(), vec![sample(&[1, 2, 3, 3]), sample(&[2, 3, 2, 2])]),
    },
];

/// The product of the sizes that are known.
fn sizes(dims: &[Dim]) -> u64 {
    dims.iter().filter_map(Dim::fixed).fold(1u64, |product, size| product.saturating_mul(size as u64))
}
