//! Files that appear whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file written beside its destination, not yet renamed to it. Dropped, it is gone.
pub struct WholeFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl WholeFile {
    /// Fills a new file beside `path`.
    pub fn new(
        path: &Path,
        fill: impl FnOnce(&mut BufWriter<&mut NamedTempFile>) -> io::Result<()>,
    ) -> io::Result<Self> {
        // A bare file name has the empty parent, which is the current directory.
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = builder().tempfile_in(dir)?;
        let mut writer = BufWriter::new(&mut file);
        fill(&mut writer)?;
        writer.flush()?;
        drop(writer);
        Ok(Self { file, path: path.to_owned() })
    }

    /// Gives the file its name.
    pub fn persist(self) -> io::Result<()> {
        self.file.persist(&self.path).map(drop).map_err(|error| error.error)
    }

    /// Writes `bytes` to `path`.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        Self::new(path, |file| file.write_all(bytes))?.persist()
    }
}

/// Temporary files with the permissions of ordinary new files.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}
