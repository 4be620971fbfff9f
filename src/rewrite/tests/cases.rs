//! Cases of rules: where they fire and where they must not.

use super::*;

/// A rule, a graph, and the operators that the rule leaves; `None`: it must not fire.
pub(super) type Case = (&'static str, &'static str, &'static str, Option<&'static [&'static str]>);

/// Runs each case with its rule alone, under both drivers. The result has the same outputs, in
/// name and value. `toward` says what the saturated form is to lead to.
pub(super) fn check_some(files: &[&str], toward: &[&str], cases: &[Case]) {
    let (sets, toward) = (sets(files), super::sets(toward));
    for (rule, signature, body, expected) in cases {
        let before = graph(signature, body);
        let mut only = sets.clone();
        only.iter_mut().for_each(|set| set.rules.retain(|other| &*other.name == *rule));
        only.retain(|set| !set.rules.is_empty());
        assert!(!only.is_empty(), "there is no rule `{rule}`");
        // What makes a graph larger is worth it only for what it leads to.
        let drivers = match only[0].rules[0].expand {
            true => vec![only[0].driver],
            false => vec![Driver::Saturate, Driver::Greedy],
        };
        for driver in drivers {
            let options = Options { driver: Some(driver), toward: &toward, ..Options::default() };
            let (after, log) = run(&before, &only, &options);
            let text = print(&after);
            let fired = log.applied.iter().any(|applied| &*applied.rule == *rule);
            assert_eq!(fired, expected.is_some(), "`{rule}` under {driver:?}: {:?}\n{text}", log.warnings);
            match expected {
                Some(expected) => assert_eq!(ops(&after), *expected, "`{rule}` under {driver:?}\n{text}"),
                None => assert!(before.same_as(&after), "`{rule}` changed a graph\n{text}"),
            }
            let names = |graph: &Graph| graph.outputs().iter().map(|o| o.name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&before), names(&after));
            let bound = if only[0].contract == Contract::BitExact { 0.0 } else { 1e-5 };
            let worst = difference(&before, &after);
            assert!(worst <= bound, "`{rule}` under {driver:?}: {worst}\n{text}");
            assert!(log.warnings.0.is_empty(), "`{rule}`: {:?}", log.warnings);
        }
    }
}

/// As [`check_some`]; every rule of the files has a case.
pub(super) fn check(files: &[&str], toward: &[&str], cases: &[Case]) {
    check_some(files, toward, cases);
    for rule in sets(files).iter().flat_map(|set| &set.rules) {
        let fires = cases.iter().any(|case| case.0 == &*rule.name && case.3.is_some());
        assert!(fires, "no case for `{}`", rule.name);
    }
}

pub(super) const X: &str = "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 6, 6])";
