//! The number types that operators compute in.

use std::ops::{Div, Mul, Neg, Sub};

use crate::kernels::{Float, Ordered};
use crate::tensor::{DType, Element, round};

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
    /// The p-th root of a number that is not negative.
    fn root(self, p: i64) -> Self;
    fn floor(self) -> Self;
    /// The nearest integer, ties to the even one.
    fn half_even(self) -> Self;
    /// The integer part; the nearest i64 where it is none, and 0 for NaN.
    fn integer(self) -> i64;
    /// Whether it is a number, and not infinite.
    fn finite(self) -> bool;
}

macro_rules! reals {
    ($($T:ident $sqrt:ident $exp:ident $pow:ident $floor:ident $half_even:ident;)*) => {$(
        impl Real for $T {
            fn finite(self) -> bool {
                self.is_finite()
            }

            fn sqrt(self) -> Self {
                libm::$sqrt(self)
            }

            fn exp(self) -> Self {
                libm::$exp(self)
            }

            fn root(self, p: i64) -> Self {
                match p {
                    1 => self,
                    2 => libm::$sqrt(self),
                    _ => libm::$pow(self, 1.0 / p as $T),
                }
            }

            fn floor(self) -> Self {
                libm::$floor(self)
            }

            fn half_even(self) -> Self {
                round::$half_even(self)
            }

            fn integer(self) -> i64 {
                self as i64
            }
        }
    )*};
}

reals! {
    f32 sqrtf expf powf floorf half_even_f32;
    f64 sqrt exp pow floor half_even;
}

/// The types that element-wise arithmetic is defined for.
pub trait Number: Element {
    /// No value is less, and none greater: infinities for floats.
    const LEAST: Self;
    const GREATEST: Self;
    const ONE: Self;

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
            const ONE: Self = 1.0;

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
            const ONE: Self = 1;

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

integer_numbers!(i8 u8 i16 u16 i32 u32 i64 u64);

/// The storages of [`Number`].
pub const NUMBERS: [DType; 10] = [
    DType::F32,
    DType::F64,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
];

/// Runs `$body` with `$T` bound to the number type of `$dtype`; bool is an error of `$call`.
macro_rules! for_number {
    ($call:expr, $dtype:expr, $T:ident => $body:expr) => {
        $crate::ops::number::for_number!(@ $call, $dtype, $T => $body,
            I8 i8, U8 u8, I16 i16, U16 u16, I32 i32, U32 u32, I64 i64, U64 u64, F32 f32, F64 f64)
    };
    (@ $call:expr, $dtype:expr, $T:ident => $body:expr, $($variant:ident $type:ty),*) => {
        match $dtype {
            $($crate::tensor::DType::$variant => {
                type $T = $type;
                $body
            })*
            other => Err($call.unsupported(format!("storage {other}"))),
        }
    };
}
pub(super) use for_number;
