//! Files of named arrays.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::QuantError;
use super::samples::ArrayAt;
use crate::syntax::qir::read_safetensors;
use crate::tensor::Tensor;
use crate::tensor::npy::NpyError;

/// The arrays of an `.npz` or `.safetensors` file, by name.
///
/// # Errors
/// A file that cannot be read, or is of neither kind.
pub fn read_arrays(path: &Path) -> Result<BTreeMap<String, Tensor>, QuantError> {
    let file = path.display().to_string();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npz") => {
            let mut arrays = BTreeMap::new();
            for array in ArrayAt::all(path)? {
                let (of, reader) = array.open()?;
                let tensor =
                    reader.read_all().map_err(|error| QuantError::Npy { file: of.clone(), error })?;
                // `FILE.npz/NAME.npy`: a name may have slashes of its own.
                let name = of.strip_prefix(&format!("{file}/")).unwrap_or(&of);
                arrays.insert(name.strip_suffix(".npy").unwrap_or(name).to_owned(), tensor);
            }
            Ok(arrays)
        }
        Some("safetensors") => {
            let bytes = fs::read(path)
                .map_err(|error| QuantError::Npy { file: file.clone(), error: NpyError::Io(error) })?;
            read_safetensors(&bytes).map_err(|error| QuantError::Arrays { file, error })
        }
        _ => Err(QuantError::Arrays { file, error: "arrays with names come as .npz or .safetensors".into() }),
    }
}
