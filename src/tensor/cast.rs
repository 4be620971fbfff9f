//! Conversion between storage types, as ONNX Cast defines it.

use super::{DType, Element, Tensor, dispatch};

/// An element of any storage type: none loses anything.
#[derive(Clone, Copy)]
enum Exact {
    Integer(i128),
    Float(f64),
}

trait Convert: Element {
    fn to_exact(self) -> Exact;
    fn from_exact(value: Exact) -> Self;
}

macro_rules! integers {
    ($($T:ty)*) => {$(
        impl Convert for $T {
            fn to_exact(self) -> Exact {
                Exact::Integer(self.into())
            }

            fn from_exact(value: Exact) -> Self {
                // From integers `as` keeps the low bits; from floats it truncates and saturates.
                match value {
                    Exact::Integer(v) => v as $T,
                    Exact::Float(v) => v as $T,
                }
            }
        }
    )*};
}

integers!(i8 u8 i16 u16 i32 u32 i64 u64);

macro_rules! floats {
    ($($T:ident)*) => {$(
        impl Convert for $T {
            fn to_exact(self) -> Exact {
                Exact::Float(self.into())
            }

            fn from_exact(value: Exact) -> Self {
                // `as` gives the nearest value, ties to even; the payload of a NaN is dropped, for
                // conversions keep it on some CPUs only.
                match value {
                    Exact::Integer(v) => v as $T,
                    Exact::Float(v) if v.is_nan() => $T::NAN,
                    Exact::Float(v) => v as $T,
                }
            }
        }
    )*};
}

floats!(f32 f64);

impl Convert for bool {
    fn to_exact(self) -> Exact {
        Exact::Integer(self.into())
    }

    fn from_exact(value: Exact) -> Self {
        match value {
            Exact::Integer(v) => v != 0,
            Exact::Float(v) => v != 0.0,
        }
    }
}

impl Tensor {
    /// The elements stored as `to`: to a float, the nearest value, ties to even; from a float to an
    /// integer, truncated toward zero and saturated, NaN becoming 0 (ONNX leaves what does not fit
    /// open); from an integer to a narrower one, the low bits; to bool, whether it is not 0.
    pub fn cast(&self, to: DType) -> Tensor {
        fn go<T: Convert, U: Convert>(array: &super::Array<T>) -> Tensor {
            let elements = array.as_slice().unwrap_or_default();
            let elements = elements.iter().map(|v| U::from_exact(v.to_exact())).collect();
            // Tensors are contiguous: there are as many elements as before.
            Tensor::new(array.shape(), elements).unwrap()
        }
        if self.dtype() == to {
            return self.clone();
        }
        dispatch!(self, array => match to {
            DType::Bool => go::<_, bool>(array),
            DType::I8 => go::<_, i8>(array),
            DType::U8 => go::<_, u8>(array),
            DType::I16 => go::<_, i16>(array),
            DType::U16 => go::<_, u16>(array),
            DType::I32 => go::<_, i32>(array),
            DType::U32 => go::<_, u32>(array),
            DType::I64 => go::<_, i64>(array),
            DType::U64 => go::<_, u64>(array),
            DType::F32 => go::<_, f32>(array),
            DType::F64 => go::<_, f64>(array),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_truncate_and_saturate() {
        let x = Tensor::vector(vec![1.9f32, -1.9, 300.0, -300.0, f32::NAN, f32::INFINITY]);
        assert_eq!(x.cast(DType::I8), Tensor::vector(vec![1i8, -1, 127, -128, 0, 127]));
        assert_eq!(x.cast(DType::U8), Tensor::vector(vec![1u8, 0, 255, 0, 0, 255]));
    }

    #[test]
    fn integers_keep_their_low_bits() {
        let x = Tensor::vector(vec![300i32, -1, 128]);
        assert_eq!(x.cast(DType::U8), Tensor::vector(vec![44u8, 255, 128]));
        assert_eq!(x.cast(DType::I8), Tensor::vector(vec![44i8, -1, -128]));
        assert_eq!(x.cast(DType::U64), Tensor::vector(vec![300u64, u64::MAX, 128]));
        assert_eq!(x.cast(DType::Bool), Tensor::vector(vec![true, true, true]));
    }

    #[test]
    fn floats_take_the_nearest_value_ties_to_even() {
        let x = Tensor::vector(vec![(1i64 << 24) + 1, (1 << 24) + 3, (1 << 53) + 1]);
        assert_eq!(x.cast(DType::F32), Tensor::vector(vec![16777216.0f32, 16777220.0, 9007199254740992.0]));
        // 2^60 + 2^36 + 1 rounds up in one step; by way of f64 it would be a tie, and round down.
        let x = Tensor::vector(vec![(1i64 << 60) + (1 << 36) + 1]);
        assert_eq!(x.cast(DType::F32), Tensor::vector(vec![1152921642045800448.0f32]));
    }
}
