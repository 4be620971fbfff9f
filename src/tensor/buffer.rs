//! Tensors in memory.

use std::borrow::Cow;

use bytemuck::NoUninit;
use ndarray::{ArcArray, IxDyn};
use sha2::{Digest, Sha256};

use super::{DType, TensorType};

/// A contiguous, cheaply cloned n-dimensional array.
pub type Array<T> = ArcArray<T, IxDyn>;

/// A tensor of any storage type. Contiguous in row-major order: [`Tensor::new`] and
/// [`Element::wrap`] are the only ways in, and see to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    Bool(Array<bool>),
    I8(Array<i8>),
    U8(Array<u8>),
    I16(Array<i16>),
    U16(Array<u16>),
    I32(Array<i32>),
    U32(Array<u32>),
    I64(Array<i64>),
    U64(Array<u64>),
    F32(Array<f32>),
    F64(Array<f64>),
}

/// A Rust type that is the storage of some [`DType`].
pub trait Element:
    NoUninit + PartialEq + PartialOrd + Default + Send + Sync + std::fmt::Debug + 'static
{
    const DTYPE: DType;

    /// Wraps an array, making it contiguous if it is not.
    fn wrap(array: Array<Self>) -> Tensor;

    /// The array inside, if the tensor is of this type.
    fn of(tensor: &Tensor) -> Option<&Array<Self>>;

    fn write_le(self, out: &mut Vec<u8>);

    /// `bytes` has exactly the size of one element.
    fn read_le(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($($variant:ident $type:ty, $write:expr, $read:expr;)*) => {$(
        impl Element for $type {
            const DTYPE: DType = DType::$variant;

            fn wrap(array: Array<Self>) -> Tensor {
                Tensor::$variant(if array.is_standard_layout() {
                    array
                } else {
                    array.as_standard_layout().into_owned().into_shared()
                })
            }

            fn of(tensor: &Tensor) -> Option<&Array<Self>> {
                match tensor {
                    Tensor::$variant(array) => Some(array),
                    _ => None,
                }
            }

            fn write_le(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&$write(self));
            }

            fn read_le(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$type>()];
                raw.copy_from_slice(bytes);
                $read(raw)
            }
        }
    )*};
}

elements! {
    Bool bool, |v: bool| [u8::from(v)], |raw: [u8; 1]| raw[0] != 0;
    I8 i8, i8::to_le_bytes, i8::from_le_bytes;
    U8 u8, u8::to_le_bytes, u8::from_le_bytes;
    I16 i16, i16::to_le_bytes, i16::from_le_bytes;
    U16 u16, u16::to_le_bytes, u16::from_le_bytes;
    I32 i32, i32::to_le_bytes, i32::from_le_bytes;
    U32 u32, u32::to_le_bytes, u32::from_le_bytes;
    I64 i64, i64::to_le_bytes, i64::from_le_bytes;
    U64 u64, u64::to_le_bytes, u64::from_le_bytes;
    F32 f32, f32::to_le_bytes, f32::from_le_bytes;
    F64 f64, f64::to_le_bytes, f64::from_le_bytes;
}

/// Runs `$body` with `$array` bound to the typed array of `$tensor`, once per storage type.
#[macro_export]
macro_rules! dispatch {
    ($tensor:expr, $array:ident => $body:expr) => {
        match $tensor {
            $crate::tensor::Tensor::Bool($array) => $body,
            $crate::tensor::Tensor::I8($array) => $body,
            $crate::tensor::Tensor::U8($array) => $body,
            $crate::tensor::Tensor::I16($array) => $body,
            $crate::tensor::Tensor::U16($array) => $body,
            $crate::tensor::Tensor::I32($array) => $body,
            $crate::tensor::Tensor::U32($array) => $body,
            $crate::tensor::Tensor::I64($array) => $body,
            $crate::tensor::Tensor::U64($array) => $body,
            $crate::tensor::Tensor::F32($array) => $body,
            $crate::tensor::Tensor::F64($array) => $body,
        }
    };
}
pub use dispatch;

