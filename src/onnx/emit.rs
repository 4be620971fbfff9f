//! A model as files: whole or not at all, and the same bytes for the same model.

use std::io::Write;
use std::path::{Path, PathBuf};

use prost::Message;
use tempfile::NamedTempFile;

use super::OnnxError;
use super::proto::tensor_proto::DataLocation;
use super::proto::{ModelProto, StringStringEntryProto};

/// Protobuf readers refuse messages of 2 GiB and more.
const LARGEST_MODEL: usize = i32::MAX as usize;

/// Where a tensor begins in a data file: at pages, so that it can be mapped.
const ALIGNMENT: usize = 4096;

/// Initializers below this size stay in the model when the others leave it.
const SMALLEST_EXTERNAL: usize = 1024;

/// Writes the model to `path`. One that is larger than protobuf allows gets its weights from
/// `<file name>.data` beside it.
pub(super) fn write(path: &Path, model: ModelProto) -> Result<(), OnnxError> {
    write_below(path, model, LARGEST_MODEL)
}

pub(super) fn write_below(path: &Path, mut model: ModelProto, largest: usize) -> Result<(), OnnxError> {
    let data = if model.encoded_len() > largest { Some(move_weights(path, &mut model)?) } else { None };
    let encoded = model.encode_to_vec();
    if encoded.len() > largest {
        let cause =
            format!("the model has {} bytes without its weights, {largest} are possible", encoded.len());
        return Err(OnnxError::Write { path: path.display().to_string(), cause });
    }
    let model = Pending::new(path, |file| file.write_all(&encoded))?;
    // The model comes last: it is what makes the data file meaningful.
    if let Some(data) = data {
        data.persist()?;
    }
    model.persist()
}

/// Moves the raw data of large initializers to the data file and leaves references to it.
fn move_weights(path: &Path, model: &mut ModelProto) -> Result<Pending, OnnxError> {
    let mut data_path = path.as_os_str().to_owned();
    data_path.push(".data");
    let data_path = PathBuf::from(data_path);
    let location = data_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Pending::new(&data_path, |file| {
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
}

/// A file written beside its destination, not yet renamed to it.
struct Pending {
    file: NamedTempFile,
    path: PathBuf,
}

impl Pending {
    fn new(
        path: &Path,
        fill: impl FnOnce(&mut std::io::BufWriter<&mut NamedTempFile>) -> std::io::Result<()>,
    ) -> Result<Self, OnnxError> {
        let make = || {
            // A bare file name has the empty parent, which is the current directory.
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut file = builder().tempfile_in(dir)?;
            let mut writer = std::io::BufWriter::new(&mut file);
            fill(&mut writer)?;
            writer.flush()?;
            drop(writer);
            Ok(file)
        };
        let file = make().map_err(|error| fault(path, &error))?;
        Ok(Self { file, path: path.to_owned() })
    }

    fn persist(self) -> Result<(), OnnxError> {
        self.file.persist(&self.path).map(drop).map_err(|error| fault(&self.path, &error.error))
    }
}

/// Temporary files with the permissions of ordinary new files.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

fn fault(path: &Path, error: &std::io::Error) -> OnnxError {
    OnnxError::Write { path: path.display().to_string(), cause: error.to_string() }
}
