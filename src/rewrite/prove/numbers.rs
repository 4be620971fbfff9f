//! What tensors are filled with.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::tensor::{DType, Tensor};

/// How the elements of a constant or an input are drawn. The first is the simplest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Ones,
    /// Multiples of 1/8 up to 4, of either sign.
    Small,
    Positive,
    NonZero,
    Zeros,
    /// One small number everywhere.
    Equal,
    /// A number of the rule everywhere.
    Literal,
    /// Positive but for one element.
    OneNegative,
    /// Powers of two times small numbers: of floats from 2^-6 to 2^6, of integers up to their length.
    Wide,
    /// Where arithmetic has corners: infinities, extremes, subnormals, zeros of either sign.
    Special,
    /// The same, and NaN.
    SpecialNan,
}

impl Flavour {
    /// Those that constants are drawn from; with `corners`, also what rounding does not forgive.
    pub fn constants(corners: bool) -> &'static [Flavour] {
        const ALL: [Flavour; 10] = [
            Flavour::Ones,
            Flavour::Small,
            Flavour::Positive,
            Flavour::NonZero,
            Flavour::Zeros,
            Flavour::Equal,
            Flavour::Literal,
            Flavour::OneNegative,
            Flavour::Wide,
            Flavour::Special,
        ];
        if corners { &ALL } else { &ALL[..9] }
    }
}

/// Where float arithmetic has corners; the numbers of the rule come on top.
const CORNERS: [f64; 22] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.0,
    -2.0,
    6.0,
    f64::MIN_POSITIVE,
    -f64::MIN_POSITIVE,
    1.401298464324817e-45,
    -1.401298464324817e-45,
    16_777_217.0,
    -16_777_217.0,
    3.4028234663852886e38,
    -3.4028234663852886e38,
    255.5,
    -128.5,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

/// The corners of a storage, with the numbers of a rule and their neighbours; of 8 bits, every
/// value.
pub fn lattice(dtype: DType, literals: &[f64]) -> Vec<f64> {
    match dtype.integer_range() {
        Some((low, high)) if high - low < 256 => (low..=high).map(|v| v as f64).collect(),
        // Beyond 2^53 a f64 is not exact.
        Some((low, high)) => {
            let (low, high) = (low.max(-(1 << 53)), high.min(1 << 53));
            let mut all: Vec<i128> =
                vec![0, 1, -1, 2, -2, 3, 7, 127, 128, -128, 255, 256, low, low + 1, high, high - 1];
            all.extend([15, 16, 31, 32, 33, 52].map(|bits| 1 << bits));
            all.extend(literals.iter().filter(|v| v.is_finite()).map(|&v| v as i128));
            all.retain(|v| (low..=high).contains(v));
            all.into_iter().map(|v| v as f64).collect()
        }
        None if dtype.is_float() => {
            let mut all = CORNERS.to_vec();
            for &v in literals {
                let single = v as f32;
                all.extend([single, single.next_up(), single.next_down(), -single].map(f64::from));
            }
            all.push(f64::NAN);
            all
        }
        None => vec![0.0, 1.0],
    }
}

/// A tensor whose elements are `number(position)`, as they are stored.
pub fn tensor(dtype: DType, sizes: &[usize], mut number: impl FnMut(usize) -> f64) -> Option<Tensor> {
    let count = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
    let numbers: Vec<f64> = (0..count).map(&mut number).collect();
    Some(match dtype {
        DType::F64 => Tensor::new(sizes, numbers)?,
        // From 2^53 on odd ones, which no f64 is.
        DType::I64 => {
            let odd = |v: f64| if v.abs() < (1u64 << 53) as f64 { v as i64 } else { v as i64 | 1 };
            Tensor::new(sizes, numbers.into_iter().map(odd).collect::<Vec<i64>>())?
        }
        // By saturation, where an integer is meant.
        _ => Tensor::new(sizes, numbers)?.cast(dtype),
    })
}

/// A tensor of that flavour.
pub fn drawn(
    dtype: DType,
    sizes: &[usize],
    flavour: Flavour,
    literals: &[f64],
    rng: &mut ChaCha8Rng,
) -> Option<Tensor> {
    let mut below = |n: u32| rng.next_u32() % n;
    let integer = !dtype.is_float();
    let unit = if integer { 1.0 } else { 0.125 };
    let small = |below: &mut dyn FnMut(u32) -> u32| match integer {
        true => f64::from(below(9)) - 4.0,
        false => (f64::from(below(65)) - 32.0) * unit,
    };
    let nonzero = |v: f64| if v == 0.0 { unit } else { v };
    let count: usize = sizes.iter().product();
    let equal = small(&mut below);
    let odd = if count == 0 { 0 } else { below(u32::try_from(count).ok()?) as usize };
    let literal = literals.get(below(u32::try_from(literals.len().max(1)).ok()?) as usize).copied();
    let corners = lattice(dtype, literals);
    let bits = dtype.integer_range().map_or(1, |(low, high)| (high - low).ilog2());
    tensor(dtype, sizes, |at| match flavour {
        Flavour::Ones => 1.0,
        Flavour::Zeros => 0.0,
        Flavour::Small => small(&mut below),
        Flavour::Positive => nonzero(small(&mut below).abs()),
        Flavour::NonZero => nonzero(small(&mut below)),
        Flavour::Equal => equal,
        Flavour::Literal => literal.unwrap_or(equal),
        Flavour::OneNegative if at == odd => -nonzero(small(&mut below).abs()),
        Flavour::OneNegative => nonzero(small(&mut below).abs()),
        // Of all lengths, so that sums and products leave the storage.
        Flavour::Wide if integer => small(&mut below) * f64::from(below(bits)).exp2(),
        Flavour::Wide => small(&mut below) * f64::from(below(13) as i32 - 6).exp2(),
        // Half of them, so that a window or a row has both kinds.
        Flavour::Special | Flavour::SpecialNan if below(2) == 0 => small(&mut below),
        Flavour::Special | Flavour::SpecialNan => {
            // Infinities are what most laws of arithmetic fail for: more of them than of others.
            let v = match below(4) {
                0 if !integer => [f64::INFINITY, f64::NEG_INFINITY, f64::NAN][below(3) as usize],
                _ => corners.get(below(corners.len() as u32) as usize).copied().unwrap_or(0.0),
            };
            if v.is_nan() && flavour == Flavour::Special { 0.0 } else { v }
        }
    })
}

/// The elements of a tensor as f64; 64-bit integers may be rounded.
pub fn floats(tensor: &Tensor) -> Vec<f64> {
    match tensor.cast(DType::F64) {
        Tensor::F64(array) => array.iter().copied().collect(),
        _ => Vec::new(),
    }
}
