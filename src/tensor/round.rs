//! All rounding of the project, under names that say what it does.
//!
//! Guarantees: nothing outside this file rounds; every function is a pure function of its
//! arguments with the same bits on every platform. `P1` to `P5` are the primitives of the hardware
//! operators' numerics as QuantizeML 1.2.5 has them; `S`, a divisor, is always a power of two and
//! is handed over as its exponent `s`.

// ---- to an integer

/// The nearest integer, ties to the even one.
pub fn half_even(x: f64) -> f64 {
    x.round_ties_even()
}

/// [`half_even`] of an f32.
pub fn half_even_f32(x: f32) -> f32 {
    x.round_ties_even()
}

/// `floor(v / 2^shift + 1/2)`: the nearest integer, ties towards positive infinity. `|v|` and
/// `2^shift` are below 2^126.
pub fn half_up_shift(v: i128, shift: u32) -> i128 {
    match shift {
        0 => v,
        _ => (v + (1 << (shift - 1))) >> shift,
    }
}

/// `v` rounded to 24 significant bits, ties to even: the f32 nearest to an integer (|v| < 2^126).
pub fn rn24(v: i128) -> i128 {
    let magnitude = v.unsigned_abs();
    let excess = (128 - magnitude.leading_zeros()).saturating_sub(24);
    if excess == 0 {
        return v;
    }
    let kept = magnitude >> excess;
    let rest = magnitude & ((1 << excess) - 1);
    let half = 1 << (excess - 1);
    let up = rest > half || (rest == half && kept & 1 == 1);
    // At most 2^126, so the sign fits.
    ((kept + u128::from(up)) << excess) as i128 * v.signum()
}

// ---- powers of two

/// `2^exponent`, 0 and infinity beyond the range of f64.
pub fn power_of_two(exponent: i32) -> f64 {
    match exponent {
        1024.. => f64::INFINITY,
        -1022..=1023 => f64::from_bits(((exponent + 1023) as u64) << 52),
        -1074..=-1023 => f64::from_bits(1 << (exponent + 1074)),
        _ => 0.0,
    }
}

/// `2^exponent` as f32 where it is a normal one; 0 below and infinity above.
pub fn power_of_two_f32(exponent: i32) -> f32 {
    match exponent {
        128.. => f32::INFINITY,
        -126..=127 => f32::from_bits(((exponent + 127) as u32) << 23),
        _ => 0.0,
    }
}

/// The `e` of a value that is exactly `2^e`.
pub fn exponent_of(value: f64) -> Option<i32> {
    let (exponent, fraction) = split(value)?;
    (fraction == 0).then_some(exponent)
}

/// `2^half_even(log2(value))` for a positive finite value: the power of two that is nearest on a
/// logarithmic scale (hardware-ops §5.1). No f64 has a logarithm that ends in one half, so there
/// are no ties.
pub fn nearest_power_of_two(value: f64) -> Option<f64> {
    let (exponent, fraction) = split(value)?;
    // 1.fraction against the square root of two, squared: exact in u128.
    let mantissa = u128::from(fraction | 1 << 52);
    Some(power_of_two(exponent + i32::from(mantissa * mantissa > 1 << 105)))
}

/// `round(log2(n))` of a positive integer: one more than the index of its leading bit where `n > sqrt(2) · 2^index`
/// (layers-transformer §0.3). There are no ties.
pub fn nearest_binary_order(n: u64) -> u32 {
    let order = n.max(1).ilog2();
    let squared = u128::from(n) * u128::from(n);
    order + u32::from(squared > 1 << (2 * order + 1))
}

/// Exponent and fraction of a positive finite value: `2^exponent * (1 + fraction * 2^-52)`.
fn split(value: f64) -> Option<(i32, u64)> {
    if !(value > 0.0 && value.is_finite()) {
        return None;
    }
    let bits = value.to_bits();
    let (biased, fraction) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
    Some(if biased > 0 {
        (biased - 1023, fraction)
    } else {
        // Subnormal: move the leading bit to where the implicit one is.
        let shift = fraction.leading_zeros() - 11;
        (-1022 - shift as i32, (fraction << shift) & ((1 << 52) - 1))
    })
}

