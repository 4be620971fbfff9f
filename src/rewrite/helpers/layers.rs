//! Helpers on grids and ranges, by which declared layers compute their parameters: the roundings of
//! the hardware's own layers (`tensor::round`).

use std::sync::Arc;

use super::{Args, Helper, floats};
use crate::ir::Attr;
use crate::rewrite::expr::{Data, Kind};
use crate::tensor::round::{self, FixedFormat};
use crate::tensor::{AffineGrid, Element, Tensor};

fn tensor<T: Element>(sizes: &[usize], elements: Vec<T>) -> Option<Data> {
    Some(Data::Tensor(Arc::new(Tensor::new(sizes, elements)?)))
}

fn vector<T: Element>(elements: Vec<T>) -> Option<Data> {
    Some(Data::Tensor(Arc::new(Tensor::vector(elements))))
}

fn grid(args: &Args) -> Option<&AffineGrid> {
    args.fact(0)?.ty.grid.affine()
}

/// The entries of two lists together; a list of one entry stands for as many as the other has.
fn pairs(a: &[f64], b: &[f64]) -> Option<Vec<(f64, f64)>> {
    let count = a.len().max(b.len());
    let fits = |list: &[f64]| list.len() == count || list.len() == 1;
    let entry = |list: &[f64], at: usize| list.get(if list.len() == 1 { 0 } else { at }).copied();
    (fits(a) && fits(b))
        .then(|| (0..count).map(|at| Some((entry(a, at)?, entry(b, at)?))).collect())
        .flatten()
}

/// The largest magnitude of each entry of a range.
fn largest(range: &Tensor) -> Option<Vec<f64>> {
    let &[2, entries] = range.sizes() else { return None };
    let ends = floats(range)?;
    let (lowest, highest) = ends.split_at_checked(entries)?;
    Some(lowest.iter().zip(highest).map(|(l, h)| l.abs().max(h.abs())).collect())
}

/// A kernel's integers, filter by filter, and the scale of each filter.
fn kernel(args: &Args) -> Option<(Vec<i8>, Vec<f64>)> {
    let (kernel, scales) = (args.tensor(0)?, floats(args.tensor(1)?)?);
    let elements = floats(kernel)?;
    let &[filters, inputs, ..] = kernel.sizes() else { return None };
    let taps = elements.len().checked_div(filters)?;
    let map = taps.checked_div(inputs)?.max(1);
    // The scale of what an element meets: along axis 1, of which flattening may have made more.
    let scale = |filter: usize, at: usize| match scales.len() {
        1 => scales.first(),
        entries if inputs == 1 && entries == filters => scales.get(filter),
        entries if inputs % entries == 0 => scales.get(at / map / (inputs / entries)),
        _ => None,
    };
    let (mut integers, mut of_filters) = (Vec::with_capacity(elements.len()), Vec::new());
    for (f, filter) in elements.chunks(taps.max(1)).enumerate() {
        let scaled: Vec<f64> =
            filter.iter().enumerate().map(|(at, w)| Some(w / scale(f, at)?)).collect::<Option<_>>()?;
        let (quantized, scale) = round::qfloat(&scaled)?;
        integers.extend(quantized);
        of_filters.push(scale);
    }
    Some((integers, of_filters))
}

/// Multipliers of 8 bits and exponents for `to / from`.
fn rescaling(args: &Args) -> Option<Vec<(u8, i32)>> {
    let format = FixedFormat { bits: 8, signed: false, clamp: false, shift6: true };
    pairs(&floats(args.tensor(0)?)?, &floats(args.tensor(1)?)?)?
        .into_iter()
        .map(|(from, to)| {
            let fixed = round::fixed(to / from, format)?;
            Some((u8::try_from(fixed.mantissa).ok()?, fixed.frac))
        })
        .collect()
}

pub const COARSE: Helper = Helper {
    name: "coarse",
    params: &[Kind::Tensor, Kind::Tensor],
    result: Kind::Tensor,
    doc: "reals as i32 on grids of so many integers per real, one or one for each, with a mantissa of 7 bits and a \
          sign as biases have it; none if one does not fit",
    run: |args| {
        let (reals, scales) = (args.tensor(0)?, floats(args.tensor(1)?)?);
        let pairs = pairs(&floats(reals)?, &scales)?;
        let sizes = if pairs.len() == reals.len() { reals.sizes().to_vec() } else { vec![pairs.len()] };
        tensor(
            &sizes,
            pairs.into_iter().map(|(x, s)| round::coarse(x, s, true)).collect::<Option<Vec<i32>>>()?,
        )
    },
    explain: None,
};

