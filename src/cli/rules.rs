//! Commands on rule files.

use super::args::{RulesCheckArgs, RulesListArgs};
use super::files::{io_fault, read_rules, replace};
use super::session::{End, Session, say};
use crate::diag::{Diagnostics, Severity};
use crate::rewrite::{Checks, Finding, Loaded, check_layers, check_rules};

/// Tests the rules of files, and prints a line for each rule and a counter-example for each fault.
pub fn check(session: &mut Session, args: &RulesCheckArgs) -> Result<(), End> {
    let Loaded { sets, layers, .. } = read_rules(session, &args.files)?;
    let only = args.rule.as_deref();
    if let Some(only) = only
        && !sets.iter().flat_map(|set| &set.rules).any(|rule| *rule.name == *only)
    {
        return Err(End::Usage(format!("there is no rule `{only}` in these files")));
    }
    let checks = Checks { instances: args.instances, seed: args.seed, ..Checks::default() };
    if let Some(dir) = &args.write {
        std::fs::create_dir_all(dir).map_err(|error| io_fault(dir, error))?;
    }
    let (mut found, mut counts) = (Diagnostics::default(), [0usize; 3]);
    let mut tell = |line: &dyn std::fmt::Display, name: &str, findings: &[Finding]| -> Result<(), End> {
        say(line)?;
        let examples = findings.iter().filter_map(|finding| finding.example.as_ref());
        for (at, example) in examples.enumerate() {
            say(format!("\n{}\n", example.trim_end()))?;
            if let Some(dir) = &args.write {
                let more = if at == 0 { String::new() } else { format!(".{at}") };
                replace(&dir.join(format!("{name}{more}.qir")), example.as_bytes())?;
            }
        }
        found.extend(findings.iter().map(|finding| finding.diagnostic.clone()));
        let worst = findings.iter().map(|finding| finding.diagnostic.severity).max();
        counts[match worst {
            None | Some(Severity::Note) => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Error) => 2,
        }] += 1;
        Ok(())
    };
    for report in check_rules(&sets, only, &session.registry, &checks) {
        tell(&report, &format!("{}.{}", report.ruleset, report.rule), &report.findings)?;
    }
    let layers = if only.is_none() { &layers[..] } else { &[] };
    for report in check_layers(layers, &sets, &session.registry, &checks) {
        tell(&report, &report.layer, &report.findings)?;
    }
    session.report(&found);
    let [ok, warned, failed] = counts;
    say(format!("{ok} ok, {warned} with warnings, {failed} failed"))?;
    if failed == 0 { Ok(()) } else { Err(End::Input(Diagnostics::default())) }
}

/// Prints the sets of files with their rules.
pub fn list(session: &mut Session, args: &RulesListArgs) -> Result<(), End> {
    let sets = read_rules(session, &args.files)?.sets;
    for (at, set) in sets.iter().enumerate() {
        if at > 0 {
            say("")?;
        }
        say(format!("ruleset {}: contract {}, driver {}", set.name, set.contract, set.driver))?;
        let width = set.rules.iter().map(|rule| rule.name.chars().count()).max().unwrap_or(0);
        for rule in &set.rules {
            let expand = if rule.expand { "expand " } else { "" };
            let doc = rule.doc.split_whitespace().collect::<Vec<_>>().join(" ");
            let line = format!("  {:width$}  {expand}{doc}", &*rule.name);
            say(line.trim_end())?;
        }
    }
    Ok(())
}