/// A float type whose logarithm is rounded: f32 or f64.
pub trait LogRounded: Copy + Into<f64> {
    /// Bits of the fraction.
    const FRACTION: i32;
}

impl LogRounded for f32 {
    const FRACTION: i32 = 23;
}

impl LogRounded for f64 {
    const FRACTION: i32 = 52;
}

/// `ceil(log2(|y|))` where the logarithm is first rounded to the nearest value of `y`'s own type;
/// `None` if `y` is zero or not finite.
///
/// The rounding shows a few units above a power of two: with `|y| = 2^e (1 + j 2^-F)` the
/// logarithm rounds down to `e` while `j 2^-F / ln 2` is below half the distance from `e` to the
/// next float.
pub fn ceil_log2<T: LogRounded>(y: T) -> Option<i32> {
    let (e, fraction) = split(y.into().abs())?;
    if fraction == 0 {
        return Some(e);
    }
    // The next float above `e` is 2^(k - F) away, k being the binary order of |e|; one less below
    // a power of two in magnitude. Around zero floats are so dense that nothing rounds to it.
    let magnitude = e.unsigned_abs();
    let rounds_down = magnitude.checked_ilog2().is_some_and(|order| {
        let k = order as i32 - i32::from(e < 0 && magnitude.is_power_of_two());
        let j = fraction as f64 * power_of_two(T::FRACTION - 52);
        // Terms of second order in j 2^-F are far too small to matter: j is below 2^10.
        j < power_of_two(k - 1) * std::f64::consts::LN_2
    });
    Some(if rounds_down { e } else { e + 1 })
}

/// `ceil(f32(f32(ln x) / f32(ln 2)))` with a correctly rounded logarithm (fixed-point §1.1): off by one at, and a
/// few units above, some powers of two. `None` for 0 and what is no number.
pub fn binary32_ceil_log2(x: f32) -> Option<i32> {
    binary32_log2(x).map(|log| log.ceil() as i32)
}

/// `floor` of the logarithm of [`binary32_ceil_log2`].
pub fn binary32_floor_log2(x: f32) -> Option<i32> {
    binary32_log2(x).map(|log| log.floor() as i32)
}

fn binary32_log2(x: f32) -> Option<f32> {
    let log = libm::log(x.into()) as f32 / std::f32::consts::LN_2;
    (x > 0.0).then_some(log)
}

// ---- P1: rescaling an accumulator

/// P1 in integers, as the device computes it (hardware-ops §2): `floor(acc * M / 2^s + 1/2)`,
/// ties up, saturated to `bits` bits with sign (at most 24).
pub fn rescale_exact(acc: i64, multiplier: u8, s: i32, bits: u32) -> i32 {
    rescale_within(acc, multiplier, s, signed_range(bits)) as i32
}

/// [`rescale_exact`] saturated to a range that holds 0 and is within 32 bits.
pub fn rescale_within(acc: i64, multiplier: u8, s: i32, range: (i128, i128)) -> i128 {
    shift_and_saturate(i128::from(acc) * i128::from(multiplier), s, range, half_up_shift)
}

/// P1 as an f32 evaluation of `clip(floor((acc / 2^s) * M + 0.5))` gives it (hardware-ops §2): the
/// product and then the sum are rounded to 24 significant bits, ties to even. Never below
/// [`rescale_exact`], and equal to it for `s <= 17`, `|acc| <= 2^24` and 8 bits.
pub fn rescale_f32(acc: i64, multiplier: u8, s: i32, bits: u32) -> i32 {
    let product = rn24(rn24(i128::from(acc)) * i128::from(multiplier));
    shift_and_saturate(product, s, signed_range(bits), |p, s| rn24(2 * p + (1 << s)) >> (s + 1)) as i32
}

/// [`rescale_f32`] for a divisor of 0, which is what QuantizeML 0.7 stores for one beyond 2^31: a quotient
/// of 0 and 0 is NaN, and so is infinity times 0; a clip makes NaN the smallest value.
pub fn rescale_f32_by_zero(acc: i64, multiplier: u8, bits: u32) -> i32 {
    let (lowest, highest) = signed_range(bits);
    // Both have at most 24 bits.
    if acc > 0 && multiplier > 0 { highest as i32 } else { lowest as i32 }
}

