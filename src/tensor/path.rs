//! What a file may name, and which file a write replaces.

use std::path::{Component, Path, PathBuf};
use std::{fs, io};

/// Links are followed at most so often, as systems do.
const LINKS: usize = 40;

/// Whether a path that stands in a file is relative and never goes up: on every system, whichever
/// this one is.
pub fn stays_below(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', ':', '\0'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// The absolute path of the file that a write to `path` makes or replaces: a link stands for what it
/// leads to, also where that is not there yet.
///
/// # Errors
/// The directory is missing, or something that is no file has the name.
pub fn destination(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let missing = match fs::canonicalize(&path) {
            Ok(found) if fs::metadata(&found)?.is_file() => return Ok(found),
            Ok(_) => return Err(io::Error::other("something that is no file has this name")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(error) => error,
        };
        let Some(name) = path.file_name() else { return Err(missing) };
        let dir = directory(&path);
        match fs::read_link(&path) {
            Ok(target) => path = dir.join(target),
            Err(_) => return Ok(fs::canonicalize(dir)?.join(name)),
        }
    }
    Err(io::Error::other("too many links"))
}

/// The directory of a file: a bare file name has the empty parent, which is the current directory.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_stay_below() {
        for path in ["w", "./w", "a/w.safetensors", "a/./w", "..w"] {
            assert!(stays_below(path), "{path}");
        }
        for path in ["", "/w", "../w", "a/../w", "..", "a\\w", "C:w", "w\0"] {
            assert!(!stays_below(path), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_stand_for_what_they_lead_to() {
        use std::os::unix::fs::symlink;
        let temporary = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(temporary.path()).unwrap();
        fs::create_dir(dir.join("sub")).unwrap();
        symlink("sub/there", dir.join("link")).unwrap();
        symlink("link", dir.join("again")).unwrap();
        symlink("circle", dir.join("circle")).unwrap();
        symlink("/dev/null", dir.join("device")).unwrap();
        let of = |name: &str| destination(&dir.join(name)).ok();
        assert_eq!(of("again"), Some(dir.join("sub/there")));
        fs::write(dir.join("sub/there"), "").unwrap();
        assert_eq!(of("again"), Some(dir.join("sub/there")));
        assert_eq!(of("new"), Some(dir.join("new")));
        for none in ["missing/new", "sub", "circle", "device", ".."] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
