//! A model file and the data files that it refers to.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::OnnxError;
use super::proto::{GraphProto, ModelProto, StringStringEntryProto};
use crate::tensor::stays_below;

/// A decoded model. Raw weights are slices of the file's bytes.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The file's name without directories, as locations show it.
    pub name: Arc<str>,
    pub model: ModelProto,
    pub external: ExternalData,
}

impl ModelFile {
    pub fn open(path: &Path) -> Result<Self, OnnxError> {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|error| OnnxError::Read { path: shown.clone(), cause: error.to_string() })?;
        let name = path.file_name().map_or(shown, |name| name.to_string_lossy().into_owned());
        let external = ExternalData::below(path.parent().unwrap_or(Path::new("")));
        Self::decode(&name, bytes.into(), external)
    }

    /// Decodes the bytes of a model called `name`.
    pub fn decode(name: &str, bytes: Bytes, external: ExternalData) -> Result<Self, OnnxError> {
        let model = ModelProto::decode(bytes)
            .map_err(|error| OnnxError::Decode { path: name.to_owned(), cause: error.to_string() })?;
        Ok(Self { name: name.into(), model, external })
    }

    /// The network. Protobuf has no magic number, and no bytes at all are an empty message: that
    /// there is one is what tells a model from another file.
    pub fn graph(&self) -> Result<&GraphProto, OnnxError> {
        let missing = || OnnxError::Decode { path: self.name.to_string(), cause: "it has no graph".into() };
        self.model.graph.as_ref().ok_or_else(missing)
    }
}

/// The data files of a model: below one directory, read piece by piece.
#[derive(Clone, Debug)]
pub struct ExternalData {
    /// Directory of the model file.
    dir: PathBuf,
    opened: RefCell<BTreeSet<PathBuf>>,
}

impl ExternalData {
    pub fn below(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), opened: RefCell::default() }
    }

    /// The files that were read until now.
    pub fn opened(&self) -> BTreeSet<PathBuf> {
        self.opened.borrow().clone()
    }

    /// The bytes that the entries of a tensor's `external_data` name. The offset defaults to the
    /// start, the length to what the tensor needs (`wanted` bytes); both are checked against the
    /// file's size before anything is allocated.
    pub(super) fn read(
        &self,
        tensor: &str,
        entries: &[StringStringEntryProto],
        wanted: usize,
    ) -> Result<Bytes, OnnxError> {
        let fault = |problem: String| OnnxError::External { tensor: tensor.to_owned(), problem };
        let entry = |key: &str| {
            entries.iter().find(|entry| entry.key.as_deref() == Some(key)).and_then(|e| e.value.as_deref())
        };
        let number = |key: &str| -> Result<Option<u64>, OnnxError> {
            let Some(text) = entry(key) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| fault(format!("has the {key} `{text}`")))
        };
        let location = entry("location").ok_or_else(|| fault("has no location".into()))?;
        if !stays_below(location) {
            return Err(fault(format!("is at `{location}`, which is not below the model's directory")));
        }
        let offset = number("offset")?.unwrap_or(0);
        let length = match number("length")? {
            Some(length) if length != wanted as u64 => {
                return Err(fault(format!("has {length} bytes, the tensor needs {wanted}")));
            }
            _ => wanted as u64,
        };

        let io = |error: std::io::Error| fault(format!("in `{location}` cannot be read: {error}"));
        // A model beside the working directory has the empty path as its own.
        let dir = if self.dir.as_os_str().is_empty() { Path::new(".") } else { &self.dir };
        let path = dir.join(location).canonicalize().map_err(io)?;
        if !path.starts_with(dir.canonicalize().map_err(io)?) {
            return Err(fault(format!("is at `{location}`, which leads out of the model's directory")));
        }
        // Looked at before it is opened: opening a pipe waits for its other end.
        let metadata = path.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(fault(format!("is at `{location}`, which is not a file")));
        }
        let mut file = File::open(&path).map_err(io)?;
        self.opened.borrow_mut().insert(path);
        if offset.checked_add(length).is_none_or(|end| end > metadata.len()) {
            let size = metadata.len();
            return Err(fault(format!(
                "is {length} bytes at offset {offset} of `{location}`, which has {size}"
            )));
        }
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut bytes = vec![0; wanted];
        file.read_exact(&mut bytes).map_err(io)?;
        Ok(bytes.into())
    }
}
