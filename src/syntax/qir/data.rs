//! Data entries: tensors written out, or kept in a safetensors file.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use super::ast::{Init, Literal, LiteralKind, Name};
use crate::diag::{Span, WithPlaces};
use crate::syntax::error::SyntaxError;
use crate::syntax::findings::Findings;
use crate::syntax::text::{Number, element_words};
use crate::tensor::{DType, Element, Tensor, stays_below};

/// Reads a file that a text names; the path is relative to the text.
pub type Load<'l> = dyn FnMut(&str) -> io::Result<Bytes> + 'l;

/// The data files of one text, each read once.
pub struct Files<'l> {
    load: &'l mut Load<'l>,
    /// The header's length and the file, or why there is none.
    files: BTreeMap<String, Result<(usize, Metadata, Bytes), SyntaxError>>,
}

impl<'l> Files<'l> {
    pub fn new(load: &'l mut Load<'l>) -> Self {
        Self { load, files: BTreeMap::new() }
    }

    fn open(&mut self, path: &str) -> &Result<(usize, Metadata, Bytes), SyntaxError> {
        self.files.entry(path.to_owned()).or_insert_with(|| {
            if !stays_below(path) {
                return Err(SyntaxError::DataPath { path: path.to_owned() });
            }
            let fail = |why: String| SyntaxError::DataRead { path: path.to_owned(), why };
            let bytes = (self.load)(path).map_err(|error| fail(error.to_string()))?;
            // The header is checked against the bytes there are before anything is made of it.
            let (header, metadata) =
                SafeTensors::read_metadata(&bytes).map_err(|error| fail(error.to_string()))?;
            Ok((header, metadata, bytes))
        })
    }

    /// The tensor that a data entry declares, if the file has exactly that.
    fn tensor(
        &mut self,
        path: &str,
        name: &str,
        sha256: Option<&str>,
        dtype: DType,
        sizes: &[usize],
    ) -> Result<Tensor, SyntaxError> {
        let (header, metadata, bytes) = match self.open(path) {
            Ok(file) => file,
            Err(error) => return Err(error.clone()),
        };
        let (path, tensor) = (path.to_owned(), name.to_owned());
        let Some(info) = metadata.info(name) else {
            return Err(SyntaxError::DataTensor { path, tensor, fact: "does not exist".into() });
        };
        if dtype_of(info.dtype) != Some(dtype) || info.shape != sizes {
            let fact = format!("is {}{:?}, not {dtype}{sizes:?}", stored_name(info.dtype), info.shape);
            return Err(SyntaxError::DataTensor { path, tensor, fact });
        }
        // Eight bytes hold the header's length.
        let (start, end) = info.data_offsets;
        let content = bytes.get(8 + header + start..8 + header + end);
        let Some(read) = content.and_then(|content| Tensor::from_le_bytes(dtype, sizes, content)) else {
            return Err(SyntaxError::DataTensor { path, tensor, fact: "is cut short".into() });
        };
        if let Some(sha256) = sha256 {
            let found = hex(&read.sha256());
            if !found.eq_ignore_ascii_case(sha256) {
                return Err(SyntaxError::DataHash { path, tensor, found });
            }
        }
        Ok(read)
    }
}

