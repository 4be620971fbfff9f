//! `qirc test`: golden files, each with the commands it is for and what they must print.

mod expect;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rayon::prelude::*;

use super::files::{io_fault, replace};
use crate::diag::{Diagnostic, Diagnostics};
use expect::{Expectations, Observed};

/// What came of one golden file.
struct Outcome {
    file: PathBuf,
    /// What is wrong, in words; none if it is as expected.
    faults: Vec<String>,
    blessed: bool,
}

/// How many files are as expected, and how many are not.
pub struct Summary {
    pub passed: usize,
    pub failed: usize,
    pub blessed: usize,
}

/// Runs every golden file of `paths`, in any number of threads and in order of their names, and tells
/// about each that is not as expected, or that cannot be run: with a mark that says nothing, or without
/// commands although no other file names it.
///
/// # Errors
/// A path that cannot be read, or no golden file at all.
pub fn test(
    paths: &[PathBuf],
    bless: bool,
    tell: &mut dyn FnMut(String) -> Result<(), Diagnostics>,
) -> Result<Summary, Diagnostics> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    files.sort();
    files.dedup();
    let mut tests = Vec::new();
    let mut idle = Vec::new();
    let mut malformed = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| io_fault(&file, error))?;
        match Expectations::read(&text) {
            Ok(expected) if expected.runs.is_empty() => idle.push(file),
            Ok(expected) => tests.push((file, text, expected)),
            Err(fault) => malformed.push((file, fault)),
        }
    }
    // A file that no command reads would pass whatever it says.
    for file in idle {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let named = |other: &(PathBuf, String, Expectations)| {
            other.0.parent() == file.parent() && other.1.contains(&*name)
        };
        if !tests.iter().any(named) {
            let fault = "it has no line `//! run: qirc …`, and no file beside it names it";
            malformed.push((file, fault.to_owned()));
        }
    }
    if tests.is_empty() && malformed.is_empty() {
        let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(
            Diagnostic::error("Q0813", format!("there is no golden file in {}", all.join(", "))).into()
        );
    }
    let outcomes: Result<Vec<Outcome>, Diagnostics> =
        tests.par_iter().map(|(file, text, expected)| run(file, text, expected, bless)).collect();
    let mut outcomes = outcomes?;
    outcomes.extend(malformed.into_iter().map(|(file, fault)| Outcome {
        file,
        faults: vec![format!("  {fault}")],
        blessed: false,
    }));
    outcomes.sort_by(|a, b| a.file.cmp(&b.file));
    let mut summary = Summary { passed: 0, failed: 0, blessed: 0 };
    for outcome in outcomes {
        summary.blessed += usize::from(outcome.blessed);
        if outcome.faults.is_empty() {
            summary.passed += 1;
        } else {
            summary.failed += 1;
            tell(format!("{}:\n{}", outcome.file.display(), outcome.faults.join("\n")))?;
        }
    }
    Ok(summary)
}

/// The `.qir` and `.qrules` files at and below a path.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Diagnostics> {
    let fault = |error| io_fault(path, error);
    if !fs::metadata(path).map_err(fault)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let below = entry.path();
        let golden = below.extension().is_some_and(|extension| extension == "qir" || extension == "qrules");
        // Links are not followed: they may lead in a circle.
        if entry.file_type().map_err(fault)?.is_dir() {
            collect(&below, files)?;
        } else if golden {
            files.push(below);
        }
    }
    Ok(())
}

/// Runs the commands of one file in its directory.
fn run(file: &Path, text: &str, expected: &Expectations, bless: bool) -> Result<Outcome, Diagnostics> {
    let program = std::env::current_exe().map_err(|error| io_fault(file, error))?;
    let scratch = tempfile::tempdir().map_err(|error| io_fault(file, error))?;
    let scratch_name = scratch.path().display().to_string();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut observed = Observed::default();
    for (at, words) in expected.runs.iter().enumerate() {
        let words = words.iter().map(|word| word.replace("%s", &name).replace("%t", &scratch_name));
        let output = Command::new(&program)
            .args(words)
            .current_dir(dir)
            .output()
            .map_err(|error| io_fault(&program, error))?;
        let printed = [output.stdout, output.stderr].concat();
        observed.text += &String::from_utf8_lossy(&printed).replace(&scratch_name, "%t");
        observed.exit = code(output.status);
        if observed.exit != 0 && at + 1 < expected.runs.len() {
            break;
        }
    }
    let mut faults = expected.faults(&observed, &name);
    let mut blessed = false;
    if bless && !faults.is_empty() {
        let new = expected.blessed(text, &observed);
        match Expectations::read(&new) {
            Ok(read) => faults = read.faults(&observed, &name),
            Err(fault) => return Ok(Outcome { file: file.to_owned(), faults: vec![fault], blessed: false }),
        }
        blessed = new != text;
        if blessed {
            replace(file, new.as_bytes())?;
        }
    }
    Ok(Outcome { file: file.to_owned(), faults, blessed })
}

/// The exit code; a process that a signal ended has none.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}
