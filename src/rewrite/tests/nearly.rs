//! Why patterns do not fire.

use super::*;

/// How the rules of a text fare at the node that makes `value`: the name of the nearest, what it wants
/// and what there is.
fn nearest(graph: &Graph, members: &str, value: &str) -> String {
    let text = format!("ruleset test {{\n  contract real\n  driver greedy\n{members}\n}}\n");
    let (mut sources, mut registry) = (Sources::default(), Registry::built_in());
    let read = &mut |_: &std::path::Path| Err("no files".to_owned());
    let sets = match load(&mut sources, &mut registry, &[("test.qrules", &text)], read) {
        Ok(loaded) => loaded.sets,
        Err(found) => panic!("{}", shown(&found, &sources)),
    };
    let options = Options::default();
    let nearly = Nearly::new(graph, &registry, &sources, &options);
    let node = graph.find(value).expect("is there").node;
    let near = nearly.at(&sets, node);
    let Some(near) = near.first() else { return "none".to_owned() };
    let fits =
        near.fits.iter().map(|&id| graph.node(id).op().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let name = &near.rule.name;
    match &near.verdict {
        Verdict::Fits => format!("{name} [{fits}] fits"),
        Verdict::Unmade(why) => format!("{name} [{fits}] unmade: {why}"),
        Verdict::Misses(fault) => {
            let at = &text[fault.span.range()];
            format!("{name} [{fits}] wants {} | has {} | at {at}", fault.wants, fault.has)
        }
    }
}

fn network() -> Graph {
    graph(
        "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 4, 4, 4], %z: f32[N, 4, 4, 4], %s: f32[N, 4, 4, 4])",
        "  %w = const @w : f32[4, 2, 1, 1]
           %k = const @k : f32[4, 1, 1]
           %c = conv2d %x, %w {group = 2} : f32[N, 4, 4, 4]
           %y = relu %c : f32[N, 4, 4, 4]
           %m = mul %y, %k : f32[N, 4, 4, 4]
           %z = sigmoid %m : f32[N, 4, 4, 4]
           %s = add %y, %m : f32[N, 4, 4, 4]
           return %y, %z, %s",
    )
}

#[test]
fn the_first_thing_in_the_way_is_said_with_its_values() {
    let cases = [
        (
            "rule a { relu(conv2d(x, w) {group = g}) where g == dim(w, 0) => relu(x) }",
            "c",
            "a [relu conv2d] wants where g == dim(w, 0) | has g is 2, dim(w, 0) is 4 | at g == dim(w, 0)",
        ),
        (
            "rule a { conv2d(x, w) => x }",
            "c",
            "a [] wants `group` of `conv2d` to be 1 (the default: the pattern names no other) | has group = 2 | at conv2d",
        ),
        (
            "rule a { sigmoid(conv2d(x, w) {..r}) => x }",
            "z",
            "a [sigmoid] wants `conv2d` | has %m of `mul` | at conv2d",
        ),
        (
            "rule a { clip(relu(x)) {min = lo, max = _} where lo > 0.0 => x }",
            "y",
            "a [relu] wants `clip` to read it | has %y is an output, and read by `mul`, `add` | at clip",
        ),
        (
            "rule a { mul(x: constant, y) => y }",
            "m",
            "a [mul] wants x: constant | has x is %y of `relu`, f32[N, 4, 4, 4] | at constant",
        ),
        (
            "rule a { mul(x, k) where !is_constant(k) => x }",
            "m",
            "a [mul] wants where !is_constant(k) | has k is a constant | at !is_constant(k)",
        ),
        (
            "rule a { mul(x, k) where let f = number(k) where f > 1.0 => x }",
            "m",
            "a [mul] wants where let f = number(k) | has k is f32[4, 1, 1] from -0.703125 to 0.515625, number(k) has no \
             value (none if there are more, or if it is no f32 or NaN) | at f = number(k)",
        ),
        (
            "rule a { mul(x, k) where all_positive(k) && rank(x) == 4 => x }",
            "m",
            "a [mul] wants where all_positive(k) | has k is not positive in channels 3 | at all_positive(k)",
        ),
        (
            "rule a { mul(x, k) where dim(x, 0) == 1 => x }",
            "m",
            "a [mul] wants where dim(x, 0) == 1 | has x is f32[N, 4, 4, 4], dim(x, 0) has no value (none if it is \
             not known (`N`) or there is no such axis) | at dim(x, 0) == 1",
        ),
        (
            "rule a { mul(relu(x), 2.0) => x }",
            "m",
            "a [] wants operand `b` to be 2 | has %k, a constant, f32[4, 1, 1] in `mul` m | at 2.0",
        ),
        (
            "rule a { add(x, x) => x }",
            "s",
            "a [] wants operand `b` to be x, which is %y of `relu`, f32[N, 4, 4, 4] | has %m of `mul`, \
             f32[N, 4, 4, 4] in `add` s | at x",
        ),
        (
            "rule a { add(relu(x), mul(y, k)) where single_use(y) => x }",
            "s",
            "a [add relu mul] wants %y to be read once | has %y is an output, and read by `mul`, `add` | at \
             single_use(y)",
        ),
        ("rule a { mul(x, k: constant) => div(x, k) }", "m", "a [mul] fits"),
        ("rule a { mul(x, k: constant) => x }\nrule b { sub(x, y) => x }", "z", "none"),
        (
            "rule a { mul(x, k) where rank(x) == 3 => x }\nrule b { add(y, mul(x, k)) where rank(x) == 3 => x }",
            "m",
            "b [add mul] wants where rank(x) == 3 | has rank(x) is 4 | at rank(x) == 3",
        ),
    ];
    let graph = network();
    for (rule, value, expected) in cases {
        assert_eq!(nearest(&graph, rule, value), expected, "{rule}");
    }
}

#[test]
fn a_right_side_that_cannot_be_made_is_said() {
    let graph = network();
    let rule = "rule a { relu(conv2d(x, w: constant) {..r}) => flatten(x) }";
    assert_eq!(
        nearest(&graph, rule, "c"),
        "a [relu conv2d] unmade: it would turn f32[N, 4, 4, 4] into f32[N, 64]"
    );
    let rule = "rule a { mul(x, k: constant) => mul(x, ones(dim(k, 0) / 3, x)) }";
    assert_eq!(nearest(&graph, rule, "m"), "a [mul] unmade: an expression of its right side has no value");
}
