//! What changes the grid of a tensor (fixed-point §1.4 and §2).

use super::{A, B, ONE, Operation, TWO, X, entries, sample, shape_of_x, stretched, with_entries, with_int};
use crate::ir::{AttrKind, Attrs};
use crate::ops::Schema;
use crate::ops::fixed::operator::Layout;
use crate::tensor::Tensor;
use crate::tensor::fixed::{PerChannel, QFloat, QTensor};

fn frac_attrs(schema: Schema) -> Schema {
    schema.required_attr("frac_bits", AttrKind::Ints).optional_attr("axis", AttrKind::Int)
}

fn shift_attrs(schema: Schema) -> Schema {
    schema.required_attr("shift", AttrKind::Ints).optional_attr("axis", AttrKind::Int)
}

fn bits_attr(schema: Schema) -> Schema {
    schema.optional_attr("value_bits", AttrKind::Int)
}

pub(super) const ROWS: &[Operation] = &[
    Operation {
        name: "fixed_promote",
        doc: "`y = x` in `value_bits` value bits, which are not fewer than those of x.",
        attrs: |schema| schema.required_attr("value_bits", AttrKind::Int),
        apply: |at| at.required_bits("value_bits").and_then(|bits| at.map(|x| x.promote(bits))),
        example: || with_int("value_bits", 12),
        ..ONE
    },
    Operation {
        name: "fixed_rescale",
        doc: "`y = saturate(floor(x * 2^s + 1/2))` with `s = frac_bits - frac bits of x`, on the grid of \
              `frac_bits` and `value_bits`, or the value bits of x. \
              `s` is less than the value bits of y.",
        attrs: |schema| bits_attr(frac_attrs(schema)),
        apply: |at| {
            let (frac, bits) = (at.entries("frac_bits")?, at.value_bits()?);
            at.map(|x| Ok(x.rescale(&frac, bits)?.0))
        },
        emit: |at| at.rescaled(),
        example: || with_entries("frac_bits", -1),
        ..ONE
    },
    Operation {
        name: "fixed_upscale",
        doc: "`fixed_rescale` of x to `frac_bits` that are not fewer than those of x, and `value_bits`: it \
              never rounds.",
        attrs: |schema| bits_attr(frac_attrs(schema)),
        apply: |at| {
            let (frac, bits) = (at.entries("frac_bits")?, at.value_bits()?);
            at.map(|x| Ok(x.upscale(&frac, bits)?.0))
        },
        emit: |at| at.rescaled(),
        example: || with_entries("frac_bits", 2),
        ..ONE
    },
    Operation {
        name: "fixed_downscale",
        doc: "`fixed_rescale` of x to `frac_bits` that are not more than those of x.",
        attrs: frac_attrs,
        apply: |at| {
            let frac = at.entries("frac_bits")?;
            at.map(|x| Ok(x.downscale(&frac)?.0))
        },
        emit: |at| at.rescaled(),
        example: || with_entries("frac_bits", -2),
        ..ONE
    },
    Operation {
        name: "fixed_align",
        doc: "`fixed_upscale` of a to the frac bits of a or of b, whichever are more, and `value_bits`; of b \
              only the grid is read.",
        operands: &[A, B],
        attrs: bits_attr,
        // Entries of b that do not go with a have no meaning, whatever the shapes.
        shape: |call| {
            stretched(call)?;
            Ok(call.ty(0)?.shape.clone())
        },
        apply: |at| {
            let (other, bits) = (at.fixed(1)?.clone(), at.value_bits()?);
            at.map(|x| Ok(x.align(&other, bits)?.0))
        },
        emit: |at| at.rescaled(),
        ..TWO
    },
    Operation {
        name: "fixed_expand",
        doc: "`fixed_upscale` of x to the most frac bits that any index of its axis has, in `value_bits`: one \
              number of frac bits for all.",
        attrs: |schema| schema.required_attr("value_bits", AttrKind::Int),
        apply: |at| at.required_bits("value_bits").and_then(|bits| at.map(|x| Ok(x.expand(bits)?.0))),
        emit: |at| at.rescaled(),
        example: || with_int("value_bits", 12),
        ..ONE
    },
    Operation {
        name: "fixed_shift",
        doc: "`y = saturate(floor(x * 2^shifts))` on the grid of x, for shifts that are broadcast to x.",
        constraints: "* C4: shifts are plain integers.",
        operands: &[X, ("shifts", Layout::Same)],
        shape: |call| {
            let shifts = call.ty(1)?;
            call.require("C4", shifts.grid.is_plain(), || "shifts are on a grid".to_owned())?;
            shape_of_x(call)
        },
        apply: |at| {
            let shifts = at.fixed(1)?.clone();
            // Beyond 32 bits everything saturates, or nothing is left.
            let by: Vec<i32> =
                shifts.elements().iter().map(|&by| by.clamp(-(1 << 30), 1 << 30) as i32).collect();
            at.map(|x| x.shift(shifts.sizes(), &by))
        },
        emit: |at| at.shifted_by_elements(),
        example: || (Attrs::new(), vec![sample(&[2, 3]), Tensor::vector(vec![1i32, -1, 0])]),
        ..ONE
    },
    Operation {
        name: "fixed_shift_left",
        doc: "`y = saturate(x * 2^shift)` on the grid of x; `shift` is not negative.",
        attrs: shift_attrs,
        apply: |at| {
            let shift = at.entries("shift")?;
            at.map(|x| x.times_power(&shift))
        },
        emit: |at| {
            let (shift, axis) = entries(at.call, "shift")?;
            Ok(at.shifted(0, &shift, axis))
        },
        example: || with_entries("shift", 2),
        ..ONE
    },
    Operation {
        name: "fixed_shift_right",
        doc: "`y = x` with `shift` more frac bits: each number is divided by `2^shift`, and none is rounded; \
              `shift` is not negative.",
        attrs: shift_attrs,
        apply: |at| {
            let shift = at.entries("shift")?;
            at.map(|x| x.divided_by_power(&shift))
        },
        example: || with_entries("shift", 1),
        ..ONE
    },
    Operation {
        name: "fixed_floor",
        doc: "`y = saturate(floor(x * 2^-frac bits of x))`, without frac bits.",
        apply: |at| at.map(|x| Ok(x.floor()?.0)),
        emit: |at| {
            let (shifts, axis) = (
                at.x[0].frac_bits.iter().map(|bits| bits.saturating_neg()).collect::<Vec<_>>(),
                at.x[0].axis,
            );
            Ok(at.shifted(0, &shifts, axis))
        },
        ..ONE
    },
    Operation {
        name: "fixed_div_scales",
        doc: "`y = x` with scales that are divided by `divisor`, each rounded to f32; an x without scales has \
              the scale 1.",
        attrs: |schema| schema.required_attr("divisor", AttrKind::Float),
        constraints: "* C4: `divisor` is finite and above 0.",
        apply: |at| {
            let divisor = at.call.float("divisor")?;
            at.call
                .require("C4", divisor.is_finite() && divisor > 0.0, || format!("`divisor` is {divisor}"))?;
            Ok(match at.numbers(0)? {
                QTensor::Fixed(x) => QFloat::new(x.clone(), PerChannel::tensor(1.0))?.divide_scales(divisor),
                QTensor::Float(x) => x.divide_scales(divisor),
            }
            .into())
        },
        example: || (Attrs::new().with("divisor", 4f32), vec![sample(&[2, 3])]),
        ..ONE
    },
    Operation {
        name: "fixed_fold_scales",
        doc: "`y = saturate(x * q)` without scales, for scales that become numbers of `scale_bits` bits: `q = \
              saturate(half_even(scale * 2^f))` with `f = scale_bits - ceil(log2(scale))`, \
              which are added to the frac bits. An x without scales is itself.",
        attrs: |schema| schema.attr("scale_bits", 8i64),
        apply: |at| {
            let bits = at.required_bits("scale_bits")?;
            Ok(match at.numbers(0)? {
                QTensor::Fixed(x) => x.clone(),
                QTensor::Float(x) => x.to_fixed_point(bits)?,
            }
            .into())
        },
        emit: |at| {
            let bits = u32::try_from(at.call.int("scale_bits")?).unwrap_or(0);
            at.folded(bits)
        },
        ..ONE
    },
];