pub const EXP2: Helper = Helper {
    name: "exp2",
    params: &[Kind::Float],
    result: Kind::Float,
    doc: "2 to that power, exactly; none unless it is a whole number from -126 to 127",
    run: |args| {
        let exponent = args.float(0)?;
        let whole = exponent.fract() == 0.0 && (-126.0..=127.0).contains(&exponent);
        // In the range of f32's normal numbers.
        whole.then(|| Data::Attr(Attr::Float(round::power_of_two(exponent as i32) as f32)))
    },
    explain: None,
};

pub const KERNEL_INTEGERS: Helper = Helper {
    name: "kernel_integers",
    params: &[Kind::Tensor, Kind::Tensor],
    result: Kind::Tensor,
    doc: "a kernel (filters along axis 0) as i8: divided by the scales of the operand that it meets (one, or one for \
          each index of axis 1), each filter then symmetric with 127 for its largest magnitude",
    run: |args| tensor(args.tensor(0)?.sizes(), kernel(args)?.0),
    explain: None,
};

pub const KERNEL_SCALES: Helper = Helper {
    name: "kernel_scales",
    params: &[Kind::Tensor, Kind::Tensor],
    result: Kind::Tensor,
    doc: "integers per real of what those integers accumulate to, one for each filter",
    run: |args| vector(kernel(args)?.1),
    explain: None,
};

pub const LOG2: Helper = Helper {
    name: "log2",
    params: &[Kind::Float],
    result: Kind::Int,
    doc: "the exponent of a power of two; none for other numbers",
    run: |args| {
        let number = f64::from(args.float(0)?);
        let exponent = (number > 0.0 && number.is_finite()).then(|| round::exponent_of(number))??;
        Some(Data::Attr(Attr::Int(exponent.into())))
    },
    explain: None,
};

pub const OUTPUT_SCALE: Helper = Helper {
    name: "output_scale",
    params: &[Kind::Tensor, Kind::Bool],
    result: Kind::Tensor,
    doc: "integers per real for a result of 8 bits with that `range`: 127 for its largest magnitude, or with true the \
          power of two that additions need; one entry or one for each channel",
    run: |args| {
        let Attr::Bool(power) = args.attr(1)? else { return None };
        let power_format = FixedFormat { bits: 8, signed: true, clamp: true, shift6: true };
        let scale = |&largest: &f64| {
            // Ranges are f32, and so is this arithmetic.
            let largest = largest as f32;
            match power {
                true => Some(round::power_of_two(round::fixed(largest, power_format)?.frac)),
                false => Some(f64::from(127.0 / largest.max(1e-7))),
            }
        };
        vector(largest(args.tensor(0)?)?.iter().map(scale).collect::<Option<Vec<f64>>>()?)
    },
    explain: None,
};

pub const RANGE_MAX: Helper = Helper {
    name: "range_max",
    params: &[Kind::Tensor],
    result: Kind::Tensor,
    doc: "the largest magnitude of a `range`, one entry or one for each channel",
    run: |args| vector(largest(args.tensor(0)?)?),
    explain: None,
};

pub const RESCALE_MULTIPLIER: Helper = Helper {
    name: "rescale_multiplier",
    params: &[Kind::Tensor, Kind::Tensor],
    result: Kind::Tensor,
    doc: "the `m` of a `rescale` from grids of the first scales to those of the second, one entry or one for each: u8, \
          with all its bits used; none beyond what a rescale can do",
    run: |args| vector(rescaling(args)?.into_iter().map(|(m, _)| m).collect::<Vec<u8>>()),
    explain: None,
};

pub const RESCALE_SHIFT: Helper = Helper {
    name: "rescale_shift",
    params: &[Kind::Tensor, Kind::Tensor],
    result: Kind::Tensor,
    doc: "the `s` of that `rescale`, as i32",
    run: |args| vector(rescaling(args)?.into_iter().map(|(_, s)| s).collect::<Vec<i32>>()),
    explain: None,
};

pub const SATURATE: Helper = Helper {
    name: "saturate",
    params: &[Kind::Tensor, Kind::DType],
    result: Kind::Tensor,
    doc: "each element rounded to a whole number, halves to the even one, and then to the nearest that the integer \
          type has; none for NaN",
    run: |args| {
        let (reals, Attr::DType(to)) = (args.tensor(0)?, args.attr(1)?) else { return None };
        let (low, high) = to.integer_range()?;
        let whole = |v: &f64| {
            // i64 holds every end but that of u64, which is far beyond what layers compute with.
            let end = |end: i128| i64::try_from(end).unwrap_or(i64::MAX);
            let rounded = round::half_even(*v);
            // A cast saturates too.
            (!v.is_nan()).then(|| (rounded as i64).clamp(end(low), end(high)))
        };
        let whole: Vec<i64> = floats(reals)?.iter().map(whole).collect::<Option<_>>()?;
        Some(Data::Tensor(Arc::new(Tensor::new(reals.sizes(), whole)?.cast(*to))))
    },
    explain: None,
};

