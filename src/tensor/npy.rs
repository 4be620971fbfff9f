//! NumPy's `.npy` files, read in slices along the first axis and written whole.
//!
//! The header (a Python dictionary with three known keys) is read by hand: general readers of
//! Python literals recurse on nesting and allocate the length that the file claims. Format:
//! `numpy.lib.format`, versions 1.0 to 3.0.

use std::io::{self, Read, Write};

use thiserror::Error;

use super::{DType, Element, Tensor, dispatch};

#[derive(Debug, Error)]
pub enum NpyError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a .npy file: {0}")]
    Format(&'static str),
    #[error("element type `{0}` is not supported")]
    Descr(String),
    #[error("the header promises more elements than a file can hold")]
    Huge,
    #[error("the file ends before its last element")]
    Truncated,
}

/// numpy itself refuses longer headers by default.
const MAX_HEADER: usize = 10_000;

/// An open `.npy` stream.
pub struct NpyReader<R> {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    sizes: Vec<usize>,
    /// Rows (indices of the first axis) not yet read.
    left: usize,
    reader: R,
    /// The data of an array in Fortran order, once it is read.
    reordered: Option<io::Cursor<Vec<u8>>>,
}

impl<R: Read> NpyReader<R> {
    /// Reads the header.
    pub fn open(mut reader: R) -> Result<Self, NpyError> {
        let mut start = [0; 8];
        read_exact(&mut reader, &mut start)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(NpyError::Format("it does not start with \\x93NUMPY"));
        }
        let length = match start[6] {
            1 => {
                let mut raw = [0; 2];
                read_exact(&mut reader, &mut raw)?;
                usize::from(u16::from_le_bytes(raw))
            }
            2 | 3 => {
                let mut raw = [0; 4];
                read_exact(&mut reader, &mut raw)?;
                u32::from_le_bytes(raw) as usize
            }
            _ => return Err(NpyError::Format("its version is not 1, 2 or 3")),
        };
        if length > MAX_HEADER {
            return Err(NpyError::Format("its header is longer than 10000 bytes"));
        }
        let mut header = vec![0; length];
        read_exact(&mut reader, &mut header)?;
        let header = std::str::from_utf8(&header).map_err(|_| NpyError::Format("its header is not text"))?;
        let header = Header::parse(header)?;
        let elements = header.sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        elements.and_then(|n| n.checked_mul(header.dtype.size())).ok_or(NpyError::Huge)?;
        let left = header.sizes.first().copied().unwrap_or(1);
        let Header { dtype, big_endian, fortran, sizes } = header;
        Ok(Self { dtype, big_endian, fortran, sizes, left, reader, reordered: None })
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the whole array.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Rows not yet read.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The next `rows` indices of the first axis, fewer at the end. Memory is taken as data
    /// arrives, never on the header's word. (An array in Fortran order is read whole.)
    pub fn take(&mut self, rows: usize) -> Result<Tensor, NpyError> {
        let mut bytes = Vec::new();
        let rows = self.take_bytes(rows, &mut bytes)?;
        let mut sizes = self.sizes.clone();
        if let Some(first) = sizes.first_mut() {
            *first = rows;
        }
        Tensor::from_le_bytes(self.dtype, &sizes, &bytes).ok_or(NpyError::Truncated)
    }

    /// Appends the little-endian bytes of the next rows to `out`; returns how many rows came.
    pub fn take_bytes(&mut self, rows: usize, out: &mut Vec<u8>) -> Result<usize, NpyError> {
        if self.fortran {
            self.reorder()?;
        }
        let rows = rows.min(self.left);
        // `open` found the bytes of the whole array to fit.
        let bytes = rows * self.sizes.iter().skip(1).product::<usize>() * self.dtype.size();
        let start = out.len();
        match &mut self.reordered {
            Some(reordered) => reordered.take(bytes as u64).read_to_end(out)?,
            None => self.reader.by_ref().take(bytes as u64).read_to_end(out)?,
        };
        let new = &mut out[start..];
        if new.len() != bytes {
            return Err(NpyError::Truncated);
        }
        if self.big_endian {
            new.chunks_exact_mut(self.dtype.size()).for_each(<[u8]>::reverse);
        }
        self.left -= rows;
        Ok(rows)
    }

