//! A model as files: what they are told by, and what is in them.

use std::fs;
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use zip::ZipArchive;

use super::KerasError;
use super::hdf5::Hdf5;
use super::weights::Weights;
use crate::tensor::Tensor;
use crate::tensor::npy::NpyReader;

/// What a model's files say.
pub struct ModelFile {
    /// The file's name without directories, as locations show it.
    pub name: Arc<str>,
    pub architecture: Json,
    /// The first number of the version of Keras that wrote it.
    pub major: u32,
    pub weights: Weights,
    /// The file of the weights, where it is another.
    pub beside: Option<PathBuf>,
}

impl ModelFile {
    pub fn open(path: &Path) -> Result<Self, KerasError> {
        let bytes = read(path)?;
        let shown = path.display().to_string();
        let name: Arc<str> =
            path.file_name().map_or(shown.as_str().into(), |name| name.to_string_lossy().into());
        let container = |cause: String| KerasError::Container { path: shown.clone(), cause };
        let mut beside = None;
        // Keras 2 writes HDF5 under `.keras`, too: the content tells what a file is.
        let (architecture, version, weights) = if Hdf5::is(&bytes) {
            hdf5_model(bytes).map_err(container)?
        } else if bytes.starts_with(b"PK") {
            zip_model(bytes).map_err(container)?
        } else {
            let architecture: Json = serde_json::from_slice(&bytes).map_err(|error| {
                container(format!("it is neither HDF5 nor a zip archive nor JSON ({error})"))
            })?;
            let arrays = path.with_extension("npz");
            let weights = npz(read(&arrays)?)
                .map_err(|cause| KerasError::Container { path: arrays.display().to_string(), cause })?;
            beside = Some(arrays);
            (architecture, String::new(), Weights::Arrays(weights))
        };
        let version = match architecture.get("keras_version").and_then(Json::as_str) {
            Some(version) => version.to_owned(),
            None => version,
        };
        let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(3);
        Ok(Self { name, architecture, major, weights, beside })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KerasError> {
    fs::read(path)
        .map_err(|error| KerasError::Read { path: path.display().to_string(), cause: error.to_string() })
}

fn json(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("its architecture is no JSON: {error}"))
}

fn hdf5_model(bytes: Vec<u8>) -> Result<(Json, String, Weights), String> {
    let file = Hdf5::open(bytes)?;
    let one = |name| Ok::<_, String>(file.texts("", name)?.and_then(|mut texts| texts.pop()));
    let config = one("model_config")?.ok_or("it has weights, but no architecture (`model_config`)")?;
    let version = one("keras_version")?.unwrap_or_default();
    Ok((json(&config)?, version, Weights::Named(file)))
}

fn zip_model(bytes: Vec<u8>) -> Result<(Json, String, Weights), String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let config = member(&mut archive, "config.json")?;
    let config = json(std::str::from_utf8(&config).map_err(|error| error.to_string())?)?;
    let metadata = member(&mut archive, "metadata.json")
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok())
        .and_then(|metadata| Some(metadata.get("keras_version")?.as_str()?.to_owned()));
    let weights = Hdf5::open(member(&mut archive, "model.weights.h5")?)?;
    Ok((config, metadata.unwrap_or_default(), Weights::Numbered(weights)))
}

/// The arrays of an archive by their names, in its order.
fn npz(bytes: Vec<u8>) -> Result<Vec<(String, Tensor)>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut arrays = Vec::new();
    for at in 0..archive.len() {
        let member = archive.by_index(at).map_err(|error| error.to_string())?;
        let name = member.name().trim_end_matches(".npy").replace('|', "/");
        let tensor = NpyReader::open(member).and_then(NpyReader::read_all);
        arrays.push((name.clone(), tensor.map_err(|error| format!("array `{name}`: {error}"))?));
    }
    Ok(arrays)
}

fn member<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str) -> Result<Vec<u8>, String> {
    let mut member = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    let mut bytes = Vec::new();
    member.read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    Ok(bytes)
}
