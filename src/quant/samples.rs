//! Where calibration samples come from: files, read in slices, or a seeded generator.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zip::ZipArchive;

use super::QuantError;
use crate::tensor::npy::{NpyError, NpyReader};
use crate::tensor::{DType, Shape, Tensor};

/// A stream of samples stacked along the first axis.
pub trait Samples {
    /// Number of samples in all.
    fn count(&self) -> usize;

    /// The next `rows` samples, fewer at the end, `None` after it.
    fn take(&mut self, rows: usize) -> Result<Option<Tensor>, QuantError>;

    /// Begins again with the first sample.
    fn rewind(&mut self);
}

/// Samples for an input of that shape, which may have the time axis of a single frame (axis 2 of 5, of
/// size 1) where they have none, and the other way round.
pub fn as_frames(samples: Tensor, shape: &Shape) -> Tensor {
    let mut sizes = samples.sizes().to_vec();
    match (sizes.len(), shape.rank()) {
        (4, 5) => sizes.insert(2, 1),
        (5, 4) if sizes[2] == 1 => {
            sizes.remove(2);
        }
        _ => return samples,
    }
    samples.reshaped(&sizes).unwrap_or(samples)
}

/// Samples in `.npy` files, and in the arrays of `.npz` archives (in the order of the archive),
/// one after the other. Only one slice is in memory at a time.
pub struct SampleFiles {
    /// All arrays, last first.
    arrays: Vec<ArrayAt>,
    /// Those not yet begun.
    pending: Vec<ArrayAt>,
    open: Option<(String, NpyReader<Box<dyn Read>>)>,
    count: usize,
}

type Archive = ZipArchive<BufReader<File>>;

#[derive(Clone)]
pub(super) enum ArrayAt {
    File(PathBuf),
    /// By its index in an archive, whose directory is read once.
    Member {
        path: PathBuf,
        archive: Rc<RefCell<Archive>>,
        entry: usize,
    },
}

impl SampleFiles {
    /// Opens every file and reads the headers: each array must be of `dtype`, with rows of
    /// the shape that the input has after its first axis.
    pub fn open(paths: &[PathBuf], input: &str, dtype: DType, shape: &Shape) -> Result<Self, QuantError> {
        let mut arrays = Vec::new();
        for path in paths {
            arrays.extend(ArrayAt::all(path)?);
        }
        let mut count = 0;
        // Symbols in the input's shape stand for one size in all files.
        let mut rows_of: Option<Vec<usize>> = None;
        for array in &arrays {
            let (file, header) = array.header()?;
            let sizes = &header.sizes[..];
            let rows_fit = match (shape.split_first(), sizes.split_first()) {
                (Some((_, expected)), Some((_, found))) => {
                    let expected = Shape::new(expected.iter().cloned());
                    // Without the time axis of a single frame.
                    let frame = || matches!(found, &[c, h, w] if expected.admits(&[c, 1, h, w]));
                    expected.admits(found) || frame()
                }
                _ => false,
            };
            let first = rows_of.get_or_insert_with(|| sizes.to_vec());
            if header.dtype != dtype || !rows_fit || first[1..] != sizes[1..] {
                return Err(QuantError::SampleType {
                    file,
                    input: input.to_owned(),
                    dtype,
                    expected: shape.clone(),
                    found_dtype: header.dtype,
                    found: sizes.to_vec(),
                });
            }
            if sizes[1..].contains(&0) {
                return Err(QuantError::EmptySamples { file, found: sizes.to_vec() });
            }
            // Rows of at least one byte each, as many as there can be bytes in a file.
            count = sizes[0].saturating_add(count);
        }
        arrays.reverse();
        Ok(Self { pending: arrays.clone(), arrays, open: None, count })
    }

    /// Sizes of one sample of a file, without the first axis: what fixes an unknown input shape.
    pub fn row_sizes(path: &Path) -> Result<Vec<usize>, QuantError> {
        let Some(first) = ArrayAt::all(path)?.into_iter().next() else { return Err(QuantError::NoSamples) };
        Ok(first.header()?.1.sizes.into_iter().skip(1).collect())
    }
}

impl Samples for SampleFiles {
    fn count(&self) -> usize {
        self.count
    }

    fn take(&mut self, rows: usize) -> Result<Option<Tensor>, QuantError> {
        let mut bytes = Vec::new();
        let mut have = 0;
        while have < rows {
            match &mut self.open {
                Some((file, reader)) if reader.left() > 0 => {
                    have += reader
                        .take_bytes(rows - have, &mut bytes)
                        .map_err(|error| QuantError::Npy { file: file.clone(), error })?;
                }
                _ => match self.pending.pop() {
                    Some(array) => self.open = Some(array.open()?),
                    None => break,
                },
            }
        }
        let Some((_, reader)) = self.open.as_ref().filter(|_| have > 0) else { return Ok(None) };
        let mut sizes = reader.sizes().to_vec();
        sizes[0] = have;
        Ok(Tensor::from_le_bytes(reader.dtype(), &sizes, &bytes))
    }

