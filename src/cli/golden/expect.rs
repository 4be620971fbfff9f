//! What a golden file expects, and whether it is so.

use similar::TextDiff;

/// What the commands of a golden file must do.
#[derive(Debug, Default)]
pub struct Expectations {
    /// Arguments of each command.
    pub runs: Vec<Vec<String>>,
    exit: i32,
    checks: Vec<String>,
    never: Vec<String>,
    findings: Vec<Finding>,
    /// The whole output.
    output: Option<String>,
}

/// A diagnostic that is expected, or that was printed.
#[derive(Clone, Debug, PartialEq)]
struct Finding {
    severity: Severity,
    code: String,
    message: String,
    /// From 1.
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

impl Severity {
    fn read(word: &str) -> Option<Self> {
        match word {
            "error" | "Error" => Some(Severity::Error),
            "warning" | "Warning" => Some(Severity::Warning),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// What the commands did.
#[derive(Debug, Default)]
pub struct Observed {
    /// Standard output and then standard error of each command.
    pub text: String,
    pub exit: i32,
}

const OUTPUT: &str = "//=";

impl Expectations {
    /// Reads the lines that begin with `//!`, `//=`, and the `//~` at the end of lines.
    ///
    /// # Errors
    /// A command that is none of qirc, or a mark that says nothing, in words.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut expected = Self::default();
        for (at, line) in text.lines().enumerate() {
            let number = at + 1;
            if let Some(rest) = line.strip_prefix(OUTPUT) {
                let output = expected.output.get_or_insert_default();
                *output += rest.strip_prefix(' ').unwrap_or(rest);
                output.push('\n');
            } else if let Some(rest) = line.trim_start().strip_prefix("//!") {
                expected.directive(rest.trim(), number)?;
            } else if let Some((_, rest)) = line.split_once("//~") {
                expected.findings.push(finding(rest, number)?);
            }
        }
        if expected.exit == 0 && expected.findings.iter().any(|f| f.severity == Severity::Error) {
            expected.exit = 1;
        }
        Ok(expected)
    }

    fn directive(&mut self, text: &str, line: usize) -> Result<(), String> {
        let Some((word, rest)) = text.split_once(':') else { return Ok(()) };
        let rest = rest.trim();
        match word {
            "run" => {
                let Some(words) = shlex::split(rest) else {
                    return Err(format!("line {line}: a quote of the command does not end"));
                };
                match words.split_first() {
                    // It could come back to this file.
                    Some((program, [first, ..])) if program == "qirc" && first == "test" => {
                        return Err(format!("line {line}: a golden file cannot run `qirc test`"));
                    }
                    Some((program, args)) if program == "qirc" && !args.is_empty() => {
                        self.runs.push(args.to_vec());
                    }
                    _ => return Err(format!("line {line}: a command is `qirc` and its arguments")),
                }
            }
            "exit" => {
                self.exit = rest.parse().map_err(|_| format!("line {line}: `exit:` takes a number"))?;
            }
            "check" => self.checks.push(rest.to_owned()),
            "check-not" => self.never.push(rest.to_owned()),
            // Other lines are documentation.
            _ => {}
        }
        Ok(())
    }

    /// Everything that is not as expected, in words. `name` is what the file is called in findings.
    pub fn faults(&self, observed: &Observed, name: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if observed.exit != self.exit {
            faults.push(format!("  exit code {}, expected {}", observed.exit, self.exit));
        }
        let mut lines = observed.text.lines();
        for check in &self.checks {
            if !lines.any(|line| line.contains(check.as_str())) {
                faults.push(format!("  no line has `{check}`, or it comes before an earlier check"));
            }
        }
        for never in &self.never {
            if let Some(line) = observed.text.lines().find(|line| line.contains(never.as_str())) {
                faults.push(format!("  a line has `{never}`: {line}"));
            }
        }
        self.compare_findings(&observed.text, name, &mut faults);
        if let Some(expected) = &self.output
            && *expected != lines_of(&observed.text)
        {
            let actual = lines_of(&observed.text);
            let diff = TextDiff::from_lines(expected.as_str(), actual.as_str());
            let diff = diff.unified_diff().context_radius(3).header("expected", "printed").to_string();
            let diff: String = diff.lines().map(|line| format!("  {line}\n")).collect();
            faults.push(format!("{diff}  if the new output is right: --bless"));
        } else if !self.expects_anything() {
            faults.push("  it expects nothing; --bless adds the output".to_owned());
        }
        if observed.exit != self.exit && self.output.is_none() {
            faults.push(observed.text.lines().map(|line| format!("  | {line}\n")).collect());
        }
        faults
    }

    fn expects_anything(&self) -> bool {
        let Self { runs: _, exit, checks, never, findings, output } = self;
        *exit != 0 || !checks.is_empty() || !never.is_empty() || !findings.is_empty() || output.is_some()
    }

    /// Of each severity that the file expects, all findings about it must be expected, and all
    /// expected ones printed.
    fn compare_findings(&self, text: &str, name: &str, faults: &mut Vec<String>) {
        let mut printed = printed(text, name);
        for expected in &self.findings {
            let same = |f: &Finding| {
                (f.severity, &f.code, f.line) == (expected.severity, &expected.code, expected.line)
                    && f.message.contains(&expected.message)
            };
            match printed.iter().position(same) {
                Some(at) => drop(printed.remove(at)),
                None => faults.push(format!("  not printed: {}", words(expected))),
            }
        }
        let wanted = |severity| self.findings.iter().any(|finding| finding.severity == severity);
        for finding in printed.iter().filter(|finding| wanted(finding.severity)) {
            faults.push(format!("  not expected: {}", words(finding)));
        }
    }

    /// The file with the output that was observed, at its end if it had none.
    pub fn blessed(&self, text: &str, observed: &Observed) -> String {
        let checked = !self.checks.is_empty() || !self.never.is_empty() || !self.findings.is_empty();
        let mut lines: Vec<String> = Vec::new();
        let mut place = None;
        for line in text.lines() {
            let exit = line.trim_start().strip_prefix("//!").map(str::trim);
            if line.starts_with(OUTPUT) {
                place.get_or_insert(lines.len());
            } else if !exit.is_some_and(|directive| directive.starts_with("exit:")) {
                lines.push(line.to_owned());
            }
        }
        if self.output.is_some() || !checked {
            let output = lines_of(&observed.text);
            let output = output.lines().map(|line| format!("{OUTPUT} {line}").trim_end().to_owned());
            let place = place.unwrap_or_else(|| {
                lines.push(String::new());
                lines.len()
            });
            lines.splice(place..place, output);
        }
        let implied = i32::from(self.findings.iter().any(|f| f.severity == Severity::Error));
        if observed.exit != implied {
            let run = |line: &String| line.trim_start().starts_with("//! run:");
            let after = lines.iter().rposition(run).map_or(0, |at| at + 1);
            lines.insert(after, format!("//! exit: {}", observed.exit));
        }
        lines.join("\n") + "\n"
    }
}

/// The output with every line ended and no spaces at the ends of lines, which golden files would lose.
fn lines_of(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn words(finding: &Finding) -> String {
    let Finding { severity, code, message, line } = finding;
    format!("line {line}: {} {code}: {message}", severity.word())
}

/// Reads `error Q0312: axis`; each `^` before it is one line up.
fn finding(text: &str, line: usize) -> Result<Finding, String> {
    let fault = || format!("line {line}: what follows `//~` is like `error Q0312: text`");
    let up = text.chars().take_while(|&c| c == '^').count();
    let (head, message) = text[up..].split_once(':').ok_or_else(fault)?;
    let mut words = head.split_whitespace();
    let severity = words.next().and_then(Severity::read).ok_or_else(fault)?;
    let code = words.next().ok_or_else(fault)?.to_owned();
    if words.next().is_some() || up >= line {
        return Err(fault());
    }
    Ok(Finding { severity, code, message: message.trim().to_owned(), line: line - up })
}

/// The findings about the file `name` in a text that [`crate::diag::render`] made.
fn printed(text: &str, name: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((code, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) else {
            continue;
        };
        let Some((severity, message)) = rest.split_once(": ") else { continue };
        let Some(severity) = Severity::read(severity) else { continue };
        // `,-[ name:line:column ]`
        let place = lines.peek().and_then(|line| line.trim().strip_prefix(",-[ "));
        let place = place.and_then(|place| place.strip_suffix(" ]")).and_then(|place| {
            let (rest, _) = place.rsplit_once(':')?;
            let (file, line) = rest.rsplit_once(':')?;
            Some((file, line.parse().ok()?))
        });
        let Some((file, line)) = place else { continue };
        if file == name {
            findings.push(Finding { severity, code: code.to_owned(), message: message.to_owned(), line });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDERED: &str = "[Q0109] Error: there is no value `%z` before this\n   ,-[ a.qir:4:13 ]\n   |\n";

    fn faults(text: &str, printed: &str, exit: i32) -> Vec<String> {
        let observed = Observed { text: printed.to_owned(), exit };
        Expectations::read(text).unwrap().faults(&observed, "a.qir")
    }

    #[test]
    fn findings_match_by_code_text_and_line() {
        let file = |mark: &str| format!("//! run: qirc check %s\n\n\nline {mark}\n");
        assert_eq!(faults(&file("//~ error Q0109: no value `%z`"), RENDERED, 1), [""; 0]);
        for wrong in ["//~ error Q0108: no value", "//~ error Q0109: other", "//~^ error Q0109: no value"] {
            assert_eq!(faults(&file(wrong), RENDERED, 1).len(), 2, "{wrong}");
        }
        // A warning that is expected does not excuse the error's exit code.
        assert_eq!(faults(&file("//~ warning Q0109: no"), RENDERED, 1).len(), 3);
    }

    #[test]
    fn checks_are_in_order() {
        let text = "//! run: qirc x\n//! check: a\n//! check: b\n//! check-not: c\n";
        assert_eq!(faults(text, "a\nb\n", 0), [""; 0]);
        assert_eq!(faults(text, "b\na\n", 0).len(), 1);
        assert_eq!(faults(text, "a\nb\nc\n", 0).len(), 1);
    }

    #[test]
    fn blessing_makes_a_file_pass_and_changes_nothing_else() {
        let text = "//! run: qirc x\nqir 1\n\n//= old\n";
        let observed = Observed { text: "new  \n\nmore".to_owned(), exit: 1 };
        let expected = Expectations::read(text).unwrap();
        let new = expected.blessed(text, &observed);
        assert_eq!(new, "//! run: qirc x\n//! exit: 1\nqir 1\n\n//= new\n//=\n//= more\n");
        let again = Expectations::read(&new).unwrap();
        assert_eq!(again.faults(&observed, "a.qir"), [""; 0]);
        assert_eq!(again.blessed(&new, &observed), new);
    }

    #[test]
    fn a_file_that_expects_nothing_does_not_pass() {
        assert_eq!(faults("//! run: qirc x\n", "a\n", 0).len(), 1);
    }

    #[test]
    fn what_is_no_command_of_ours_is_refused() {
        assert!(Expectations::read("//! run: rm -rf /\n").is_err());
        assert!(Expectations::read("//! run: qirc \"x\n").is_err());
        assert!(Expectations::read("x //~ mistake\n").is_err());
    }
}