/// Smallest and largest integer of `bits` bits with sign.
fn signed_range(bits: u32) -> (i128, i128) {
    let highest = (1i128 << (bits - 1)) - 1;
    (-highest - 1, highest)
}

/// `round(v, s)` for a positive `s`, else `v * 2^-s`; then saturated to `range`, which holds 0 and is
/// within 32 bits.
fn shift_and_saturate(v: i128, s: i32, range: (i128, i128), round: impl Fn(i128, u32) -> i128) -> i128 {
    let saturate = |v: i128| v.clamp(range.0, range.1);
    let rounded = if s > 0 {
        // |v| is below 2^71 plus rounding: beyond 2^100 every quotient rounds to 0 all the same.
        round(v, s.min(100).unsigned_abs())
    } else {
        // Saturated first: the shifted value need not fit. A shift by 32 saturates all but zero.
        saturate(v) << s.max(-32).unsigned_abs()
    };
    saturate(rounded)
}

// ---- P2: real to integer on a given grid

/// P2, ONNX QuantizeLinear: `half_even(x / scale) + zero` saturated to `range`, the division being
/// one f32 division. NaN gives the smallest value.
pub fn quantize_linear(x: f32, scale: f32, zero: i64, range: (i64, i64)) -> i64 {
    let quotient = half_even_f32(x / scale);
    if quotient.is_nan() {
        return range.0;
    }
    // The cast saturates, and what it loses lies far outside every range.
    (quotient as i64).saturating_add(zero).clamp(range.0, range.1)
}

/// [`quantize_linear`] to a byte, in steps that compilers turn into vectors. The range is within -128 to 255, as is
/// zero.
#[inline(always)]
pub fn quantize_linear_to_byte(x: f32, scale: f32, zero: i32, range: (i32, i32)) -> i32 {
    // Beyond these bounds every sum is saturated. NaN gets the lower one.
    const BOUND: f32 = 1024.0;
    let quotient = x / scale;
    let quotient = if quotient > -BOUND { quotient } else { -BOUND };
    let quotient = if quotient < BOUND { quotient } else { BOUND };
    // Adding 1.5 * 2^23, where floats lie 1 apart, rounds to the nearest integer, ties to even; their bits count
    // the integers.
    const INTEGERS: f32 = 12_582_912.0;
    let integer = (quotient + INTEGERS).to_bits() as i32 - INTEGERS.to_bits() as i32;
    (integer + zero).clamp(range.0, range.1)
}

// ---- P3: weights

/// P3, one filter's weights as symmetric int8: `m = max(max|x|, 2^-16)`, `scale = 127 / m`,
/// `q = half_even(x * scale)` saturated, in f64. Gives the integers and the scale (integers per
/// real); `None` if an element is not finite.
pub fn qfloat(x: &[f64]) -> Option<(Vec<i8>, f64)> {
    if !x.iter().all(|v| v.is_finite()) {
        return None;
    }
    let largest = x.iter().fold(power_of_two(-16), |m, v| m.max(v.abs()));
    let scale = 127.0 / largest;
    // Products are of no more than 127 and a rounding. Adding 1.5 * 2^52, where floats lie 1 apart, rounds them to
    // the nearest integer, ties to even; their bits count the integers.
    const INTEGERS: f64 = 6_755_399_441_055_744.0;
    let integer = |v: &f64| (v * scale + INTEGERS).to_bits().wrapping_sub(INTEGERS.to_bits()) as i32;
    Some((x.iter().map(|v| integer(v).clamp(-128, 127) as i8).collect(), scale))
}

// ---- P4: integers of a limited mantissa

/// P4: `half_even(p / 2^k) * 2^k` with `p = x * scale` in f64 and
/// `k = max(0, ceil(log2(|p + 2^-8|)) - b)`, `b` = 7 if signed, else 8; the logarithm is rounded
/// to f64, ties of the quotient go to the even one. `None` if it does not fit an i32.
///
/// The mantissa may reach `2^b` itself: it is not saturated.
pub fn coarse(x: f64, scale: f64, signed: bool) -> Option<i32> {
    let p = x * scale;
    let shifted = p + power_of_two(-8);
    let k = match ceil_log2(shifted) {
        Some(bits) => (bits - if signed { 7 } else { 8 }).max(0),
        None if shifted == 0.0 => 0,
        None => return None,
    };
    let value = half_even(p / power_of_two(k)) * power_of_two(k);
    (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value).then_some(value as i32)
}

