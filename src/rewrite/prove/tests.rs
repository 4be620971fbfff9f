//! The check on rules of texts.

use super::*;
use crate::diag::{Sources, render};
use crate::rewrite::load;

/// The reports on the members of a set, and all that was found.
fn checked(contract: &str, driver: &str, members: &str) -> (Vec<RuleReport>, String) {
    let text = format!("ruleset test {{\ncontract {contract}\ndriver {driver}\n{members}\n}}\n");
    let (mut sources, mut registry) = (Sources::default(), Registry::built_in());
    let read = &mut |_: &std::path::Path| Err("no files".to_owned());
    let shown = |found: &[Diagnostic], sources: &Sources| -> String {
        found.iter().map(|found| render(found, sources, false)).collect()
    };
    let loaded = load(&mut sources, &mut registry, &[("test.qrules", &text)], read);
    let loaded = loaded.unwrap_or_else(|found| panic!("{}", shown(&found.0, &sources)));
    let reports = check(&loaded.sets, None, &registry, &Checks { instances: 24, ..Checks::default() });
    let mut all = String::new();
    for finding in reports.iter().flat_map(|report| &report.findings) {
        all += &shown(std::slice::from_ref(&finding.diagnostic), &sources);
        all += finding.example.as_deref().unwrap_or_default();
    }
    (reports, all)
}

fn sound(contract: &str, driver: &str, members: &str) {
    let (reports, found) = checked(contract, driver, members);
    assert!(found.is_empty(), "{found}");
    for report in reports {
        assert!(report.instances >= 24, "{report}");
    }
}

/// The only finding has that code and severity, and its example has all of `parts`.
fn faulty(contract: &str, driver: &str, members: &str, (code, severity): (&str, Severity), parts: &[&str]) {
    let (reports, found) = checked(contract, driver, members);
    let findings: Vec<&Finding> = reports.iter().flat_map(|report| &report.findings).collect();
    assert_eq!(findings.len(), 1, "{found}");
    assert_eq!((findings[0].diagnostic.code, findings[0].diagnostic.severity), (code, severity), "{found}");
    for part in parts {
        assert!(found.contains(part), "{found}");
    }
}

#[test]
fn equations_lists_and_operands_in_number_are_solved() {
    sound(
        "bitexact",
        "saturate",
        "rule depth { reshape(x) {shape = [a, b], allowzero = _}
           where a == dim(x, 0) && b == 12 && rank(x) == 3
         => flatten(x) }
         rule parts expand { concat(a, b, ..more) {axis = 0} => concat(concat(a, b) {axis = 0}, ..more) {axis = 0} }
         rule number { add(x, 0) where type(x) == type(result) => x }",
    );
}

#[test]
fn values_that_occur_twice_are_one() {
    sound(
        "real",
        "saturate",
        "rule same { sub(add(x, a), a) where type(x) == type(result) where is_float(x) => x }",
    );
    let relu = "rule shared { add(r @ relu(x), sub(x, r)) => x }";
    sound("real", "saturate", relu);
}

#[test]
fn counter_examples_are_small() {
    faulty(
        "bitexact",
        "saturate",
        "rule order { sub(a, b) => sub(b, a) }",
        ("Q0540", Severity::Error),
        &["%left  = sub", "%right = sub", "[]"],
    );
}

#[test]
fn right_sides_that_do_not_fit_are_faults_where_floats_show_it() {
    faulty(
        "real",
        "saturate",
        "rule loses_axes expand { mul(x, 1) => x }",
        ("Q0541", Severity::Error),
        &["it would turn"],
    );
    // Of integers the engines say so where it happens.
    faulty(
        "real",
        "saturate",
        "rule leaks { relu(x) => leaky_relu(x) {alpha = 0.0} }",
        ("Q0541", Severity::Warning),
        &["stored plainly as f32"],
    );
}

#[test]
fn work_done_twice_is_a_fault_of_greedy_rules_only() {
    let rule = |guard: &str| {
        format!(
            "rule fold {{ mul(y @ dense(x, w: constant), c: constant)
           where type(y) == type(result) {guard}
           where let scale = per_channel(c, type(y))
         => dense(x, mul(w, reshape(scale) {{shape = [-1, 1]}})) }}"
        )
    };
    faulty("real", "greedy", &rule(""), ("Q0543", Severity::Error), &["`y`", "%y"]);
    sound("real", "greedy", &rule("where single_use(y)"));
    sound("real", "saturate", &rule(""));
}

#[test]
fn dearer_right_sides_are_faults_of_greedy_rules() {
    let rule = |word: &str| format!("rule split {word} {{ relu(x) => relu(relu(x)) }}");
    faulty("bitexact", "greedy", &rule(""), ("Q0542", Severity::Error), &["relu %x"]);
    faulty("bitexact", "saturate", &rule(""), ("Q0542", Severity::Warning), &["relu %x"]);
    sound("bitexact", "saturate", &rule("expand"));
}

