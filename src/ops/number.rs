//! The number types that operators compute in.

use std::ops::{Div, Mul, Neg, Sub};

use crate::kernels::{Float, Ordered};
use crate::tensor::Element;

/// `f32` and `f64`. Every operation rounds once, to nearest even, alike on every CPU; `exp` is that
/// of the pure-Rust `libm`.
///
/// Operators return [`Float::canonical`] values: sign and payload of a NaN that arithmetic makes
/// differ between CPUs.
pub trait Real:
    Element
    + Float
    + Ordered
    + From<f32>
    + Neg<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
}

macro_rules! reals {
    ($($T:ident $sqrt:ident $exp:ident;)*) => {$(
        impl Real for $T {
            fn sqrt(self) -> Self {
                libm::$sqrt(self)
            }

            fn exp(self) -> Self {
                libm::$exp(self)
            }
        }
    )*};
}

reals! {
    f32 sqrtf expf;
    f64 sqrt exp;
}

/// The types that element-wise arithmetic is defined for.
pub trait Number: Element {
    /// No value is less, and none greater: infinities for floats.
    const LEAST: Self;
    const GREATEST: Self;

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `None` for a division that has no result: by the integer 0.
    fn div(self, other: Self) -> Option<Self>;
    /// The smaller; NaN if either is NaN.
    fn min(self, other: Self) -> Self;
    /// The larger; NaN if either is NaN.
    fn max(self, other: Self) -> Self;
}

macro_rules! float_numbers {
    ($($T:ty)*) => {$(
        impl Number for $T {
            const LEAST: Self = <$T>::NEG_INFINITY;
            const GREATEST: Self = <$T>::INFINITY;

            fn add(self, other: Self) -> Self {
                (self + other).canonical()
            }

            fn sub(self, other: Self) -> Self {
                (self - other).canonical()
            }

            fn mul(self, other: Self) -> Self {
                (self * other).canonical()
            }

            fn div(self, other: Self) -> Option<Self> {
                Some((self / other).canonical())
            }

            fn min(self, other: Self) -> Self {
                if self.is_nan() || other.is_nan() {
                    <$T>::NAN
                } else if other < self {
                    other
                } else {
                    self
                }
            }

            fn max(self, other: Self) -> Self {
                if self.is_nan() || other.is_nan() {
                    <$T>::NAN
                } else if other > self {
                    other
                } else {
                    self
                }
            }
        }
    )*};
}

float_numbers!(f32 f64);

macro_rules! integer_numbers {
    ($($T:ty)*) => {$(
        impl Number for $T {
            const LEAST: Self = <$T>::MIN;
            const GREATEST: Self = <$T>::MAX;

            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }

            fn div(self, other: Self) -> Option<Self> {
                (other != 0).then(|| self.wrapping_div(other))
            }

            fn min(self, other: Self) -> Self {
                Ord::min(self, other)
            }

            fn max(self, other: Self) -> Self {
                Ord::max(self, other)
            }
        }
    )*};
}

integer_numbers!(i8 u8 i32 i64);