    fn rewind(&mut self) {
        (self.pending, self.open) = (self.arrays.clone(), None);
    }
}

/// What a file says of its array.
struct Header {
    dtype: DType,
    sizes: Vec<usize>,
}

impl Header {
    fn of<R: Read>(file: &str, reader: R) -> Result<Self, QuantError> {
        let reader =
            NpyReader::open(reader).map_err(|error| QuantError::Npy { file: file.to_owned(), error })?;
        Ok(Self { dtype: reader.dtype(), sizes: reader.sizes().to_vec() })
    }
}

impl ArrayAt {
    /// The arrays of a file: one, or those of an archive.
    pub(super) fn all(path: &Path) -> Result<Vec<Self>, QuantError> {
        if path.extension().is_none_or(|extension| extension != "npz") {
            return Ok(vec![Self::File(path.to_owned())]);
        }
        let archive = open_zip(path)?;
        let count = archive.len();
        if count == 0 {
            return Err(QuantError::EmptyArchive { file: path.display().to_string() });
        }
        let archive = Rc::new(RefCell::new(archive));
        let member = |entry| Self::Member { path: path.to_owned(), archive: archive.clone(), entry };
        Ok((0..count).map(member).collect())
    }

    /// Reads no more than the header. With the name of the array for errors.
    fn header(&self) -> Result<(String, Header), QuantError> {
        match self {
            Self::File(path) => {
                let file = path.display().to_string();
                let header = Header::of(&file, open_file(path)?)?;
                Ok((file, header))
            }
            Self::Member { path, archive, entry } => {
                with_member(path, archive, *entry, |name, member| Header::of(name, member))
            }
        }
    }

    pub(super) fn open(&self) -> Result<(String, NpyReader<Box<dyn Read>>), QuantError> {
        let (file, reader): (String, Box<dyn Read>) = match self {
            Self::File(path) => (path.display().to_string(), Box::new(open_file(path)?)),
            Self::Member { path, archive, entry } => {
                // The archive and its member borrow from each other, so an array of an archive is
                // unpacked whole; memory grows as data arrives, not on the word of a header.
                let (file, bytes) = with_member(path, archive, *entry, |name, member| {
                    let mut bytes = Vec::new();
                    let read = member.read_to_end(&mut bytes);
                    let fail = |error| QuantError::Npy { file: name.to_owned(), error: NpyError::Io(error) };
                    read.map(|_| bytes).map_err(fail)
                })?;
                (file, Box::new(std::io::Cursor::new(bytes)))
            }
        };
        let reader =
            NpyReader::open(reader).map_err(|error| QuantError::Npy { file: file.clone(), error })?;
        Ok((file, reader))
    }
}

/// Calls `read` with the name of a member for errors, and its unpacked bytes.
fn with_member<T>(
    path: &Path,
    archive: &RefCell<Archive>,
    entry: usize,
    read: impl FnOnce(&str, &mut dyn Read) -> Result<T, QuantError>,
) -> Result<(String, T), QuantError> {
    let file = path.display().to_string();
    let mut archive = archive.borrow_mut();
    let mut member = match archive.by_index(entry) {
        Ok(member) => member,
        Err(error) => return Err(QuantError::Zip { file, error: error.to_string() }),
    };
    let name = format!("{file}/{}", member.name());
    let result = read(&name, &mut member)?;
    Ok((name, result))
}

fn open_file(path: &Path) -> Result<BufReader<File>, QuantError> {
    let fail = |error| QuantError::Npy { file: path.display().to_string(), error: NpyError::Io(error) };
    Ok(BufReader::new(File::open(path).map_err(fail)?))
}

fn open_zip(path: &Path) -> Result<Archive, QuantError> {
    /// How an archive begins that has no member before its directory.
    const EMPTY: [u8; 4] = *b"PK\x05\x06";

    let mut file = open_file(path)?;
    let fail = |error| QuantError::Npy { file: path.display().to_string(), error: NpyError::Io(error) };
    if file.fill_buf().map_err(fail)?.starts_with(&EMPTY) {
        return Err(QuantError::EmptyArchive { file: path.display().to_string() });
    }
    ZipArchive::new(file)
        .map_err(|error| QuantError::Zip { file: path.display().to_string(), error: error.to_string() })
}

/// Elements of a random batch: a model file may claim any sizes, and no real network takes more.
const LARGEST_RANDOM: usize = 1 << 28;