#[test]
fn what_cannot_match_is_said_to_be_untested() {
    let rule = "rule never { relu(x) where dim(x, 0) * 2 == 3 => x }";
    faulty("bitexact", "saturate", rule, ("Q0544", Severity::Warning), &["never"]);
}

#[test]
fn conditions_that_exclude_each_other_are_faults() {
    for conditions in [
        "rank(x) == 2 && rank(x) == 3",
        "rank(x) < 2 where rank(x) >= 2",
        "2 < dim(x, 0) && dim(x, 0) < 3",
        "rank(x) == 2 && dim(x, 2) == 3",
        "dim(x, 0) == dim(x, 4) where rank(x) < 5",
        "is_float(x) && !is_float(x)",
        "is_constant(x) where dtype(x) == f32 where !is_constant(x)",
    ] {
        let rule = format!("rule never {{ relu(x) where {conditions} => x }}");
        faulty("bitexact", "saturate", &rule, ("Q0547", Severity::Error), &["and this"]);
    }
    let rule =
        "rule some { relu(x) where rank(x) <= 2 && 2 <= rank(x) where dtype(x) == f32 => max(x, 0.0) }";
    sound(
        "bitexact",
        "saturate",
        &rule.replace("=>", "where type(x) == type(result) =>").replace("some", "some expand"),
    );
}

#[test]
fn rules_of_which_an_earlier_one_takes_all_are_faults_of_greedy_sets() {
    let general = "rule general { relu(relu(x)) => relu(x) }";
    let special = "rule special { relu(r @ relu(x)) where rank(x) == 2 => relu(x) }";
    let shadowed = format!("{general} {special}");
    faulty("bitexact", "greedy", &shadowed, ("Q0545", Severity::Error), &["`special`", "takes it first"]);
    sound("bitexact", "greedy", &format!("{special} {general}"));
    sound("bitexact", "saturate", &shadowed);
    // Other words for the same: only instances show it.
    let ranked = "rule ranked { relu(relu(x)) where rank(x) >= 0 => relu(x) }";
    let shadowed = format!("{ranked} {special}");
    faulty("bitexact", "greedy", &shadowed, ("Q0545", Severity::Warning), &["16 instances"]);
    // What the earlier one leaves to others is no shadow.
    let alone = "rule alone { relu(r @ relu(x)) where single_use(r) => relu(x) }";
    let both = "rule both { relu(relu(x)) => relu(x) }";
    sound("bitexact", "greedy", &format!("{alone} {both}"));
}

#[test]
fn greedy_sets_that_never_end_are_faults() {
    let swap = "rule swap expand { add(a, b) => add(b, a) }";
    faulty("bitexact", "greedy", swap, ("Q0546", Severity::Error), &["200 of 200", "%left"]);
    sound("bitexact", "saturate", swap);
    let there = "rule there expand { mul(x, 1) where type(x) == type(result) => identity(x) }";
    let back = "rule back expand { identity(x) where is_float(x) => mul(x, scalar(1.0, x)) }";
    faulty("real", "greedy", &format!("{there} {back}"), ("Q0546", Severity::Error), &["`there`", "`back`"]);
}

#[test]
fn lossy_sets_are_measured() {
    let (reports, found) =
        checked("lossy", "greedy", "rule hard { sigmoid(x) => clip(x) {min = 0.0, max = 1.0} }");
    assert!(found.is_empty(), "{found}");
    assert!(reports[0].worst > 0.0 && reports[0].to_string().contains("largest difference"));
}

#[test]
fn only_every_value_shows_that_one_is_another() {
    faulty(
        "bitexact",
        "saturate",
        "rule most { max_pool2d(x) {kernel_shape = [1, 1], strides = [1, 1]} where dtype(x) == f32 => relu(x) }",
        ("Q0540", Severity::Error),
        &["%right = relu"],
    );
}

#[test]
fn numbers_are_stored_like_what_they_meet() {
    sound("bitexact", "saturate", "rule r expand { neg(cast(x) {to = i32}) => 0 - cast(x) {to = i32} }");
    sound("bitexact", "saturate", "rule r expand { neg(cast(x) {to = t}) => sub(0, cast(x) {to = t}) }");
}

#[test]
fn a_fault_over_f64_is_one_over_f32_if_it_is_there_too() {
    // Where c has one column, it is no bias; f64 is drawn rarely, and must not make that a warning.
    let rule = "rule r { add(dense(x, w), c: constant) where shape(c) == [dim(x, 0), 1] where dtype(c) == f64 || dtype(c) == f32
        where dim(x, 0) == dim(w, 0) => dense(x, w, reshape(c) {shape = [-1]}) }";
    faulty("real", "saturate", rule, ("Q0540", Severity::Error), &["dense %x"]);
}
