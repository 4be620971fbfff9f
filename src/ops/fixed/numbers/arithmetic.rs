//! Element-wise arithmetic and comparisons (fixed-point §1.5).

use std::cmp::Ordering;

use super::{At, Failure, ONE, Operation, Outcome, TWO, X, number, sample, stretched, with_int};
use crate::ir::{AttrKind, Attrs};
use crate::ops::Schema;
use crate::ops::fixed::body::{Integers, Interval};
use crate::ops::fixed::operator::Layout;
use crate::tensor::Tensor;
use crate::tensor::fixed::{FixedPoint, QFloat, QTensor};

fn number_attr(schema: Schema) -> Schema {
    schema.required_attr("number", AttrKind::Int)
}

fn minus(a: Interval, b: Interval) -> Interval {
    a.plus(Interval { low: -b.high, high: -b.low })
}

pub(super) const ROWS: &[Operation] = &[
    Operation {
        name: "fixed_abs",
        doc: "`y = saturate(|x|)`.",
        apply: |at| at.map(FixedPoint::abs),
        emit: |at| Ok(at.body.absolute(&at.x[0].clone())),
        ..ONE
    },
    Operation {
        name: "fixed_sign",
        doc: "`y = -1`, 0 or 1 as x is below, at or above 0, without frac bits.",
        apply: |at| at.map(FixedPoint::sign),
        emit: |at| Ok(Integers { bound: Interval { low: -1, high: 1 }, ..at.plain("Sign", |x, _| x)? }),
        ..ONE
    },
    Operation {
        name: "fixed_zeros_like",
        doc: "`y = 0` everywhere, on the grid of x.",
        apply: |at| at.map(FixedPoint::zeros_like),
        emit: |at| {
            let (x, zero) = (at.same()?, at.body.number(0.0));
            let name = at.body.op("Mul", &[&x.name, &zero]);
            Ok(Integers { name, bound: Interval { low: 0, high: 0 }, ..x })
        },
        ..ONE
    },
    Operation {
        name: "fixed_pow",
        doc: "`y = x^exponent`, for an `exponent` of 0, which gives ones without frac bits, or 1.",
        attrs: |schema| schema.required_attr("exponent", AttrKind::Int),
        apply: |at| {
            let exponent = number(at.call, "exponent")?;
            let exponent =
                u32::try_from(exponent).map_err(|_| at.call.broken("C2", "`exponent` is negative"))?;
            at.map(|x| x.pow(exponent))
        },
        emit: |at| match at.call.int("exponent")? {
            0 => {
                let (x, zero, one) = (at.same()?, at.body.number(0.0), at.body.number(1.0));
                let zeros = at.body.op("Mul", &[&x.name, &zero]);
                let name = at.body.op("Add", &[&zeros, &one]);
                Ok(Integers { name, bound: Interval { low: 1, high: 1 }, ..x })
            }
            _ => at.same(),
        },
        example: || with_int("exponent", 0),
        ..ONE
    },
    Operation {
        name: "fixed_add_int",
        doc: "`y = saturate(x + n)` on the grid of x, for `n = half_even(number * 2^frac bits of x)` of 32 value bits.",
        attrs: number_attr,
        apply: |at| {
            let number = at.number("number")?;
            at.map(|x| x.add_int(number))
        },
        emit: |at| at.with_number("Add", number(at.call, "number")?, Interval::plus),
        example: || with_int("number", 3),
        ..ONE
    },
    Operation {
        name: "fixed_sub_int",
        doc: "`y = saturate(x - n)` on the grid of x, for `n = half_even(number * 2^frac bits of x)` of 32 value bits.",
        attrs: number_attr,
        apply: |at| {
            let number = at.number("number")?;
            at.map(|x| x.sub_int(number))
        },
        emit: |at| at.with_number("Sub", number(at.call, "number")?, minus),
        example: || with_int("number", 3),
        ..ONE
    },
    Operation {
        name: "fixed_div_int",
        doc: "`y = x / number`, rounded towards 0, on the grid of x; `number` is not 0.",
        attrs: number_attr,
        apply: |at| {
            let number = at.number("number")?;
            at.map(|x| x.divide_by_int(number))
        },
        emit: |at| at.divided_by_number(number(at.call, "number")?),
        example: || with_int("number", 2),
        ..ONE
    },
    Operation {
        name: "fixed_add",
        doc: "`y = saturate(a + b)` on the grid of a, for b of the same frac bits and scales.",
        apply: |at| at.both(FixedPoint::add, QFloat::add),
        emit: |at| at.plain("Add", Interval::plus),
        ..TWO
    },
    Operation {
        name: "fixed_sub",
        doc: "`y = saturate(a - b)` on the grid of a, for b of the same frac bits and scales.",
        apply: |at| at.both(FixedPoint::sub, QFloat::sub),
        emit: |at| at.plain("Sub", minus),
        ..TWO
    },
    Operation {
        name: "fixed_mul",
        doc: "`y = saturate(a * b)` in the value bits of a; frac bits add up. If b has scales, a has one number \
              of frac bits and at most one scale, and y has the product of both scales.",
        apply: |at| at.product(FixedPoint::multiply, QFloat::multiplied),
        emit: |at| at.plain("Mul", Interval::times),
        ..TWO
    },
    Operation {
        name: "fixed_div",
        doc: "`y = saturate(a / b)`, rounded towards 0, in the value bits and scales of a; the frac bits of b \
              are subtracted. b has no scales, and if a has some, one number of frac bits. A 0 in b has no \
              quotient: of a constant, that is told when the graph is read, of another when it runs.",
        attrs: |schema| schema.divisor(1),
        apply: |at| {
            let divisor = at.fixed(1)?;
            Ok(match at.numbers(0)? {
                QTensor::Fixed(x) => x.divide(divisor)?.into(),
                QTensor::Float(x) => x.divide(divisor)?.into(),
            })
        },
        emit: |at| at.quotient(),
        ..TWO
    },
    Operation {
        name: "fixed_maximum",
        doc: "`y = max(a, b)` in the value bits of a or of b, whichever are more, for operands of the same frac \
              bits and scales.",
        apply: |at| at.both(FixedPoint::maximum, QFloat::maximum),
        emit: |at| at.plain("Max", Interval::union),
        ..TWO
    },
    Operation {
        name: "fixed_clip",
        doc: "`y = max(min(x, high), low)` on the grid of x, for low and high of the same frac bits and scales.",
        operands: &[X, ("low", Layout::Same), ("high", Layout::Same)],
        shape: stretched,
        apply: |at| match (at.numbers(0)?, at.numbers(1)?, at.numbers(2)?) {
            (QTensor::Float(x), QTensor::Float(low), QTensor::Float(high)) => Ok(x.clip(low, high)?.into()),
            _ => Ok(at.fixed(0)?.clip(at.fixed(1)?, at.fixed(2)?)?.into()),
        },
        emit: |at| {
            let [x, low, high] = &at.x[..] else { return at.same() };
            let ([x, low, high], rest) = ([x, low, high].map(|x| x.name.clone()), at.x[0].clone());
            let bound = at.x.iter().map(|x| x.bound).fold(rest.bound, Interval::union);
            let below = at.body.op("Min", &[&x, &high]);
            let name = at.body.op("Max", &[&below, &low]);
            Ok(Integers { name, bound, ..rest })
        },
        example: || (Attrs::new(), vec![sample(&[2, 3]), Tensor::scalar(-3i8), Tensor::scalar(4i8)]),
        ..ONE
    },
];

