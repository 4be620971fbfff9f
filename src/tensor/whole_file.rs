//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::path::destination;

/// A file written beside its destination, not yet renamed to it. Dropped, it is gone.
///
/// Where the path is a link, what it leads to is replaced; a file that is replaced leaves its
/// permissions to the new one.
pub struct WholeFile {
    temporary: TempPath,
    destination: PathBuf,
    /// As the user wrote it.
    path: PathBuf,
    replaces: bool,
}

impl WholeFile {
    /// Fills a new file beside `path`.
    pub fn new(
        path: &Path,
        fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let destination = destination(path)?;
        let dir = destination.parent().unwrap_or(Path::new("/"));
        // Opened here, so that errors say nothing of the temporary's name.
        let open = |temporary: &Path| File::options().write(true).create_new(true).open(temporary);
        let (mut file, temporary) = tempfile::Builder::new().make_in(dir, open)?.into_parts();
        let mut writer = BufWriter::new(&mut file);
        fill(&mut writer)?;
        writer.flush()?;
        drop(writer);
        let replaced = fs::metadata(&destination).ok();
        if let Some(replaced) = &replaced {
            file.set_permissions(replaced.permissions())?;
        }
        Ok(Self { temporary, destination, path: path.to_owned(), replaces: replaced.is_some() })
    }

    /// Gives the files their names, in order. If one cannot have its name, those before lose theirs
    /// again, as far as there was no file before.
    ///
    /// # Errors
    /// The path that could not be written, and why.
    pub fn persist(files: Vec<Self>) -> Result<(), (PathBuf, io::Error)> {
        let mut made = Vec::new();
        for Self { temporary, destination, path, replaces } in files {
            if let Err(error) = temporary.persist(&destination) {
                for path in made {
                    // It was made a moment ago; if it is gone already, that is as it should be.
                    let _ = fs::remove_file(path);
                }
                return Err((path, error.error));
            }
            if !replaces {
                made.push(destination);
            }
        }
        Ok(())
    }

    /// Writes `bytes` to `path`.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = Self::new(path, |file| file.write_all(bytes))?;
        Self::persist(vec![file]).map_err(|(_, error)| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_leaves_its_mode_and_its_links() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
        symlink("file", &link).unwrap();
        WholeFile::write(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o750);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn files_appear_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let file = |name: &str| WholeFile::new(&path(name), |file| file.write_all(b"new")).unwrap();
        let files = vec![file("a"), file("b"), file("c")];
        fs::create_dir(path("b")).unwrap();
        let (at, _) = WholeFile::persist(files).unwrap_err();
        assert_eq!(at, path("b"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        WholeFile::persist(vec![file("a"), file("c")]).unwrap();
        assert!(path("a").exists() && path("c").exists());
    }
}
