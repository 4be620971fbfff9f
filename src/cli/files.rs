//! Models, tensors and texts as files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use super::args::ModelArgs;
use super::session::{End, Session};
use crate::diag::{Diagnostic, Diagnostics, SourceId};
use crate::ir::{Graph, InputShapes};
use crate::keras;
use crate::onnx;
use crate::rewrite::{self, Loaded, Ruleset};
use crate::syntax::qir;
use crate::tensor::npy::{NpyReader, write_npy};
use crate::tensor::{Tensor, WholeFile, destination};
use crate::verify::verify;

/// A file that cannot be read or written.
pub fn io_fault(path: &Path, error: impl std::fmt::Display) -> Diagnostics {
    Diagnostic::error("Q0810", format!("{}: {error}", path.display())).into()
}

/// Replaces one file, whole.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Diagnostics> {
    WholeFile::write(path, bytes).map_err(|error| io_fault(path, error))
}

/// Whether a command may replace what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InPlace {
    Never,
    /// The outputs are the model itself with its data, which is all in memory by now.
    Model,
}

/// The files that a command writes. All are declared when the input is read and before the work
/// begins; all appear together at the end, or none.
pub struct Outputs {
    ready: Vec<WholeFile>,
}

impl Outputs {
    /// # Errors
    /// A path where no file can be. Wrong usage: two of the paths are one file, or one is a file that
    /// the command reads.
    pub fn declare(session: &Session, paths: &[PathBuf], in_place: InPlace) -> Result<Self, End> {
        let mut declared: BTreeMap<PathBuf, &Path> = BTreeMap::new();
        for path in paths {
            let file = destination(path).map_err(|error| io_fault(path, error))?;
            if session.has_read(&file) && in_place == InPlace::Never {
                let message = "would be replaced by an output; write to another name";
                return Err(End::Usage(format!("{}, which is read, {message}", path.display())));
            }
            if let Some(other) = declared.insert(file, path) {
                let (path, other) = (path.display(), other.display());
                return Err(End::Usage(format!("the outputs {other} and {path} are one file")));
            }
        }
        Ok(Self { ready: Vec::with_capacity(paths.len()) })
    }

    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Diagnostics> {
        let file = WholeFile::new(path, |file| file.write_all(bytes));
        self.ready.push(file.map_err(|error| io_fault(path, error))?);
        Ok(())
    }

    pub fn tensor(&mut self, path: &Path, tensor: &Tensor) -> Result<(), Diagnostics> {
        let file = WholeFile::new(path, |file| write_npy(tensor, file));
        self.ready.push(file.map_err(|error| io_fault(path, error))?);
        Ok(())
    }

    /// An ONNX model; see [`onnx_paths`].
    pub fn onnx(&mut self, session: &Session, graph: &Graph, path: &Path) -> Result<(), Diagnostics> {
        self.ready.extend(onnx::prepare(path, graph, &session.registry)?);
        Ok(())
    }

    /// A graph as text, with its larger constants beside it; see [`qir_paths`]. `comment` comes before
    /// the text.
    pub fn qir(
        &mut self,
        session: &Session,
        graph: &Graph,
        path: &Path,
        comment: &str,
    ) -> Result<(), Diagnostics> {
        let [_, data_path] = qir_paths(path);
        let data_name = data_path.file_name().unwrap_or_default().to_string_lossy();
        let printed = qir::print(graph, &session.registry, &data_name);
        if let Some(data) = printed.safetensors().map_err(|error| io_fault(&data_path, error))? {
            self.write(&data_path, &data)?;
        }
        self.write(path, format!("{comment}{}", printed.qir).as_bytes())
    }

    /// Gives all files their names.
    pub fn finish(self) -> Result<(), Diagnostics> {
        WholeFile::persist(self.ready).map_err(|(path, error)| io_fault(&path, error))
    }
}

/// The files of a graph as text.
pub fn qir_paths(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), path.with_extension("safetensors")]
}

/// The files of a graph as ONNX.
pub fn onnx_paths(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), onnx::data_path(path)]
}

/// Reads a text and registers it, so that findings can show it.
pub fn read_text(session: &mut Session, path: &Path) -> Result<(String, SourceId), Diagnostics> {
    session.reads(path);
    let text = fs::read_to_string(path).map_err(|error| io_fault(path, error))?;
    let id = session.sources.add(path.display().to_string(), text.clone());
    let id = id.ok_or_else(|| io_fault(path, "texts of 4 GiB and more are not supported"))?;
    Ok((text, id))
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// Reads and verifies a model, after the user's rule files, whose layers it may have. What a model
/// file leaves open of its inputs, the arguments say, or else `shapes`.
pub fn read_model(
    session: &mut Session,
    args: &ModelArgs,
    mut shapes: InputShapes,
) -> Result<(Graph, Vec<Ruleset>), End> {
    let rules = read_rules(session, &args.rules)?.sets;
    shapes.named.extend(args.input_shape.iter().cloned());
    let path = &*args.model;
    let graph = match extension(path) {
        "onnx" => {
            session.reads(path);
            let (graph, data_files) = onnx::import_with_files(path, &session.registry, &shapes)?;
            data_files.iter().for_each(|file| session.reads(file));
            graph
        }
        "keras" | "h5" | "hdf5" | "json" => {
            session.reads(path);
            let (graph, data_files) = keras::import_with_files(path, &session.registry, &shapes)?;
            data_files.iter().for_each(|file| session.reads(file));
            graph
        }
        "qir" => {
            let (text, id) = read_text(session, path)?;
            let dir = path.parent().unwrap_or(Path::new("")).to_owned();
            let mut data_files = Vec::new();
            let mut load = |file: &str| {
                data_files.push(dir.join(file));
                Ok(fs::read(dir.join(file))?.into())
            };
            let graph = qir::parse_with(&text, id, &session.registry, &mut load, &verify)?;
            data_files.iter().for_each(|file| session.reads(file));
            return Ok((graph, rules));
        }
        _ => {
            let found = Diagnostic::error(
                "Q0811",
                format!("{} is neither .onnx, .keras, .h5, .hdf5, .json nor .qir", path.display()),
            );
            return Err(Diagnostics::from(found).into());
        }
    };
    verify(&graph, &session.registry)?;
    Ok((graph, rules))
}

/// Reads rule files, with the files that they use. The layers that they declare are operators from here
/// on.
pub fn read_rules(session: &mut Session, paths: &[PathBuf]) -> Result<Loaded, Diagnostics> {
    let mut texts = Vec::new();
    for path in paths {
        let text = fs::read_to_string(path).map_err(|error| io_fault(path, error))?;
        texts.push((path.display().to_string(), text));
    }
    let mut files = paths.to_vec();
    let mut read = |file: &Path| {
        files.push(file.to_owned());
        fs::read_to_string(file).map_err(|error| error.to_string())
    };
    let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (&**name, &**text)).collect();
    let loaded = rewrite::load(&mut session.sources, &mut session.registry, &texts, &mut read)?;
    files.iter().for_each(|file| session.reads(file));
    session.report(&loaded.warnings);
    Ok(loaded)
}

pub fn read_tensor(session: &mut Session, path: &Path) -> Result<Tensor, Diagnostics> {
    session.reads(path);
    let file = File::open(path).map_err(|error| io_fault(path, error))?;
    NpyReader::open(BufReader::new(file)).and_then(NpyReader::read_all).map_err(|error| io_fault(path, error))
}