    /// Reads an array in Fortran order whole and keeps it in row-major order.
    fn reorder(&mut self) -> Result<(), NpyError> {
        fn reversed<T: Element>(array: &super::Array<T>) -> Tensor {
            T::wrap(array.clone().reversed_axes())
        }
        let bytes = self.sizes.iter().product::<usize>() * self.dtype.size();
        let mut data = Vec::new();
        self.reader.by_ref().take(bytes as u64).read_to_end(&mut data)?;
        let sizes: Vec<usize> = self.sizes.iter().rev().copied().collect();
        let tensor = Tensor::from_le_bytes(self.dtype, &sizes, &data).ok_or(NpyError::Truncated)?;
        let tensor = dispatch!(&tensor, array => reversed(array));
        self.reordered = Some(io::Cursor::new(tensor.to_le_bytes().into_owned()));
        self.fortran = false;
        Ok(())
    }

    /// All rows that are left.
    pub fn read_all(mut self) -> Result<Tensor, NpyError> {
        self.take(usize::MAX)
    }
}

fn read_exact(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), NpyError> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => NpyError::Format("it ends inside the header"),
        _ => NpyError::Io(error),
    })
}

struct Header {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    sizes: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, NpyError> {
        const SHAPE: NpyError = NpyError::Format("its `shape` is not a tuple of sizes");
        let descr = quoted(after(text, "descr")?)?;
        let order = after(text, "fortran_order")?;
        let shape = after(text, "shape")?.strip_prefix('(').ok_or(SHAPE)?;
        let (shape, _) = shape.split_once(')').ok_or(SHAPE)?;
        let sizes = shape
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty())
            .map(size)
            .collect::<Result<Vec<usize>, _>>()?;
        let fortran = match order {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            _ => return Err(NpyError::Format("its `fortran_order` is neither True nor False")),
        };
        let (order_char, code) = descr.split_at_checked(1).unwrap_or(("", ""));
        let dtype = match code {
            "b1" => DType::Bool,
            "i1" => DType::I8,
            "u1" => DType::U8,
            "i2" => DType::I16,
            "u2" => DType::U16,
            "i4" => DType::I32,
            "u4" => DType::U32,
            "i8" => DType::I64,
            "u8" => DType::U64,
            "f4" => DType::F32,
            "f8" => DType::F64,
            _ => return Err(NpyError::Descr(descr.to_owned())),
        };
        let big_endian = match order_char {
            "<" | "|" => false,
            ">" => true,
            _ => return Err(NpyError::Descr(descr.to_owned())),
        };
        Ok(Self { dtype, big_endian, fortran, sizes })
    }
}

/// An entry of `shape`; Python 2 wrote an L behind long integers.
fn size(text: &str) -> Result<usize, NpyError> {
    let digits = text.strip_suffix('L').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NpyError::Format("its `shape` is not a tuple of sizes"));
    }
    digits.parse().map_err(|_| NpyError::Huge)
}

/// The text that follows `'key':` in the header, where the key stands once.
fn after<'a>(header: &'a str, key: &str) -> Result<&'a str, NpyError> {
    let keys = ['\'', '"'].map(|quote| format!("{quote}{key}{quote}"));
    if keys.iter().map(|key| header.matches(key.as_str()).count()).sum::<usize>() > 1 {
        return Err(NpyError::Format("its header says `descr`, `fortran_order` or `shape` twice"));
    }
    keys.iter()
        .find_map(|key| header.split_once(key.as_str()))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or(NpyError::Format("its header lacks `descr`, `fortran_order` or `shape`"))
}

fn quoted(text: &str) -> Result<&str, NpyError> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let inside = quote.and_then(|quote| text[1..].split(quote).next());
    inside.ok_or_else(|| NpyError::Descr(text.chars().take(40).collect()))
}

