//! A model as files: whole or not at all, and the same bytes for the same model.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::OnnxError;
use super::proto::tensor_proto::DataLocation;
use super::proto::{ModelProto, StringStringEntryProto};
use crate::tensor::WholeFile;
use prost::Message;

/// Protobuf readers refuse messages of 2 GiB and more.
const LARGEST_MODEL: usize = i32::MAX as usize;

/// Where a tensor begins in a data file: at pages, so that it can be mapped.
const ALIGNMENT: usize = 4096;

/// Initializers below this size stay in the model when the others leave it.
const SMALLEST_EXTERNAL: usize = 1024;

/// The data file of the model at `path`, if it needs one.
pub fn data_path(path: &Path) -> PathBuf {
    let mut data_path = path.as_os_str().to_owned();
    data_path.push(".data");
    data_path.into()
}

/// Writes the model to `path`. One that is larger than protobuf allows gets its weights from
/// `<file name>.data` beside it.
pub(super) fn write(path: &Path, model: ModelProto) -> Result<(), OnnxError> {
    persist(prepare(path, model)?)
}

pub(super) fn persist(files: Vec<WholeFile>) -> Result<(), OnnxError> {
    WholeFile::persist(files).map_err(|(path, error)| fault(&path, &error))
}

/// The files of the model, which have their names to get yet.
pub(super) fn prepare(path: &Path, model: ModelProto) -> Result<Vec<WholeFile>, OnnxError> {
    prepare_below(path, model, LARGEST_MODEL)
}

pub(super) fn prepare_below(
    path: &Path,
    mut model: ModelProto,
    largest: usize,
) -> Result<Vec<WholeFile>, OnnxError> {
    let data = if model.encoded_len() > largest { Some(move_weights(path, &mut model)?) } else { None };
    let encoded = model.encode_to_vec();
    if encoded.len() > largest {
        let cause =
            format!("the model has {} bytes without its weights, {largest} are possible", encoded.len());
        return Err(OnnxError::Write { path: path.display().to_string(), cause });
    }
    let model = WholeFile::new(path, |file| file.write_all(&encoded)).map_err(|error| fault(path, &error))?;
    // The model comes last: it is what makes the data file meaningful.
    Ok(data.into_iter().chain([model]).collect())
}

/// Moves the raw data of large initializers to the data file and leaves references to it.
fn move_weights(path: &Path, model: &mut ModelProto) -> Result<WholeFile, OnnxError> {
    let data_path = data_path(path);
    let location = data_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    WholeFile::new(&data_path, |file| {
        let mut end = 0usize;
        for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            let Some(raw) = tensor.raw_data.take_if(|raw| raw.len() >= SMALLEST_EXTERNAL) else { continue };
            let offset = end.next_multiple_of(ALIGNMENT);
            file.write_all(&vec![0; offset - end])?;
            file.write_all(&raw)?;
            end = offset + raw.len();
            let entry = |key: &str, value: String| StringStringEntryProto {
                key: Some(key.into()),
                value: Some(value),
            };
            tensor.external_data = vec![
                entry("location", location.clone()),
                entry("offset", offset.to_string()),
                entry("length", raw.len().to_string()),
            ];
            tensor.data_location = Some(DataLocation::External as i32);
        }
        Ok(())
    })
    .map_err(|error| fault(&data_path, &error))
}

fn fault(path: &Path, error: &std::io::Error) -> OnnxError {
    OnnxError::Write { path: path.display().to_string(), cause: error.to_string() }
}
