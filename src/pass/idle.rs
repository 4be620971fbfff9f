//! What of the user's rules came to nothing.

use crate::diag::{Diagnostic, Diagnostics, Place};
use crate::rewrite::{Applied, Rule, Ruleset};

/// Most custom patterns that are shown with their places.
const MOST_SHOWN: usize = 5;

/// A warning where no rule of the user has a part in the result, or some custom patterns have none.
/// Rules that a warning is about already, because they fit and nothing could be made of them, are
/// left out.
pub(super) fn warn(rules: &[Ruleset], applied: &[Applied], warnings: &mut Diagnostics) {
    let all: Vec<(&Ruleset, &Rule)> =
        rules.iter().flat_map(|set| set.rules.iter().map(move |rule| (set, rule))).collect();
    let labels: Vec<&Place> =
        warnings.0.iter().flat_map(|warning| &warning.labels).map(|label| &label.place).collect();
    let idle = |(set, rule): &(&Ruleset, &Rule)| {
        let used = applied.iter().any(|applied| applied.ruleset == set.name && applied.rule == rule.name);
        !used && !labels.contains(&&Place::Text(rule.span))
    };
    let Some((_, first)) = all.first() else { return };
    let warning = if all.iter().all(idle) {
        let message = "no rule of `--rules` has a part in the result";
        Diagnostic::warning("Q0528", message).at(first.span, "the first")
    } else {
        let patterns: Vec<&Rule> = all
            .iter()
            .filter(|(set, rule)| rule.custom && rule.arm == 0 && idle(&(*set, *rule)))
            .map(|(_, rule)| *rule)
            .collect();
        if patterns.is_empty() {
            return;
        }
        let names: Vec<String> = patterns.iter().map(|rule| format!("`{}`", rule.name)).collect();
        let message = format!("nothing in the result is made by custom pattern {}", names.join(", "));
        let warning = Diagnostic::warning("Q0528", message);
        patterns.iter().take(MOST_SHOWN).fold(warning, |warning, rule| warning.at(rule.span, ""))
    };
    warnings.push(
        warning.note(
            "`qirc rules explain FILE --on MODEL` shows where rules nearly fit, and what is in the way",
        ),
    );
}