// ---- P5: mantissa and power of two

/// What P5 splits into: a mantissa of `bits` bits, one of them the sign's if `signed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedFormat {
    pub bits: u32,
    pub signed: bool,
    /// No more fractional bits than the mantissa has bits.
    pub clamp: bool,
    /// The exponent fits the device's 6 bits: -31 to 32.
    pub shift6: bool,
}

/// `mantissa * 2^-frac`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub mantissa: i32,
    pub frac: i32,
}

/// P5: with `y = |x|` (0.5 for zero), `w = ceil(log2(y))`, one more where `y == 2^w`, and `mb`
/// mantissa bits without sign: `frac = mb - w` (limited as the format says),
/// `mantissa = half_even(x * 2^frac)` saturated. `None` if `x` is not finite.
///
/// The logarithm is rounded to the type of `x`; in f32 that makes `w` one too small for a few
/// values just above a power of two.
pub fn fixed<T: LogRounded>(x: T, format: FixedFormat) -> Option<Fixed> {
    let value: f64 = x.into();
    let mb = (format.bits - u32::from(format.signed)) as i32;
    let whole = if value == 0.0 {
        0
    } else {
        let w = ceil_log2(x)?;
        w + i32::from(exponent_of(value.abs()) == Some(w))
    };
    let mut frac = mb - whole;
    if format.clamp {
        frac = frac.min(mb);
    }
    if format.shift6 {
        frac = frac.clamp(-31, 32);
    }
    let highest = power_of_two(mb) - 1.0;
    let lowest = if format.signed { -highest - 1.0 } else { 0.0 };
    let mantissa = half_even(value * power_of_two(frac)).clamp(lowest, highest) as i32;
    Some(Fixed { mantissa, frac })
}

// ---- P6: tables of a function

/// Bits of the index of a table, with sign; a negative one counts from the end.
pub const TABLE_BITS: u32 = 11;
/// Entries of a table.
pub const TABLE: usize = 1 << TABLE_BITS;
/// Bits of an entry, with sign.
pub const ENTRY_BITS: u32 = 14;

/// The real number that each entry of a table is about (hardware-ops §5.4): the index, from 0 up and
/// then the negative ones, over integers per real, rounded to f32.
pub fn table_inputs(scale: f64) -> impl Iterator<Item = f32> {
    let half = 1 << (TABLE_BITS - 1);
    (0..half).chain(-half..0).map(move |index| (f64::from(index) / scale) as f32)
}

