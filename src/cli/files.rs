//! Models, tensors and texts as files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::args::ModelArgs;
use super::session::{End, Session};
use crate::diag::{Diagnostic, Diagnostics, SourceId};
use crate::ir::Graph;
use crate::onnx::{self, InputShapes};
use crate::rewrite::{self, Ruleset};
use crate::syntax::qir;
use crate::tensor::npy::{NpyReader, write_npy};
use crate::tensor::{AffineGrid, Direction, Grid, Tensor, TensorType, WholeFile};
use crate::verify::verify;

/// A file that cannot be read or written.
pub fn io_fault(path: &Path, error: impl std::fmt::Display) -> Diagnostics {
    Diagnostic::error("Q0810", format!("{}: {error}", path.display())).into()
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Diagnostics> {
    WholeFile::write(path, bytes).map_err(|error| io_fault(path, error))
}

/// Reads a text and registers it, so that findings can show it.
pub fn read_text(session: &mut Session, path: &Path) -> Result<(String, SourceId), Diagnostics> {
    let text = fs::read_to_string(path).map_err(|error| io_fault(path, error))?;
    let id = session.sources.add(path.display().to_string(), text.clone());
    let id = id.ok_or_else(|| io_fault(path, "texts of 4 GiB and more are not supported"))?;
    Ok((text, id))
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// Reads and verifies a model. What an ONNX file leaves open of its inputs, the arguments say, or
/// else `shapes`.
pub fn read_model(session: &mut Session, args: &ModelArgs, mut shapes: InputShapes) -> Result<Graph, End> {
    shapes.named.extend(args.input_shape.iter().cloned());
    let path = &*args.model;
    let graph = match extension(path) {
        "onnx" => onnx::import(path, &session.registry, &shapes)?,
        "qir" => {
            let (text, id) = read_text(session, path)?;
            let dir = path.parent().unwrap_or(Path::new("")).to_owned();
            let mut load = |file: &str| Ok(fs::read(dir.join(file))?.into());
            return Ok(qir::parse_with(&text, id, &session.registry, &mut load, &verify)?);
        }
        _ => {
            let found = Diagnostic::error("Q0811", format!("{} is neither .onnx nor .qir", path.display()));
            return Err(Diagnostics::from(found).into());
        }
    };
    verify(&graph, &session.registry)?;
    Ok(graph)
}

/// Writes a graph as text, with its larger constants in a `.safetensors` beside it. `comment` comes
/// before the text.
pub fn write_qir(session: &Session, graph: &Graph, path: &Path, comment: &str) -> Result<(), Diagnostics> {
    let data_path = path.with_extension("safetensors");
    let data_name = data_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let printed = qir::print(graph, &session.registry, &data_name);
    if let Some(data) = printed.safetensors().map_err(|error| io_fault(&data_path, error))? {
        write(&data_path, &data)?;
    }
    write(path, format!("{comment}{}", printed.qir).as_bytes())
}

/// Reads rule files, with the files that they use.
pub fn read_rules(session: &mut Session, paths: &[PathBuf]) -> Result<Vec<Ruleset>, Diagnostics> {
    let mut rulesets = Vec::new();
    for path in paths {
        let text = fs::read_to_string(path).map_err(|error| io_fault(path, error))?;
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut read = |file: &Path| fs::read_to_string(dir.join(file)).map_err(|error| error.to_string());
        let name = path.display().to_string();
        let loaded = rewrite::load(&mut session.sources, &session.registry, &name, &text, &mut read)?;
        session.report(&loaded.warnings);
        rulesets.extend(loaded.sets);
    }
    Ok(rulesets)
}

pub fn read_tensor(path: &Path) -> Result<Tensor, Diagnostics> {
    let file = File::open(path).map_err(|error| io_fault(path, error))?;
    NpyReader::open(BufReader::new(file)).and_then(NpyReader::read_all).map_err(|error| io_fault(path, error))
}

/// Writes tensors as `.npy` files named by their values, and `values.json`.
pub struct ValueFiles {
    dir: PathBuf,
    names: BTreeSet<String>,
    index: BTreeMap<String, Json>,
}

impl ValueFiles {
    /// The directory is made when there is something to write into it.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), names: BTreeSet::new(), index: BTreeMap::new() }
    }

    fn make_dir(&self) -> Result<(), Diagnostics> {
        fs::create_dir_all(&self.dir).map_err(|error| io_fault(&self.dir, error))
    }

    pub fn add(&mut self, value: &str, ty: &TensorType, tensor: &Tensor) -> Result<(), Diagnostics> {
        let clean: String = value
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' })
            .collect();
        if self.names.is_empty() {
            self.make_dir()?;
        }
        // Two values may come out alike.
        let free = |name: &String| !self.names.contains(name);
        let name = std::iter::once(clean.clone())
            .chain((1u32..).map(|i| format!("{clean}_{i}")))
            .find(free)
            .unwrap_or(clean);
        let file = format!("{name}.npy");
        self.names.insert(name);
        let path = self.dir.join(&file);
        let pending = WholeFile::new(&path, |writer| write_npy(tensor, writer));
        pending.and_then(WholeFile::persist).map_err(|error| io_fault(&path, error))?;
        let entry = json!({ "file": file, "grid": grid_json(&ty.grid), "shape": tensor.sizes() });
        self.index.insert(value.to_owned(), entry);
        Ok(())
    }

    pub fn finish(self) -> Result<(), Diagnostics> {
        self.make_dir()?;
        // A map of strings to plain JSON always has a text.
        let text = serde_json::to_string_pretty(&self.index).unwrap_or_default() + "\n";
        write(&self.dir.join("values.json"), text.as_bytes())
    }
}

fn grid_json(grid: &Grid) -> Json {
    match grid {
        Grid::Plain(dtype) => json!({ "storage": dtype.name() }),
        Grid::Affine(AffineGrid { storage, direction, factors, zeros, axis }) => {
            let factor = match direction {
                Direction::RealPerInteger => "scale",
                Direction::IntegerPerReal => "inv_scale",
            };
            json!({ "storage": storage.name(), factor: &**factors, "zero": &**zeros, "axis": axis })
        }
    }
}
