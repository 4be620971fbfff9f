//! HDF5 files: the only file that knows their crate.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hdf5_pure::{DType, File, Group};

use crate::tensor::Tensor;

/// Deflate, the filter of highest yield, gives at most so many bytes for one.
const HIGHEST_YIELD: u64 = 1032;

/// A file in memory.
pub struct Hdf5 {
    file: File,
    bytes: u64,
}

impl Hdf5 {
    pub fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\x89HDF\r\n\x1a\n")
    }

    pub fn open(bytes: Vec<u8>) -> Result<Self, String> {
        let length = bytes.len() as u64;
        let file = guard(|| File::from_bytes(bytes).map_err(words))?;
        Ok(Self { file, bytes: length })
    }

    /// The texts of an attribute of a group; `None` if it has none of that name. Long lists are kept in
    /// pieces, which are called `name0`, `name1`, ….
    pub fn texts(&self, group: &str, name: &str) -> Result<Option<Vec<String>>, String> {
        guard(|| {
            let attrs = self.group(group)?.attrs().map_err(words)?;
            if let Some(value) = attrs.get(name) {
                // Of a list without elements nobody sees that they are texts.
                return Ok(Some(value.as_strings().unwrap_or_default().to_vec()));
            }
            let pieces = (0..).map_while(|piece| attrs.get(&format!("{name}{piece}"))?.as_strings());
            let texts: Vec<String> = pieces.flatten().cloned().collect();
            Ok((!texts.is_empty()).then_some(texts))
        })
    }

    /// The names of the datasets in a group; none if there is no such group.
    pub fn datasets(&self, group: &str) -> Vec<String> {
        guard(|| self.group(group)?.datasets().map_err(words)).unwrap_or_default()
    }

    /// A dataset of f32.
    pub fn tensor(&self, path: &str) -> Result<Tensor, String> {
        guard(|| {
            let dataset = self.file.dataset(path).map_err(words)?;
            let dtype = dataset.dtype().map_err(words)?;
            if dtype != DType::F32 {
                return Err(format!("is stored as {dtype}; only f32 is read"));
            }
            let shape = dataset.shape().map_err(words)?;
            let room = self.bytes.saturating_mul(HIGHEST_YIELD);
            let count = shape.iter().try_fold(4u64, |n, &size| n.checked_mul(size));
            if count.is_none_or(|bytes| bytes > room) {
                return Err(format!("has sizes {shape:?}, more than the file can hold"));
            }
            let elements = dataset.read_f32().map_err(words)?;
            let sizes = shape.iter().map(|&size| size as usize).collect::<Vec<_>>();
            Tensor::new(&sizes, elements).ok_or_else(|| "has other data than its sizes say".to_owned())
        })
    }

    fn group(&self, path: &str) -> Result<Group, String> {
        if path.is_empty() { Ok(self.file.root()) } else { self.file.group(path).map_err(words) }
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The crate checks what it reads, but makes no promise for every file of wrong bytes: what it stumbles
/// over is a fault of the file. It is not used again after that, so nothing half done is seen.
fn guard<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("the HDF5 file is damaged".to_owned()))
}