impl Tensor {
    /// A tensor of `sizes` from its elements in row-major order; `None` if the counts differ.
    pub fn new<T: Element>(sizes: &[usize], elements: Vec<T>) -> Option<Self> {
        Array::from_shape_vec(IxDyn(sizes), elements).ok().map(T::wrap)
    }

    pub fn scalar<T: Element>(value: T) -> Self {
        T::wrap(Array::from_elem(IxDyn(&[]), value))
    }

    /// A rank-1 tensor.
    pub fn vector<T: Element>(elements: Vec<T>) -> Self {
        T::wrap(ndarray::Array1::from_vec(elements).into_dyn().into_shared())
    }

    pub fn dtype(&self) -> DType {
        fn of<T: Element>(_: &Array<T>) -> DType {
            T::DTYPE
        }
        dispatch!(self, array => of(array))
    }

    pub fn sizes(&self) -> &[usize] {
        dispatch!(self, array => array.shape())
    }

    pub fn len(&self) -> usize {
        dispatch!(self, array => array.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in row-major order, if stored as `T`.
    pub fn elements<T: Element>(&self) -> Option<&[T]> {
        // Contiguous by construction, so the slice exists whenever the type is right.
        T::of(self)?.as_slice()
    }

    /// The plain type of this tensor.
    pub fn tensor_type(&self) -> TensorType {
        TensorType::new(self.dtype(), super::Shape::fixed(self.sizes()))
    }

    /// The same elements under other sizes; `None` if the counts differ.
    pub fn reshaped(&self, sizes: &[usize]) -> Option<Self> {
        fn go<T: Element>(array: &Array<T>, sizes: &[usize]) -> Option<Tensor> {
            array.clone().into_shape_with_order(IxDyn(sizes)).ok().map(T::wrap)
        }
        dispatch!(self, array => go(array, sizes))
    }

    /// Little-endian bytes in row-major order.
    pub fn to_le_bytes(&self) -> Cow<'_, [u8]> {
        dispatch!(self, array => {
            let elements = array.as_slice().unwrap_or_default();
            if cfg!(target_endian = "little") {
                return Cow::Borrowed(bytemuck::cast_slice(elements));
            }
            let mut out = Vec::with_capacity(size_of_val(elements));
            elements.iter().for_each(|v| v.write_le(&mut out));
            Cow::Owned(out)
        })
    }

    /// The inverse of [`Tensor::to_le_bytes`]; `None` if the byte count does not fit the sizes.
    pub fn from_le_bytes(dtype: DType, sizes: &[usize], bytes: &[u8]) -> Option<Self> {
        fn go<T: Element>(sizes: &[usize], bytes: &[u8]) -> Option<Tensor> {
            Tensor::new(sizes, bytes.chunks_exact(size_of::<T>()).map(T::read_le).collect())
        }
        let count = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
        if count.checked_mul(dtype.size())? != bytes.len() {
            return None;
        }
        match dtype {
            DType::Bool => go::<bool>(sizes, bytes),
            DType::I8 => go::<i8>(sizes, bytes),
            DType::U8 => go::<u8>(sizes, bytes),
            DType::I16 => go::<i16>(sizes, bytes),
            DType::U16 => go::<u16>(sizes, bytes),
            DType::I32 => go::<i32>(sizes, bytes),
            DType::U32 => go::<u32>(sizes, bytes),
            DType::I64 => go::<i64>(sizes, bytes),
            DType::U64 => go::<u64>(sizes, bytes),
            DType::F32 => go::<f32>(sizes, bytes),
            DType::F64 => go::<f64>(sizes, bytes),
        }
    }

    /// A hash of the bytes that tells contents apart: two that have one hash are not found even on purpose.
    pub fn content_hash(&self) -> [u8; 32] {
        blake3::hash(&self.to_le_bytes()).into()
    }

    /// SHA-256 of the little-endian bytes: the hash that `data` lines of the text form carry.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.to_le_bytes()).into()
    }
}
