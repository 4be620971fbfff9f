//! Every built-in rule: where it fires, and where it must not.

use super::*;

/// A graph, the rules that must have fired (or not), and what is left.
struct Case {
    sets: &'static [&'static str],
    rule: &'static str,
    signature: &'static str,
    body: &'static str,
    fires: bool,
    ops: &'static [&'static str],
}

const X4: &str = "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 6, 6])";

fn check(case: &Case) {
    let before = graph(case.signature, case.body);
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), ..Options::default() };
        let sets = sets(case.sets);
        let only: Vec<Ruleset> = sets
            .into_iter()
            .map(|mut set| {
                set.rules.retain(|rule| &*rule.name == case.rule);
                set
            })
            .filter(|set| !set.rules.is_empty())
            .collect();
        assert!(!only.is_empty(), "there is no rule `{}`", case.rule);
        let toward = super::sets(&["fuse"]);
        let options = Options { toward: if case.rule.contains("conv") { &toward } else { &[] }, ..options };
        let (after, log) = run(&before, &only, &options);
        let fired = log.applied.iter().any(|applied| &*applied.rule == case.rule);
        let text = print(&after);
        assert_eq!(fired, case.fires, "`{}` under {driver:?}: {:?}\n{text}", case.rule, log.warnings);
        assert_eq!(ops(&after), case.ops, "`{}` under {driver:?}\n{text}", case.rule);
        let names = |graph: &Graph| graph.outputs().iter().map(|o| o.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after));
        let bound = if only[0].contract == Contract::BitExact { 0.0 } else { 1e-5 };
        assert!(difference(&before, &after) <= bound, "`{}` under {driver:?}\n{text}", case.rule);
        if !case.fires {
            assert!(before.same_as(&after), "`{}` changed a graph\n{text}", case.rule);
        }
        assert!(log.warnings.0.is_empty() || !case.fires, "`{}`: {:?}", case.rule, log.warnings);
    }
}

#[test]
fn cleanup() {
    let fires = |rule, signature, body, ops| check(&Case { sets: &["cleanup"], rule, signature, body, fires: true, ops });
    let stays = |rule, signature, body, ops| check(&Case { sets: &["cleanup"], rule, signature, body, fires: false, ops });
    fires("drop_identity", X4, "%y = identity %x : f32[1, 3, 6, 6]\nreturn %y", &[]);
    fires("drop_dropout", X4, "%a = relu %x : f32[1, 3, 6, 6]\n%y = dropout %a {ratio = 0.25} : f32[1, 3, 6, 6]\nreturn %y", &["relu"]);
    let t = "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 6, 3, 6])";
    fires("drop_transpose", X4, "%y = transpose %x {perm = [0, 1, 2, 3]} : f32[1, 3, 6, 6]\nreturn %y", &[]);
    stays("drop_transpose", t, "%y = transpose %x {perm = [0, 2, 1, 3]} : f32[1, 6, 3, 6]\nreturn %y", &["transpose"]);
    fires("drop_reshape", X4, "%y = reshape %x {shape = [1, 3, 6, -1]} : f32[1, 3, 6, 6]\nreturn %y", &[]);
    let flat = "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 108])";
    stays("drop_reshape", flat, "%y = reshape %x {shape = [0, -1]} : f32[N, 108]\nreturn %y", &["reshape"]);
}
