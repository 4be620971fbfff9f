//! The element types of the kernels.

use std::fmt::Debug;
use std::ops::Add;

mod sealed {
    pub trait Sealed {}
    impl Sealed for i8 {}
    impl Sealed for u8 {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

use super::simd::Cell;
use sealed::Sealed;

/// `f32` and `f64`, with the few operations that the fixed summation order is made of. Each rounds
/// once, to nearest, ties to even, on every CPU.
pub trait Float:
    Sealed + Cell + Copy + PartialOrd + Default + Add<Output = Self> + Debug + Send + Sync + 'static
{
    /// `a * b + acc`, rounded once.
    fn fma(a: Self, b: Self, acc: Self) -> Self;

    /// `sum / count`: the count rounded to this type (exact up to 2^24), then one division.
    fn mean(sum: Self, count: usize) -> Self;

    /// The value itself, or the one quiet NaN that kernels return: the sign and payload of a NaN
    /// that arithmetic makes differ between CPUs.
    fn canonical(self) -> Self;
}

macro_rules! float {
    ($type:ident, $fma:path) => {
        impl Float for $type {
            #[inline(always)]
            fn fma(a: Self, b: Self, acc: Self) -> Self {
                // Without a fused instruction `mul_add` would call the platform's math library.
                if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                    a.mul_add(b, acc)
                } else {
                    $fma(a, b, acc)
                }
            }

            #[inline(always)]
            fn mean(sum: Self, count: usize) -> Self {
                sum / count as $type
            }

            #[inline(always)]
            fn canonical(self) -> Self {
                if self.is_nan() { $type::NAN } else { self }
            }
        }
    };
}

float!(f32, libm::fmaf);
float!(f64, libm::fma);

/// An 8-bit operand of an integer product: `i8` or `u8`.
pub trait Byte: Sealed + Copy + Default + Into<i16> + Debug + Send + Sync + 'static {}

impl Byte for i8 {}
impl Byte for u8 {}

/// What integer products are summed in: `i32`, or `i64` where 32 bits may not hold the sum.
///
/// Kernels sum modulo 2^32 (2^64). The caller has bounded `sum |a * b| + |bias|`; within that bound
/// nothing wraps in the end, so the order of summation does not show.
pub trait Accumulator: Sealed + Copy + Default + PartialEq + Debug + Send + Sync + 'static {
    /// How many products of two 8-bit values may be summed in 32 bits before they are added here.
    const TERMS: usize;

    /// The value modulo 2^32 (2^64).
    fn wrap(value: i64) -> Self;

    /// The sum modulo 2^32 (2^64).
    fn plus(self, other: Self) -> Self;
}

impl Accumulator for i32 {
    const TERMS: usize = usize::MAX;

    #[inline(always)]
    fn wrap(value: i64) -> Self {
        value as i32
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

impl Accumulator for i64 {
    // 2^15 products of at most 255 * 128 stay below 2^30.
    const TERMS: usize = 1 << 15;

    #[inline(always)]
    fn wrap(value: i64) -> Self {
        value
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

/// An element that a maximum can be taken of.
pub trait Ordered: Sealed + Copy + PartialOrd + Default + Debug + Send + Sync + 'static {
    /// No value is less: negative infinity for floats.
    const LEAST: Self;
}

impl Ordered for i8 {
    const LEAST: Self = i8::MIN;
}
impl Ordered for u8 {
    const LEAST: Self = u8::MIN;
}
impl Ordered for i32 {
    const LEAST: Self = i32::MIN;
}
impl Ordered for i64 {
    const LEAST: Self = i64::MIN;
}
impl Ordered for f32 {
    const LEAST: Self = f32::NEG_INFINITY;
}
impl Ordered for f64 {
    const LEAST: Self = f64::NEG_INFINITY;
}