/// What a comparison of the numbers gives.
fn truths(at: &At, holds: fn(Ordering) -> bool) -> Result<Outcome, Failure> {
    let (sizes, orders) = at.fixed(0)?.compare(at.fixed(1)?)?;
    Ok(Outcome::Truths(sizes, orders.into_iter().map(holds).collect()))
}

pub(super) const COMPARISONS: &[Operation] = &[
    Operation {
        name: "fixed_equal",
        doc: "`y = (a == b)` for the numbers that a and b stand for, on whatever grids without scales; y is bool.",
        apply: |at| truths(at, Ordering::is_eq),
        emit: |at| at.compared("Equal", false),
        ..TWO
    },
    Operation {
        name: "fixed_not_equal",
        doc: "`y = (a != b)` as `fixed_equal` compares a and b.",
        apply: |at| truths(at, Ordering::is_ne),
        emit: |at| at.compared("Equal", true),
        ..TWO
    },
    Operation {
        name: "fixed_less",
        doc: "`y = (a < b)` as `fixed_equal` compares a and b.",
        apply: |at| truths(at, Ordering::is_lt),
        emit: |at| at.compared("Less", false),
        ..TWO
    },
    Operation {
        name: "fixed_less_or_equal",
        doc: "`y = (a <= b)` as `fixed_equal` compares a and b.",
        apply: |at| truths(at, Ordering::is_le),
        emit: |at| at.compared("LessOrEqual", false),
        ..TWO
    },
    Operation {
        name: "fixed_greater",
        doc: "`y = (a > b)` as `fixed_equal` compares a and b.",
        apply: |at| truths(at, Ordering::is_gt),
        emit: |at| at.compared("Greater", false),
        ..TWO
    },
    Operation {
        name: "fixed_greater_or_equal",
        doc: "`y = (a >= b)` as `fixed_equal` compares a and b.",
        apply: |at| truths(at, Ordering::is_ge),
        emit: |at| at.compared("GreaterOrEqual", false),
        ..TWO
    },
];