pub const SCALE_OF: Helper = Helper {
    name: "scale_of",
    params: &[Kind::Value],
    result: Kind::Tensor,
    doc: "integers per real of a quantized value, as f64: one entry, or one for each index of axis 1; none for plain values",
    run: |args| vector(grid(args)?.factors.to_vec()),
    explain: None,
};

pub const ZERO_OF: Helper = Helper {
    name: "zero_of",
    params: &[Kind::Value],
    result: Kind::Tensor,
    doc: "the integer that stands for 0, as f64: one entry, or one for each index of axis 1; none for plain values",
    run: |args| vector(grid(args)?.zeros.iter().map(|&zero| zero as f64).collect::<Vec<f64>>()),
    explain: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Registry;
    use crate::tensor::DType;

    fn call(helper: &Helper, args: &[Data]) -> Option<Tensor> {
        match helper.call(args, &Registry::built_in())? {
            Data::Tensor(tensor) => Some((*tensor).clone()),
            _ => None,
        }
    }

    fn constant(sizes: &[usize], elements: &[f64]) -> Data {
        Data::Tensor(Arc::new(Tensor::new(sizes, elements.to_vec()).unwrap()))
    }

    #[test]
    fn a_kernel_meets_the_scales_of_its_inputs() {
        let w = constant(&[2, 2], &[1.0, -4.0, 0.5, 0.25]);
        let sx = constant(&[2], &[1.0, 2.0]);
        let integers = call(&KERNEL_INTEGERS, &[w.clone(), sx.clone()]).unwrap();
        assert_eq!(integers.sizes(), [2, 2]);
        assert_eq!(integers.elements::<i8>().unwrap(), [64, -127, 127, 32]);
        assert_eq!(call(&KERNEL_SCALES, &[w.clone(), sx]).unwrap().elements::<f64>().unwrap(), [63.5, 254.0]);
        // Flattened: each scale stands for a map of elements.
        let w = constant(&[1, 4], &[1.0, 1.0, 1.0, 1.0]);
        let integers = call(&KERNEL_INTEGERS, &[w.clone(), constant(&[2], &[1.0, 2.0])]).unwrap();
        assert_eq!(integers.elements::<i8>().unwrap(), [127, 127, 64, 64]);
        assert!(call(&KERNEL_INTEGERS, &[w, constant(&[3], &[1.0; 3])]).is_none());
    }

    #[test]
    fn rescaling_comes_close_and_uses_its_bits() {
        let (from, to) = (constant(&[2], &[1000.0, 3.0]), constant(&[1], &[1.0]));
        let m = call(&RESCALE_MULTIPLIER, &[from.clone(), to.clone()]).unwrap();
        let s = call(&RESCALE_SHIFT, &[from, to]).unwrap();
        let (m, s) = (m.elements::<u8>().unwrap(), s.elements::<i32>().unwrap());
        for (at, want) in [1.0 / 1000.0, 1.0 / 3.0].into_iter().enumerate() {
            let got = f64::from(m[at]) * round::power_of_two(-s[at]);
            assert!((got / want - 1.0).abs() < 1.0 / 128.0 && m[at] >= 128, "{got} for {want}");
        }
    }

    #[test]
    fn powers_of_two_have_exponents() {
        let log2 = |v: f32| match LOG2.call(&[Data::Attr(Attr::Float(v))], &Registry::built_in()) {
            Some(Data::Attr(Attr::Int(exponent))) => Some(exponent),
            _ => None,
        };
        assert_eq!(
            [log2(0.125), log2(1.0), log2(3.0), log2(0.0), log2(-2.0)],
            [Some(-3), Some(0), None, None, None]
        );
        assert_eq!(log2(f32::INFINITY), None);
    }

    #[test]
    fn numbers_are_rounded_to_the_even_and_saturate() {
        let reals = constant(&[5], &[0.5, 1.5, -300.0, 1e30, -2.5]);
        let i8 = call(&SATURATE, &[reals.clone(), Data::Attr(Attr::DType(DType::I8))]).unwrap();
        assert_eq!(i8.elements::<i8>().unwrap(), [0, 2, -128, 127, -2]);
        assert!(call(&SATURATE, &[reals, Data::Attr(Attr::DType(DType::F32))]).is_none());
    }
}