/// Random samples from ChaCha8 under a seed: uniform in [0, 1) for floats (24 bits, or 53), the
/// full range for integers.
pub struct RandomSamples {
    seed: u64,
    rng: ChaCha8Rng,
    dtype: DType,
    row: Vec<usize>,
    count: usize,
    left: usize,
}

impl RandomSamples {
    /// # Errors
    /// A size other than the first is unknown.
    pub fn new(
        input: &str,
        dtype: DType,
        shape: &Shape,
        count: usize,
        seed: u64,
    ) -> Result<Self, QuantError> {
        let row = Shape::new(shape.iter().skip(1).cloned()).sizes();
        let row =
            row.ok_or_else(|| QuantError::RandomShape { input: input.to_owned(), shape: shape.clone() })?;
        Ok(Self { seed, rng: ChaCha8Rng::seed_from_u64(seed), dtype, row, count, left: count })
    }
}

impl Samples for RandomSamples {
    fn rewind(&mut self) {
        (self.rng, self.left) = (ChaCha8Rng::seed_from_u64(self.seed), self.count);
    }

    fn count(&self) -> usize {
        self.count
    }

    fn take(&mut self, rows: usize) -> Result<Option<Tensor>, QuantError> {
        if self.left == 0 {
            return Ok(None);
        }
        let rows = rows.min(self.left);
        self.left -= rows;
        let mut sizes = vec![rows];
        sizes.extend(&self.row);
        // Integers of every width are the low bytes of one draw.
        let size = self.dtype.size();
        let elements = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let Some(elements) = elements.filter(|&elements| elements <= LARGEST_RANDOM) else {
            return Err(QuantError::RandomSize { sizes });
        };
        let mut bytes = Vec::with_capacity(elements * size);
        for _ in 0..elements {
            let bits = self.rng.next_u64();
            match self.dtype {
                DType::F32 => {
                    let unit = (bits >> 40) as f32 / (1u32 << 24) as f32;
                    bytes.extend_from_slice(&unit.to_le_bytes());
                }
                DType::F64 => {
                    let unit = (bits >> 11) as f64 / (1u64 << 53) as f64;
                    bytes.extend_from_slice(&unit.to_le_bytes());
                }
                DType::Bool => bytes.push((bits & 1) as u8),
                _ => bytes.extend_from_slice(&bits.to_le_bytes()[..size]),
            }
        }
        Ok(Tensor::from_le_bytes(self.dtype, &sizes, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::diag::Report;
    use crate::tensor::npy::write_npy;

    fn npz(dir: &Path, members: &[(&str, Vec<u8>)]) -> PathBuf {
        let path = dir.join("samples.npz");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in members {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn npy<T: crate::tensor::Element>(sizes: &[usize], elements: Vec<T>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_npy(&Tensor::new(sizes, elements).unwrap(), &mut bytes).unwrap();
        bytes
    }

    fn open(path: &Path) -> Result<SampleFiles, QuantError> {
        SampleFiles::open(&[path.to_owned()], "x", DType::F32, &Shape::fixed(&[1, 2]))
    }

    #[test]
    fn arrays_of_an_archive_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let member = |at: usize| npy(&[1, 2], vec![at as f32, 0.5]);
        let names: Vec<String> = (0..300).map(|at| format!("a{at}.npy")).collect();
        let members: Vec<(&str, Vec<u8>)> =
            names.iter().enumerate().map(|(at, name)| (name.as_str(), member(at))).collect();
        let path = npz(dir.path(), &members);
        let mut samples = open(&path).unwrap();
        assert_eq!(samples.count(), 300);
        assert_eq!(SampleFiles::row_sizes(&path).unwrap(), [2]);
        let all = samples.take(1000).unwrap().unwrap();
        assert_eq!(all.sizes(), [300, 2]);
        assert_eq!(all.elements::<f32>().unwrap()[598..], [299.0, 0.5]);
    }

    #[test]
    fn archives_without_samples_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = npz(dir.path(), &[]);
        assert_eq!(open(&empty).err().unwrap().code(), "Q0603");
        let labels = vec![("x.npy", npy(&[1, 2], vec![0.5f32, 1.0])), ("y.npy", npy(&[1], vec![3i64]))];
        let error = open(&npz(dir.path(), &labels)).err().unwrap();
        assert!(error.hints()[0].contains("labels"), "{error}");
    }

    #[test]
    fn samples_have_elements() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.npy");
        std::fs::write(&path, npy::<f32>(&[1000, 0], Vec::new())).unwrap();
        let shape = Shape::new([crate::tensor::Dim::Fixed(1), crate::tensor::Dim::Symbol("n".into())]);
        let error = SampleFiles::open(std::slice::from_ref(&path), "x", DType::F32, &shape).err().unwrap();
        assert_eq!(error.code(), "Q0616");
    }
}