/// The values of a function as entries of a table: `m = max(max|y|, 2^-16)`, `scale = 8191 / m`,
/// `q = half_even(y * scale)` saturated, in f32. Gives the entries and the scale (integers per real);
/// `None` if a value is not finite.
pub fn table_entries(values: &[f32]) -> Option<(Vec<i32>, f32)> {
    if !values.iter().all(|y| y.is_finite()) {
        return None;
    }
    let (lowest, highest) = signed_range(ENTRY_BITS);
    let largest = values.iter().fold(power_of_two(-16) as f32, |m, y| m.max(y.abs()));
    // All of 14 bits.
    let scale = highest as f32 / largest;
    let entry = |&y: &f32| half_even_f32(y * scale).clamp(lowest as f32, highest as f32) as i32;
    Some((values.iter().map(entry).collect(), scale))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The reference's formula, evaluated in f32 for real.
    fn naive_f32(acc: i64, multiplier: u8, s: i32) -> i32 {
        let divisor = power_of_two(s) as f32;
        let value = (((acc as f32) / divisor) * f32::from(multiplier) + 0.5).floor();
        value.clamp(-128.0, 127.0) as i32
    }

    #[test]
    fn ties_and_signs() {
        assert_eq!([0.5, 1.5, -0.5, -1.5, 2.5].map(half_even), [0.0, 2.0, -0.0, -2.0, 2.0]);
        assert_eq!([1, 3, -1, -3].map(|v| half_up_shift(v, 1)), [1, 2, 0, -1]);
        assert_eq!([6, 7, -6, -7].map(|v| half_up_shift(v, 2)), [2, 2, -1, -2]);
        assert_eq!(half_up_shift(-5, 0), -5);
    }

    #[test]
    fn rn24_is_the_f32_cast() {
        for v in [0, 1, -1, (1 << 24) + 1, (1 << 24) + 3, -(1 << 24) - 1, (1 << 25) - 1, i64::MIN, i64::MAX] {
            assert_eq!(rn24(v.into()), v as f32 as i128, "{v}");
        }
    }

    #[test]
    fn powers_of_two() {
        for e in -1080..1030 {
            assert_eq!(power_of_two(e), 2f64.powi(e.max(-600)) * 2f64.powi(e.min(-600) + 600), "{e}");
        }
        assert_eq!(exponent_of(0.125), Some(-3));
        assert_eq!(exponent_of(f64::from_bits(1)), Some(-1074));
        assert_eq!([0.0, -2.0, 3.0, f64::NAN, f64::INFINITY].map(exponent_of), [None; 5]);
        assert_eq!(nearest_power_of_two(1.414), Some(1.0));
        assert_eq!(nearest_power_of_two(1.415), Some(2.0));
        assert_eq!(nearest_power_of_two(45.25), Some(32.0));
        assert_eq!(nearest_power_of_two(45.26), Some(64.0));
        assert_eq!(nearest_power_of_two(0.0), None);
    }

    #[test]
    fn logarithms_next_to_powers_of_two() {
        let above = |x: f64, ulps: u64| f64::from_bits(x.to_bits() + ulps);
        assert_eq!(ceil_log2(128.0), Some(7));
        assert_eq!(ceil_log2(-128.0), Some(7));
        // log2 of one unit above 2^7 is 1.44 units of 2^-52 above 7, whose neighbour is 4 away.
        assert_eq!(ceil_log2(above(128.0, 1)), Some(7));
        assert_eq!(ceil_log2(above(128.0, 2)), Some(8));
        assert_eq!(ceil_log2(above(8.0, 1)), Some(4));
        assert_eq!(ceil_log2(above(1.0, 1)), Some(1));
        assert_eq!(ceil_log2(above(0.5, 1)), Some(0));
        // Below 1 the neighbour of -4 towards zero is only half as far away as that of -5.
        assert_eq!(ceil_log2(above(0.0625, 1)), Some(-3));
        assert_eq!(ceil_log2(above(0.03125, 1)), Some(-5));
        assert_eq!(ceil_log2(127.99999), Some(7));
        assert_eq!(ceil_log2(f64::from_bits(3)), Some(-1072));
        let above = |x: f32, ulps: u32| f32::from_bits(x.to_bits() + ulps);
        assert_eq!(ceil_log2(above(16.0, 1)), Some(4));
        assert_eq!(ceil_log2(above(16.0, 2)), Some(5));
        assert_eq!(ceil_log2(above(8.0, 1)), Some(4));
        assert_eq!([0.0, f64::NAN, f64::INFINITY].map(ceil_log2), [None; 3]);
    }

    #[test]
    fn rescaling_by_both_arithmetics() {
        assert_eq!(rescale_exact(3, 1, 1, 8), 2);
        assert_eq!(rescale_exact(-3, 1, 1, 8), -1);
        assert_eq!(rescale_exact(1 << 40, 255, 8, 8), 127);
        assert_eq!(rescale_exact(-1, 1, -40, 8), -128);
        assert_eq!(rescale_exact(0, 255, -40, 8), 0);
        assert_eq!(rescale_exact(5, 3, -2, 8), 60);
        assert_eq!(rescale_exact(i64::MIN, 255, 127, 8), 0);
        assert_eq!(rescale_exact(5000, 1, 2, 11), 1023);
        // One unit below a tie at s = 20, which 24 bits of sum cannot tell from the tie.
        let acc = 100 * (1 << 20) + (1 << 19) - 1;
        assert_eq!(rescale_exact(acc, 1, 20, 8), 100);
        assert_eq!(rescale_f32(acc, 1, 20, 8), 101);
        assert_eq!(naive_f32(acc, 1, 20), 101);
    }

    #[test]
    #[expect(clippy::manual_clamp, reason = "it would keep NaN")]
    fn dividing_by_zero_is_infinite_or_clipped_as_nan() {
        let naive =
            |acc: i64, m: u8| ((acc as f32 / 0.0) * f32::from(m) + 0.5).floor().max(-128.0).min(127.0);
        for (acc, m) in [(3, 2), (-3, 2), (0, 2), (3, 0), (-3, 0), (0, 0)] {
            assert_eq!(rescale_f32_by_zero(acc, m, 8) as f32, naive(acc, m), "{acc} {m}");
        }
    }

    #[test]
    fn tables() {
        let inputs: Vec<f32> = table_inputs(2.0).collect();
        assert_eq!(
            (inputs.len(), inputs[0], inputs[1023], inputs[1024], inputs[2047]),
            (TABLE, 0.0, 511.5, -512.0, -0.5)
        );
        // 8191 / 2: ties to even.
        assert_eq!(table_entries(&[2.0, -2.0, 1.0, 0.0]), Some((vec![8191, -8191, 4096, 0], 4095.5)));
        assert_eq!(table_entries(&[0.0]), Some((vec![0], 8191.0 * 65536.0)));
        assert_eq!(table_entries(&[f32::NAN]), None);
    }

    #[test]
    fn input_quantization() {
        let u8s = (0, 255);
        assert_eq!(quantize_linear(0.25, 0.1, 10, u8s), 12);
        assert_eq!(quantize_linear(0.5, 1.0, 10, u8s), 10);
        assert_eq!(quantize_linear(1.5, 1.0, 10, u8s), 12);
        assert_eq!(quantize_linear(f32::INFINITY, 1.0, 10, u8s), 255);
        assert_eq!(quantize_linear(-1e30, 1.0, 10, u8s), 0);
        assert_eq!(quantize_linear(f32::NAN, 1.0, 0, (-128, 127)), -128);
    }

    #[test]
    fn weights() {
        assert_eq!(qfloat(&[1.0, -0.5, 0.25]), Some((vec![127, -64, 32], 127.0)));
        assert_eq!(qfloat(&[0.0, 0.0]), Some((vec![0, 0], 127.0 * 65536.0)));
        assert_eq!(qfloat(&[f64::NAN]), None);
    }

    #[test]
    fn coarse_integers() {
        assert_eq!(coarse(127.6, 1.0, true), Some(128));
        assert_eq!(coarse(255.7, 1.0, false), Some(256));
        assert_eq!(coarse(300.0, 1.0, true), Some(300));
        assert_eq!(coarse(1001.0, 1.0, true), Some(1000));
        assert_eq!(coarse(-1001.0, 1.0, true), Some(-1000));
        assert_eq!(coarse(-0.00390625, 1.0, true), Some(0));
        // The offset of 2^-8 takes 127.998 across 2^7.
        assert_eq!(coarse(128.5, 1.0, true), Some(128));
        assert_eq!(coarse(1e30, 1.0, true), None);
        assert_eq!(coarse(f64::NAN, 1.0, true), None);
    }

    #[test]
    fn mantissa_and_exponent() {
        let unsigned = FixedFormat { bits: 8, signed: false, clamp: false, shift6: true };
        assert_eq!(fixed(0.75, unsigned), Some(Fixed { mantissa: 192, frac: 8 }));
        assert_eq!(fixed(8.0, unsigned), Some(Fixed { mantissa: 128, frac: 4 }));
        assert_eq!(fixed(0.0, unsigned), Some(Fixed { mantissa: 0, frac: 8 }));
        assert_eq!(fixed(7.999999, unsigned), Some(Fixed { mantissa: 255, frac: 5 }));
        assert_eq!(fixed(1e-12, unsigned), Some(Fixed { mantissa: 0, frac: 32 }));
        assert_eq!(fixed(1e12, unsigned), Some(Fixed { mantissa: 255, frac: -31 }));
        assert_eq!(fixed(f64::INFINITY, unsigned), None);
        let signed = FixedFormat { bits: 8, signed: true, clamp: true, shift6: true };
        assert_eq!(fixed(0.001f32, signed), Some(Fixed { mantissa: 0, frac: 7 }));
        assert_eq!(fixed(-3.0, signed), Some(Fixed { mantissa: -96, frac: 5 }));
        // log2 in f32 of the float after 16 is 4: one whole bit too few, so the mantissa saturates.
        let after16 = f32::from_bits(16f32.to_bits() + 1);
        assert_eq!(fixed(after16, unsigned), Some(Fixed { mantissa: 255, frac: 4 }));
        assert_eq!(fixed(f64::from(after16), unsigned), Some(Fixed { mantissa: 128, frac: 3 }));
    }

    proptest! {
        #[test]
        fn vectors_round_as_the_formulas(bits: u32, scale in 1e-6f32..1e3, zero in -128..256i64, x in -3e3f32..3e3) {
            for range in [(0, 255), (-128, 127)] {
                let zero = zero.clamp(range.0, range.1);
                let near = (x / scale).round() * scale;
                let tie = ((x / scale).floor() + 0.5) * scale;
                for x in [f32::from_bits(bits), x, x * scale, near, tie, f32::NAN, f32::INFINITY, -0.0] {
                    let narrow = (range.0 as i32, range.1 as i32);
                    let found = quantize_linear_to_byte(x, scale, zero as i32, narrow);
                    prop_assert_eq!(i64::from(found), quantize_linear(x, scale, zero, range), "{} / {}", x, scale);
                }
            }
        }

        #[test]
        fn weights_round_half_to_even(x in prop::collection::vec(-10.0f64..10.0, 1..40), ties: bool) {
            let mut x = x;
            if ties {
                // With a largest of 127 the scale is 1.
                x.iter_mut().for_each(|v| *v = v.floor() * 10.0 + 0.5);
                x.push(127.0);
            }
            let (integers, scale) = qfloat(&x).unwrap();
            let expected: Vec<i8> = x.iter().map(|v| half_even(v * scale) as i8).collect();
            prop_assert_eq!(integers, expected);
        }
    }

    proptest! {
        #[test]
        fn the_f32_replica_is_f32(acc in -(1i64 << 33)..(1 << 33), m: u8, s in -31i32..=32) {
            prop_assert_eq!(rescale_f32(acc, m, s, 8), naive_f32(acc, m, s));
        }

        /// Accumulators next to the ties, where the two could differ.
        #[test]
        fn both_arithmetics_agree_up_to_17(n in -130i64..130, d in -3i64..=3, m in 1u8.., s in 0i32..=17) {
            let tie = (n * (1 << (s + 1)) + (1 << s)) / (2 * i64::from(m)) + d;
            let acc = tie.clamp(-(1 << 24), 1 << 24);
            prop_assert_eq!(rescale_exact(acc, m, s, 8), rescale_f32(acc, m, s, 8));
        }

        #[test]
        fn the_replica_is_at_most_one_higher(n in -130i64..130, d in -3i64..=3, m in 1u8.., s in 18i32..=32) {
            let acc = ((n * (1 << (s + 1)) + (1 << s)) / (2 * i64::from(m)) + d).clamp(-(1 << 24), 1 << 24);
            let (exact, replica) = (rescale_exact(acc, m, s, 8), rescale_f32(acc, m, s, 8));
            prop_assert!(replica == exact || replica == exact + 1);
        }

        #[test]
        fn exact_is_floor_of_the_rational(acc in -(1i64 << 40)..(1 << 40), m: u8, s in 1i32..=40) {
            let (numerator, denominator) = (i128::from(acc) * i128::from(m) * 2 + (1 << s), 1i128 << (s + 1));
            let expected = numerator.div_euclid(denominator).clamp(-128, 127);
            prop_assert_eq!(i128::from(rescale_exact(acc, m, s, 8)), expected);
        }

        #[test]
        fn logarithms_away_from_powers_of_two(e in -100i32..100, m in 1.0001f64..1.9999) {
            let y = m * power_of_two(e);
            prop_assert_eq!(ceil_log2(y), Some(e + 1));
            prop_assert_eq!(ceil_log2(y as f32), Some(e + 1));
        }

        #[test]
        fn a_fixed_value_is_near_and_its_mantissa_full(x in 1e-6f64..1e6) {
            let format = FixedFormat { bits: 8, signed: false, clamp: false, shift6: true };
            let Fixed { mantissa, frac } = fixed(x, format).unwrap_or(Fixed { mantissa: 0, frac: 0 });
            prop_assert!((128..=255).contains(&mantissa));
            prop_assert!((f64::from(mantissa) * power_of_two(-frac) / x - 1.0).abs() <= 1.0 / 256.0);
        }
    }
}