/// The tensors of a safetensors file.
///
/// # Errors
/// What is wrong with the file, in words.
pub fn read_safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let dtype = dtype_of(view.dtype()).ok_or_else(|| {
            format!("{name} is stored as {}, which is not supported", stored_name(view.dtype()))
        })?;
        // The file was checked: there are as many bytes as the sizes ask for.
        let tensor = Tensor::from_le_bytes(dtype, view.shape(), view.data());
        tensors.insert(name.to_owned(), tensor.ok_or_else(|| format!("{name} is cut off"))?);
    }
    Ok(tensors)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn stored_as(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::I8 => Dtype::I8,
        DType::U8 => Dtype::U8,
        DType::I16 => Dtype::I16,
        DType::U16 => Dtype::U16,
        DType::I32 => Dtype::I32,
        DType::U32 => Dtype::U32,
        DType::I64 => Dtype::I64,
        DType::U64 => Dtype::U64,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

fn dtype_of(stored: Dtype) -> Option<DType> {
    DType::ALL.into_iter().find(|&dtype| stored_as(dtype) == stored)
}

fn stored_name(stored: Dtype) -> String {
    dtype_of(stored).map_or_else(|| format!("{stored:?}"), |dtype| dtype.name().to_owned())
}

/// The tensor of a data entry; `None` if it is not as declared, which is then reported.
pub fn tensor(
    name: &Name,
    dtype: DType,
    sizes: &[usize],
    init: &Init,
    files: &mut Files,
    problems: &mut Findings,
) -> Option<Tensor> {
    match init {
        Init::File { path, tensor, sha256 } => {
            let hash = sha256.as_ref().map(|name| &*name.text);
            match files.tensor(&path.text, &tensor.text, hash, dtype, sizes) {
                Ok(tensor) => Some(tensor),
                Err(error) => {
                    let at = match error {
                        SyntaxError::DataTensor { .. } => tensor.span,
                        SyntaxError::DataHash { .. } => sha256.as_ref().unwrap_or(tensor).span,
                        _ => path.span,
                    };
                    problems.push(WithPlaces::new(error).at(at, ""));
                    None
                }
            }
        }
        Init::Inline(literals, span) => {
            let expected = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
            if expected != Some(literals.len()) {
                let sizes = format!("{dtype}{sizes:?}");
                let (found, expected) = (literals.len(), expected.unwrap_or(usize::MAX));
                let error = SyntaxError::DataLength { name: name.text.to_string(), sizes, expected, found };
                problems.push(WithPlaces::new(error).at(*span, format!("{found} elements")));
                return None;
            }
            inline(dtype, sizes, literals, problems)
        }
    }
}

fn inline(dtype: DType, sizes: &[usize], literals: &[Literal], problems: &mut Findings) -> Option<Tensor> {
    fn go<T: Element + Number>(
        sizes: &[usize],
        literals: &[Literal],
        problems: &mut Findings,
    ) -> Option<Tensor> {
        let mut elements = Vec::with_capacity(literals.len());
        for literal in literals {
            let value = Some(literal).filter(|l| l.kind != LiteralKind::Str).and_then(|l| T::read(&l.text));
            match value {
                Some(value) => elements.push(value),
                // One of a kind is enough: the others are most likely wrong in the same way.
                None => {
                    problems.push(wrong(literal, element_words(T::DTYPE), Some(T::DTYPE)));
                    return None;
                }
            }
        }
        Tensor::new(sizes, elements)
    }
    match dtype {
        DType::Bool => go::<bool>(sizes, literals, problems),
        DType::I8 => go::<i8>(sizes, literals, problems),
        DType::U8 => go::<u8>(sizes, literals, problems),
        DType::I16 => go::<i16>(sizes, literals, problems),
        DType::U16 => go::<u16>(sizes, literals, problems),
        DType::I32 => go::<i32>(sizes, literals, problems),
        DType::U32 => go::<u32>(sizes, literals, problems),
        DType::I64 => go::<i64>(sizes, literals, problems),
        DType::U64 => go::<u64>(sizes, literals, problems),
        DType::F32 => go::<f32>(sizes, literals, problems),
        DType::F64 => go::<f64>(sizes, literals, problems),
    }
}

/// A literal that is not what its place asks for.
pub fn wrong(literal: &Literal, wanted: &str, dtype: Option<DType>) -> WithPlaces<SyntaxError> {
    let wanted = match dtype {
        Some(dtype) => format!("{wanted} of type {dtype}"),
        None => wanted.to_owned(),
    };
    let place: Span = literal.span;
    WithPlaces::new(SyntaxError::Literal { text: literal.text.to_string(), wanted }).at(place, "")
}