/// Writes a tensor as `.npy`, version 1.0, with the header padded to 64 bytes as numpy does.
pub fn write_npy(tensor: &Tensor, writer: &mut impl Write) -> io::Result<()> {
    let descr = match tensor.dtype() {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::I16 => "<i2",
        DType::U16 => "<u2",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::I64 => "<i8",
        DType::U64 => "<u8",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
    };
    let sizes: Vec<String> = tensor.sizes().iter().map(usize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let dictionary =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    // Ten bytes stand before the dictionary, a newline after it.
    let padded = (10 + dictionary.len() + 1).next_multiple_of(64) - 10 - 1;
    let length =
        u16::try_from(padded + 1).map_err(|_| io::Error::other("more axes than .npy 1.0 can name"))?;
    writer.write_all(b"\x93NUMPY\x01\x00")?;
    writer.write_all(&length.to_le_bytes())?;
    writeln!(writer, "{dictionary:<padded$}")?;
    writer.write_all(&tensor.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(tensor: &Tensor) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_npy(tensor, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn slices_come_in_order_and_end_short() {
        let tensor = Tensor::new(&[5, 2], (0..10i32).collect()).unwrap();
        let bytes = file(&tensor);
        assert_eq!((bytes.len() - 40) % 64, 0);
        let mut reader = NpyReader::open(&bytes[..]).unwrap();
        assert_eq!(reader.take(3).unwrap(), Tensor::new(&[3, 2], (0..6i32).collect()).unwrap());
        assert_eq!(reader.take(3).unwrap(), Tensor::new(&[2, 2], (6..10i32).collect()).unwrap());
        assert_eq!(reader.take(3).unwrap().sizes(), [0, 2]);
    }

    #[test]
    fn big_endian_and_fortran_order() {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend([0u8, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6]);
        let tensor = NpyReader::open(&bytes[..]).unwrap().read_all().unwrap();
        assert_eq!(tensor, Tensor::new(&[2, 3], vec![1i16, 2, 3, 4, 5, 6]).unwrap());
    }

    #[test]
    fn claims_are_not_believed() {
        for shape in ["(99999999999, 99999999999)", "(1000000000,)", "(((((", "('a',)"] {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.bytes());
            assert!(NpyReader::open(&bytes[..]).and_then(NpyReader::read_all).is_err(), "{shape}");
        }
    }

    #[test]
    fn headers_mean_one_thing() {
        let says = |order: &str, shape: &str| {
            let header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}, }}\n");
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.bytes());
            NpyReader::open(&bytes[..]).map(|_| ()).unwrap_err().to_string()
        };
        for shape in ["(-1,)", "(2.0,)", "('a',)", "(+1,)", "2"] {
            assert_eq!(
                says("False", shape),
                "not a .npy file: its `shape` is not a tuple of sizes",
                "{shape}"
            );
        }
        assert!(says("Maybe", "(2,)").contains("neither True nor False"));
        assert!(says("True, 'fortran_order': False", "(2,)").contains("twice"));
    }

    proptest! {
        #[test]
        fn round_trip(rows in 0usize..4, columns in 0usize..4, seed in any::<u32>()) {
            let elements = (0..rows * columns).map(|i| f32::from_bits(seed.wrapping_mul(i as u32 + 1))).collect();
            let tensor = Tensor::new(&[rows, columns], elements).unwrap();
            let back = NpyReader::open(&file(&tensor)[..]).unwrap().read_all().unwrap();
            prop_assert_eq!(back.to_le_bytes(), tensor.to_le_bytes());
        }

        #[test]
        fn damaged_files_are_refused_or_read(at in 0usize..200, byte in any::<u8>(), keep in 0usize..200) {
            let mut bytes = file(&Tensor::new(&[4, 4], (0..16i32).collect()).unwrap());
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(keep);
            let _ = NpyReader::open(&bytes[..]).and_then(NpyReader::read_all);
        }
    }
}
