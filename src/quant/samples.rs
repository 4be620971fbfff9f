//! Where calibration samples come from: files, read in slices, or a seeded generator.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

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
}

/// Samples in `.npy` files, and in the arrays of `.npz` archives (in the order of the archive),
/// one after the other. Only one slice is in memory at a time.
pub struct SampleFiles {
    /// Arrays not yet begun, last first.
    pending: Vec<ArrayAt>,
    open: Option<(String, NpyReader<Box<dyn Read>>)>,
    count: usize,
}

struct ArrayAt {
    path: PathBuf,
    /// Index of the array in its archive.
    entry: Option<usize>,
}

impl SampleFiles {
    /// Opens every file and reads the headers: each array must be of `dtype`, with rows of
    /// the shape that the input has after its first axis.
    pub fn open(paths: &[PathBuf], input: &str, dtype: DType, shape: &Shape) -> Result<Self, QuantError> {
        let mut arrays = Vec::new();
        for path in paths {
            let archive = path.extension().is_some_and(|extension| extension == "npz");
            if archive {
                let zip = open_zip(path)?;
                if zip.is_empty() {
                    return Err(QuantError::EmptyArchive { file: path.display().to_string() });
                }
                arrays.extend((0..zip.len()).map(|entry| ArrayAt { path: path.clone(), entry: Some(entry) }));
            } else {
                arrays.push(ArrayAt { path: path.clone(), entry: None });
            }
        }
        let mut count = 0;
        // Symbols in the input's shape stand for one size in all files.
        let mut rows_of: Option<Vec<usize>> = None;
        for array in &arrays {
            let (file, reader) = array.open()?;
            let sizes = reader.sizes();
            let rows_fit = match (shape.split_first(), sizes.split_first()) {
                (Some((_, expected)), Some((_, found))) => Shape::new(expected.iter().cloned()).admits(found),
                _ => false,
            };
            let first = rows_of.get_or_insert_with(|| sizes.to_vec());
            if reader.dtype() != dtype || !rows_fit || first[1..] != sizes[1..] {
                return Err(QuantError::SampleType {
                    file,
                    input: input.to_owned(),
                    dtype,
                    expected: shape.clone(),
                    found_dtype: reader.dtype(),
                    found: sizes.to_vec(),
                });
            }
            count += reader.left();
        }
        arrays.reverse();
        Ok(Self { pending: arrays, open: None, count })
    }

    /// Sizes of one sample of a file, without the first axis: what fixes an unknown input shape.
    pub fn row_sizes(path: &std::path::Path) -> Result<Vec<usize>, QuantError> {
        let archive = path.extension().is_some_and(|extension| extension == "npz");
        let (_, reader) = ArrayAt { path: path.to_owned(), entry: archive.then_some(0) }.open()?;
        Ok(reader.sizes().iter().skip(1).copied().collect())
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
}

impl ArrayAt {
    fn open(&self) -> Result<(String, NpyReader<Box<dyn Read>>), QuantError> {
        let mut file = self.path.display().to_string();
        let reader: Box<dyn Read> = match self.entry {
            None => Box::new(open_file(&self.path)?),
            Some(entry) => {
                let mut zip = open_zip(&self.path)?;
                let fail = |error: zip::result::ZipError| QuantError::Zip {
                    file: file.clone(),
                    error: error.to_string(),
                };
                let mut member = zip.by_index(entry).map_err(fail)?;
                let name = member.name().to_owned();
                // The archive and its member borrow from each other, so an array of an archive is
                // unpacked whole; memory grows as data arrives, not on the word of a header.
                let mut bytes = Vec::new();
                member
                    .read_to_end(&mut bytes)
                    .map_err(|error| QuantError::Npy { file: file.clone(), error: NpyError::Io(error) })?;
                file = format!("{file}/{name}");
                Box::new(std::io::Cursor::new(bytes))
            }
        };
        let reader =
            NpyReader::open(reader).map_err(|error| QuantError::Npy { file: file.clone(), error })?;
        Ok((file, reader))
    }
}

fn open_file(path: &std::path::Path) -> Result<BufReader<File>, QuantError> {
    let fail = |error| QuantError::Npy { file: path.display().to_string(), error: NpyError::Io(error) };
    Ok(BufReader::new(File::open(path).map_err(fail)?))
}

fn open_zip(path: &std::path::Path) -> Result<ZipArchive<BufReader<File>>, QuantError> {
    ZipArchive::new(open_file(path)?)
        .map_err(|error| QuantError::Zip { file: path.display().to_string(), error: error.to_string() })
}

/// Elements of a random batch: a model file may claim any sizes, and no real network takes more.
const LARGEST_RANDOM: usize = 1 << 28;

/// Random samples from ChaCha8 under a seed: uniform in [0, 1) for floats (24 bits, or 53), the
/// full range for integers.
pub struct RandomSamples {
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
        Ok(Self { rng: ChaCha8Rng::seed_from_u64(seed), dtype, row, count, left: count })
    }
}

impl Samples for RandomSamples {
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
