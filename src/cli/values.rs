//! Values of a run as files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::files::{InPlace, Outputs, io_fault};
use super::session::{End, Session};
use crate::diag::Diagnostics;
use crate::tensor::{AffineGrid, Direction, FixedGrid, Grid, Tensor, TensorType};

/// Writes tensors as `.npy` files named by their values, and `values.json`.
pub struct ValueFiles {
    /// The names of the values, and of their files.
    files: Vec<(String, String)>,
    index: BTreeMap<String, Json>,
    // Before the directory, which can go only when it is empty.
    outputs: Outputs,
    dir: Dir,
}

impl ValueFiles {
    /// The files of values of these names, in `dir`, which is made if need be.
    pub fn new<'a>(
        session: &Session,
        dir: &Path,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, End> {
        let mut taken = BTreeSet::new();
        let files: Vec<(String, String)> = names
            .into_iter()
            .map(|name| (name.to_owned(), format!("{}.npy", free_name(name, &mut taken))))
            .collect();
        let dir = Dir::make(dir)?;
        let mut paths = vec![dir.path.join("values.json")];
        paths.extend(files.iter().map(|(_, file)| dir.path.join(file)));
        let outputs = Outputs::declare(session, &paths, InPlace::Never)?;
        Ok(Self { files, index: BTreeMap::new(), outputs, dir })
    }

    /// The value at a position of the names.
    pub fn add(&mut self, position: usize, ty: &TensorType, tensor: &Tensor) -> Result<(), Diagnostics> {
        let Some((value, file)) = self.files.get(position) else { return Ok(()) };
        self.outputs.tensor(&self.dir.path.join(file), tensor)?;
        let entry = json!({ "file": file, "grid": grid_json(&ty.grid), "shape": tensor.sizes() });
        self.index.insert(value.clone(), entry);
        Ok(())
    }

    pub fn index(&mut self) -> Result<(), Diagnostics> {
        // A map of strings to plain JSON always has a text.
        let text = serde_json::to_string_pretty(&self.index).unwrap_or_default() + "\n";
        self.outputs.write(&self.dir.path.join("values.json"), text.as_bytes())
    }

    pub fn finish(self) -> Result<(), Diagnostics> {
        self.outputs.finish()
    }
}

/// Bytes of a file name before its number and ending: file systems take 255.
const LONGEST_NAME: usize = 200;

/// The name with nothing in it that a file system could mind, and unlike the others. Of a long one, the end
/// stays: exporters write the path to an operator first.
fn free_name(value: &str, taken: &mut BTreeSet<String>) -> String {
    let clean: String = value
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' })
        .collect();
    // ASCII: every byte is a character.
    let clean = clean[clean.len().saturating_sub(LONGEST_NAME)..].to_owned();
    let candidates = std::iter::once(clean.clone()).chain((1u32..).map(|i| format!("{clean}_{i}")));
    let name = candidates.into_iter().find(|name| !taken.contains(name)).unwrap_or(clean);
    taken.insert(name.clone());
    name
}

/// A directory for outputs. Dropped, those directories that were made for it go again if nothing came
/// into them.
struct Dir {
    path: PathBuf,
    /// Innermost first.
    made: Vec<PathBuf>,
}

impl Dir {
    fn make(path: &Path) -> Result<Self, Diagnostics> {
        let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
        let made = path.ancestors().take_while(missing).map(Path::to_owned).collect();
        let dir = Self { path: path.to_owned(), made };
        fs::create_dir_all(path).map_err(|error| io_fault(path, error))?;
        Ok(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        for dir in &self.made {
            // One that holds outputs stays, which is as it should be.
            let _ = fs::remove_dir(dir);
        }
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
        Grid::Fixed(FixedGrid { storage, value_bits, frac_bits, scales, axis }) => json!({
            "storage": storage.name(), "value_bits": value_bits, "frac_bits": &**frac_bits,
            "scale": scales.as_deref(), "axis": axis,
        }),
    }
}
