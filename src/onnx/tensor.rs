//! Tensors as the file has them.

use std::fmt::Display;

use super::OnnxError;
use super::file::ExternalData;
use super::proto::TensorProto;
use super::proto::tensor_proto::{DataLocation, DataType};
use crate::tensor::{DType, Element, Tensor};

/// ONNX's number of an element type.
pub fn data_type(dtype: DType) -> i32 {
    let data_type = match dtype {
        DType::Bool => DataType::Bool,
        DType::I8 => DataType::Int8,
        DType::U8 => DataType::Uint8,
        DType::I16 => DataType::Int16,
        DType::U16 => DataType::Uint16,
        DType::I32 => DataType::Int32,
        DType::U32 => DataType::Uint32,
        DType::I64 => DataType::Int64,
        DType::U64 => DataType::Uint64,
        DType::F32 => DataType::Float,
        DType::F64 => DataType::Double,
    };
    data_type as i32
}

/// The inverse of [`data_type`]; `Err` is the type's name where qirc has none such.
pub fn dtype(number: i32) -> Result<DType, String> {
    DType::ALL.into_iter().find(|&dtype| data_type(dtype) == number).ok_or_else(|| {
        DataType::try_from(number)
            .map_or_else(|_| format!("number {number}"), |known| known.as_str_name().to_lowercase())
    })
}

/// A tensor with its elements little-endian in `raw_data`.
pub fn encode(name: Option<&str>, tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: name.map(str::to_owned),
        data_type: Some(data_type(tensor.dtype())),
        // A tensor in memory has no axis beyond i64.
        dims: tensor.sizes().iter().map(|&size| size as i64).collect(),
        raw_data: Some(tensor.to_le_bytes().into_owned().into()),
        ..TensorProto::default()
    }
}

/// Reads a tensor whose elements are raw, in a typed field, or in another file. `name` is what
/// errors call it. Nothing is allocated before the sizes agree with the data that is there.
pub fn decode(name: &str, proto: &TensorProto, external: &ExternalData) -> Result<Tensor, OnnxError> {
    let header = Header::of(name, proto)?;
    let raw = if proto.data_location == Some(DataLocation::External as i32) {
        Some(external.read(name, &proto.external_data, header.bytes)?)
    } else {
        proto.raw_data.clone()
    };
    if let Some(raw) = raw {
        return header.raw(&raw);
    }
    match header.dtype {
        DType::Bool => header.elements(&proto.int32_data, |v| Some(v != 0)),
        DType::I8 => header.elements(&proto.int32_data, |v| i8::try_from(v).ok()),
        DType::U8 => header.elements(&proto.int32_data, |v| u8::try_from(v).ok()),
        DType::I16 => header.elements(&proto.int32_data, |v| i16::try_from(v).ok()),
        DType::U16 => header.elements(&proto.int32_data, |v| u16::try_from(v).ok()),
        DType::I32 => header.elements(&proto.int32_data, Some),
        DType::U32 => header.elements(&proto.uint64_data, |v| u32::try_from(v).ok()),
        DType::I64 => header.elements(&proto.int64_data, Some),
        DType::U64 => header.elements(&proto.uint64_data, Some),
        DType::F32 => header.elements(&proto.float_data, Some),
        DType::F64 => header.elements(&proto.double_data, Some),
    }
}

/// What a tensor says of itself, checked.
struct Header<'a> {
    name: &'a str,
    dtype: DType,
    sizes: Vec<usize>,
    /// Number of elements, and of their bytes.
    count: usize,
    bytes: usize,
}

impl<'a> Header<'a> {
    fn of(name: &'a str, proto: &TensorProto) -> Result<Self, OnnxError> {
        let tensor = || name.to_owned();
        if proto.segment.is_some() {
            return Err(OnnxError::Segments { tensor: tensor() });
        }
        let number = proto.data_type.unwrap_or(DataType::Undefined as i32);
        let dtype = dtype(number)
            .map_err(|element_type| OnnxError::ElementType { tensor: tensor(), element_type })?;
        let measure = || -> Option<(Vec<usize>, usize, usize)> {
            let sizes =
                proto.dims.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>()?;
            let count = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
            Some((sizes, count, count.checked_mul(dtype.size())?))
        };
        let (sizes, count, bytes) = measure()
            .ok_or_else(|| OnnxError::Sizes { tensor: tensor(), sizes: format!("{:?}", proto.dims) })?;
        Ok(Self { name, dtype, sizes, count, bytes })
    }

    fn raw(&self, raw: &[u8]) -> Result<Tensor, OnnxError> {
        if raw.len() != self.bytes {
            return Err(self.wrong_length("bytes", self.bytes, raw.len()));
        }
        Tensor::from_le_bytes(self.dtype, &self.sizes, raw).ok_or_else(|| self.wrong_sizes())
    }

    fn elements<S: Copy + Display, T: Element>(
        &self,
        field: &[S],
        element: impl Fn(S) -> Option<T>,
    ) -> Result<Tensor, OnnxError> {
        if field.len() != self.count {
            return Err(self.wrong_length("elements", self.count, field.len()));
        }
        let outside = |value: S| OnnxError::ElementRange {
            tensor: self.name.to_owned(),
            element_type: self.dtype.name(),
            value: value.to_string(),
        };
        let elements =
            field.iter().map(|&v| element(v).ok_or_else(|| outside(v))).collect::<Result<Vec<_>, _>>()?;
        Tensor::new(&self.sizes, elements).ok_or_else(|| self.wrong_sizes())
    }

    fn wrong_length(&self, unit: &'static str, wanted: usize, found: usize) -> OnnxError {
        OnnxError::DataLength {
            tensor: self.name.to_owned(),
            sizes: format!("{:?}", self.sizes),
            element_type: self.dtype.name(),
            unit,
            wanted,
            found,
        }
    }

    /// Sizes whose product fits, but not in memory (`[0, 2^63]`).
    fn wrong_sizes(&self) -> OnnxError {
        OnnxError::Sizes { tensor: self.name.to_owned(), sizes: format!("{:?}", self.sizes) }
    }
}
