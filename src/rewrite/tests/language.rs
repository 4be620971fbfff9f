//! The language: what the checker finds, what matches.

use super::*;

/// The blocks of the documentation.
#[test]
fn rule_files_in_the_documentation_load() {
    let docs = include_str!("../../../docs/rules.md");
    let blocks: Vec<&str> =
        docs.split("```qrules\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 3);
    for block in blocks {
        let (mut sources, mut registry) = (Sources::default(), Registry::built_in());
        let read = &mut |_: &std::path::Path| Err("no files".to_owned());
        let loaded = load(&mut sources, &mut registry, &[("docs.qrules", block)], read);
        let loaded = loaded.unwrap_or_else(|found| panic!("{}", shown(&found, &sources)));
        assert!(loaded.warnings.0.is_empty(), "{}", shown(&loaded.warnings, &sources));
    }
}

#[test]
fn built_in_files_are_laid_out() {
    let mut wrong = Vec::new();
    for (name, text) in BUILT_IN {
        let mut sources = Sources::default();
        let source = sources.add(*name, *text).expect("is small");
        let laid_out = crate::syntax::rules::format(text, source);
        let laid_out = laid_out.unwrap_or_else(|found| panic!("{}", shown(&found, &sources)));
        if laid_out != *text {
            wrong.push(*name);
            if std::env::var_os("QIRC_BLESS").is_some() {
                std::fs::write(format!("passes/{name}.qrules"), &laid_out).expect("can be written");
            }
        }
    }
    assert!(wrong.is_empty(), "QIRC_BLESS=1 lays out {wrong:?}");
}

/// The code and line of every finding of a set with these members.
fn findings(members: &str) -> Vec<(&'static str, usize)> {
    let text = format!("ruleset test {{\n{members}\n}}\n");
    let (mut sources, mut registry) = (Sources::default(), Registry::built_in());
    let read = &mut |_: &std::path::Path| Err("no files".to_owned());
    let found = match load(&mut sources, &mut registry, &[("test.qrules", &text)], read) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    let line = |finding: &crate::diag::Diagnostic| match finding.labels.first().map(|label| &label.place) {
        Some(crate::diag::Place::Text(span)) => sources.line_column(*span).0,
        _ => 0,
    };
    found.0.iter().map(|finding| (finding.code, line(finding))).collect()
}

fn saturated(rules: &str) -> Vec<(&'static str, usize)> {
    findings(&format!("contract real driver saturate\n{rules}"))
}

fn greedy(rules: &str) -> Vec<(&'static str, usize)> {
    findings(&format!("contract real driver greedy\n{rules}"))
}

#[test]
fn every_mistake_is_found_at_its_place() {
    let cases = [
        ("rule a { relu(x) => x }\nrule a { relu(x) => x }", "Q0501", 4),
        ("rule a { relo(x) => x }", "Q0502", 3),
        ("rule a { clip(x) {mim = 0} => x }", "Q0502", 3),
        ("rule a { relu(x) => clip(x) {mim = 0.0} }", "Q0502", 3),
        ("rule a {\nrelu(x)\nwhere all_positiv(x)\n=> x }", "Q0503", 5),
        ("rule a { relu(x: quantised) => x }", "Q0503", 3),
        ("rule a { relu(x) => relu(z) }", "Q0504", 3),
        ("rule a { clip(x) {..rest} => clip(x) {..rst} }", "Q0504", 3),
        ("rule a { relu(x, y) => add(x, y) }", "Q0505", 3),
        ("rule a { add(x) => x }", "Q0505", 3),
        ("rule a { relu(x) => add(x) }", "Q0505", 3),
        ("rule a { relu(x) => (x, x) }", "Q0505", 3),
        ("rule a { relu(x) as (y, z) => x }", "Q0505", 3),
        ("rule a { relu(x) where rank(x) => x }", "Q0506", 3),
        ("rule a { relu(x) where rank(x) == type(x) => x }", "Q0506", 3),
        ("rule a { clip(x) {min = x} => x }", "Q0506", 3),
        ("rule a { clip(x) {min = \"low\"} => x }", "Q0506", 3),
        ("rule a { relu(x) where is_identity(rank(x)) => x }", "Q0506", 3),
        ("rule a { relu(x) => clip(x) {min = [0.0]} }", "Q0506", 3),
        ("rule a { clip(x) {min = lo, ..rest} => clip(x) {min = lo, ..x} }", "Q0506", 3),
        ("rule a { clip(x) {min = lo} => x }", "Q0507", 3),
        ("rule a { transpose(x) => x }", "Q0508", 3),
        ("rule a { relu(x) where single_use(x) => x }", "Q0509", 3),
        ("rule a priority 3 { relu(x) => x }", "Q0509", 3),
        ("custom_pattern a = chain(conv2d, relu) => layer QuantizedConv2D", "Q0509", 3),
        ("rule a sometimes { relu(x) => x }", "Q0511", 3),
        ("rule a { relu(x) => x % 2.0 }", "Q0506", 3),
        ("rule a { relu(x) => x * type(x) }", "Q0506", 3),
        ("rule a { relu(x) => x + [1.0, 2.0] }", "Q0506", 3),
        ("rule a { add(x, c) where c * 2.0 < 1.0 => x }", "Q0506", 3),
        ("rule a { relu(x?) => x }", "Q0511", 3),
        ("rule a { add(_, x) => x }", "Q0511", 3),
        ("rule a { concat(..xs, x) {axis = _} => x }", "Q0511", 3),
        ("rule a { relu(x) => layer relu(x) }", "Q0511", 3),
        ("rule a { relu(x) => clip(x) {max = 1e999} }", "Q0511", 3),
        ("rule a { transpose(x) {..rest} => relu(x) {..rest} }", "Q0511", 3),
    ];
    for (rules, code, line) in cases {
        assert_eq!(saturated(rules), [(code, line)], "{rules}");
    }
    assert_eq!(greedy("custom_pattern a = chain(relu, conv2d) => layer QuantizedConv2D"), [("Q0512", 3)]);
    assert_eq!(greedy("custom_pattern a = chain(conv2d, relu) => layer relu"), [("Q0511", 3)]);
    assert_eq!(findings("contract lossy driver saturate"), [("Q0510", 1)]);
    assert_eq!(findings("driver saturate"), [("Q0511", 1)]);
    assert_eq!(findings("contract exact driver greedy"), [("Q0511", 2)]);
    assert_eq!(findings("contract real contract real driver greedy"), [("Q0501", 2)]);
}

#[test]
fn all_mistakes_of_a_file_are_found_in_one_run() {
    let rules = "rule a { relo(x) => y }\nrule b { relu(x) where nothing(x) => z }";
    assert_eq!(saturated(rules), [("Q0502", 3), ("Q0503", 4), ("Q0504", 4)]);
}

#[test]
fn files_use_files_once_and_say_which_is_missing() {
    let texts = BTreeMap::from([
        ("rules/b.qrules", "use \"./c.qrules\"\nruleset b { contract real driver greedy }"),
        ("rules/c.qrules", "ruleset c { contract real driver greedy }"),
        ("rules/e.qrules", "use \"c.qrules\"\n\nuse \"f.qrules\"\nruleset e { contract real driver greedy }"),
        ("rules/f.qrules", "use \"./e.qrules\"\nruleset f { contract real driver greedy }"),
    ]);
    let mut registry = Registry::built_in();
    let mut read = |path: &std::path::Path| {
        let text = texts.get(path.to_str().unwrap_or_default());
        text.map(|text| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
    };
    let a = "use \"./b.qrules\"\nuse \"c.qrules\"\nruleset a { contract real driver greedy }";
    let loaded =
        load(&mut Sources::default(), &mut registry, &[("rules/a.qrules", a)], &mut read).expect("loads");
    let names: Vec<&str> = loaded.sets.iter().map(|set| &*set.name).collect();
    assert_eq!(names, ["c", "b", "a"]);

    let a = "use \"d.qrules\"\nruleset c { contract real driver greedy }\nruleset c { contract real driver greedy }";
    let found = load(&mut Sources::default(), &mut registry, &[("rules/a.qrules", a)], &mut read)
        .expect_err("is wrong");
    let codes: Vec<&str> = found.0.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["Q0513", "Q0501"]);

    // What is declared in either file could not be seen in the other.
    let a = "use \"e.qrules\"\nruleset a { contract real driver greedy }";
    let found = load(&mut Sources::default(), &mut registry, &[("rules/a.qrules", a)], &mut read)
        .expect_err("is circular");
    let messages: Vec<&str> = found.0.iter().map(|finding| &*finding.message).collect();
    let words = "rules/e.qrules: `rules/e.qrules` uses `rules/f.qrules`, which uses it again; leave one of these lines out";
    assert_eq!(messages, [words]);
}

#[test]
fn several_files_are_read_as_one() {
    let set = "ruleset a { contract real driver greedy }";
    let mut registry = Registry::built_in();
    let mut none = |_: &std::path::Path| Err("no such file".to_owned());
    let mut read = |files: &[(&str, &str)]| load(&mut Sources::default(), &mut registry, files, &mut none);
    let found = read(&[("one.qrules", set), ("two.qrules", set)]).expect_err("names a set twice");
    let labels: Vec<&str> = found.0[0].labels.iter().map(|label| &*label.text).collect();
    assert_eq!((found.0.len(), found.0[0].code, &labels[..]), (1, "Q0501", &["", "first defined here"][..]));
    // A file that is named twice counts once; one without anything is no mistake, but hardly meant.
    let loaded =
        read(&[("one.qrules", set), ("./one.qrules", set), ("none.qrules", "// none\n")]).expect("loads");
    assert_eq!(loaded.sets.len(), 1);
    let codes: Vec<&str> = loaded.warnings.0.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["Q0527"]);
}

#[test]
fn files_use_none_that_lie_elsewhere() {
    let mut registry = Registry::built_in();
    for path in ["/etc/passwd", "../a.qrules", "sub/../../a.qrules", "..", "C:a"] {
        let mut read = |path: &std::path::Path| panic!("{} is read", path.display());
        let text = format!("use \"{path}\"\nruleset a {{ contract real driver greedy }}");
        let found = load(&mut Sources::default(), &mut registry, &[("rules/a.qrules", &text)], &mut read);
        let found = found.expect_err("is refused");
        assert!(found.0.len() == 1 && found.0[0].message.contains("leads away"), "{found:?}");
    }
}

const X: &str = "(%x: f32[2, 3]) -> (%y: f32[2, 3])";

/// What a set leaves of a chain over `%x: f32[2, 3]`.
fn left(members: &str, lines: &str) -> Vec<String> {
    let before = graph(X, &format!("{lines}\nreturn %y"));
    let (after, _) =
        run(&before, &rules(&format!("contract real driver greedy\n{members}")), &Options::default());
    assert!(difference(&before, &after) < 1e-6);
    ops(&after)
}

#[test]
fn a_name_in_two_places_is_one_value() {
    let rule = "rule r { sub(add(x, a), a) => x }";
    let lines = "%a = const @a : f32[3]\n%b = const @b : f32[1]\n%s = add %x, %a : f32[2, 3]\n";
    assert_eq!(left(rule, &format!("{lines}%y = sub %s, %a : f32[2, 3]")), [""; 0]);
    assert_eq!(left(rule, &format!("{lines}%y = sub %s, %b : f32[2, 3]")), ["add", "sub"]);
}

#[test]
fn attributes_that_are_not_named_have_their_defaults() {
    let lines = "%a = clip %x {max = 6} : f32[2, 3]\n%y = relu %a : f32[2, 3]";
    assert_eq!(left("rule r { relu(clip(x)) => relu(x) }", lines), ["clip", "relu"]);
    assert_eq!(left("rule r { relu(clip(x) {max = hi}) => clip(x) {min = 0.0, max = hi} }", lines), ["clip"]);
    assert_eq!(left("rule r { relu(clip(x) {..rest}) => clip(x) {min = 0.0, ..rest} }", lines), ["clip"]);
    // A poured attribute that the new operator lacks has its default, or the rule does not apply.
    assert_eq!(left("rule r { relu(clip(x) {..rest}) => relu(x) {..rest} }", lines), ["clip", "relu"]);
}

#[test]
fn numbers_match_constants_that_are_full_of_them() {
    let rule = "rule r { mul(x, 1) where type(x) == type(result) => x }";
    let one = "%c = const @one : f32[3]\n%y = mul %x, %c : f32[2, 3]";
    assert_eq!(left(rule, one), [""; 0]);
    assert_eq!(left(rule, &one.replace("@one", "@other")), ["mul"]);
    let rule = "rule r { mul(x, 2.0) => add(x, x) }";
    assert_eq!(left(rule, one), ["mul"]);
}

#[test]
fn a_rule_for_one_reader_counts_outputs_too() {
    let rule = rules(
        "contract real driver greedy
         rule r { relu(a @ add(x, z)) where single_use(a) => max(add(x, z), scalar(0.0, x)) }",
    );
    let lines = "%a = add %x, %x : f32[2, 3]\n%y = relu %a : f32[2, 3]\n";
    let once = graph(X, &format!("{lines}return %y"));
    assert_eq!(ops(&run(&once, &rule, &Options::default()).0), ["add", "max"]);
    let twice = graph("(%x: f32[2, 3]) -> (%y: f32[2, 3], %a: f32[2, 3])", &format!("{lines}return %y, %a"));
    assert_eq!(ops(&run(&twice, &rule, &Options::default()).0), ["add", "relu"]);
    let until = Options { until: Some("a"), ..Options::default() };
    assert_eq!(ops(&run(&once, &rule, &until).0), ["add", "relu"]);
}

#[test]
fn priorities_come_before_file_order() {
    let sets = rules(
        "contract real driver greedy
         rule first { relu(x) => clip(x) {min = 0.0} }
         rule second priority 1 { relu(x) => max(x, scalar(0.0, x)) }",
    );
    let net = graph(X, "%y = relu %x : f32[2, 3]\nreturn %y");
    assert_eq!(ops(&run(&net, &sets, &Options::default()).0), ["max"]);
}

#[test]
fn a_rule_that_would_break_the_graph_is_reported_and_not_applied() {
    let net = graph(
        X,
        "%c = const @one : f32[1, 1, 1]\n%t = mul %x, %c : f32[1, 2, 3]\n%y = reshape %t {shape = [2, 3]} : f32[2, 3]\nreturn %y",
    );
    for driver in ["greedy", "saturate"] {
        let sets = rules(&format!("contract real driver {driver}\nrule r {{ mul(x, 1) => x }}"));
        let (after, log) = run(&net, &sets, &Options::default());
        assert!(after.same_as(&net));
        let codes: Vec<&str> = log.warnings.0.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["Q0521"]);
        assert!(log.warnings.0[0].message.contains("f32[1, 2, 3] into f32[2, 3]"), "{:?}", log.warnings);
    }
}

#[test]
fn endless_rules_end_at_a_limit_and_leave_a_sound_graph() {
    let net = graph(
        X,
        "%c = const @one : f32[1]\n%a = add %x, %c : f32[2, 3]\n%y = relu %a : f32[2, 3]\nreturn %y",
    );
    let endless = "rule grow expand { add(x, c: constant) => add(add(x, mul(c, 0.5)), mul(c, 0.5)) }";
    let greedy = rules(&format!("contract real driver greedy\n{endless}"));
    let few = Options { applications: 20, nodes: 300, iterations: 1000, ..Options::default() };
    let (after, log) = run(&net, &greedy, &few);
    assert_eq!(log.limit, Some(Limit::Applications(20)));
    assert_eq!(log.warnings.0[0].code, "Q0520");
    assert!(difference(&net, &after) < 1e-6);

    let saturated = rules(&format!("contract real driver saturate\n{endless}"));
    let (after, log) = run(&net, &saturated, &few);
    assert_eq!(log.limit, Some(Limit::Nodes(300)));
    assert!(log.warnings.0[0].labels[0].text.contains("grow"));
    assert!(after.same_as(&net));
}

#[test]
fn two_rules_that_undo_each_other_keep_the_graph() {
    let sets = rules(
        "contract real driver saturate
         rule to_max { relu(x) => max(x, scalar(0.0, x)) }
         rule to_relu { max(x, 0) => relu(x) }",
    );
    let net = graph(X, "%y = relu %x : f32[2, 3]\nreturn %y");
    assert!(run(&net, &sets, &Options::default()).0.same_as(&net));
}

#[test]
fn several_results_are_matched_and_made() {
    use crate::ops::{Call, Example, Inputs, Lift, LowerCx, Lowered, OpError, Operator, Quantize, Schema};
    use crate::tensor::TensorType;

    /// Both signs: `y = x`, `z = -x`.
    struct Signs(&'static str);

    impl Operator for Signs {
        fn schema(&self) -> Schema {
            let mut schema = Schema::new(self.0, "`y = x`, `z = -x`.").operand("x");
            schema.results = vec!["y".into(), "z".into()];
            schema
        }

        fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
            Ok(vec![call.ty(0)?.clone(); 2])
        }

        fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
            let x = inputs.get(0)?.clone();
            let negated = inputs.elements::<f32>(0)?.iter().map(|v| -v).collect();
            Ok([Some(x), Tensor::new(inputs.get(0)?.sizes(), negated)].into_iter().flatten().collect())
        }

        fn quantize(&self) -> Quantize {
            Quantize::No("it is a test")
        }

        fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
            Err(cx.call.unsupported("a test"))
        }

        fn lifts(&self) -> Vec<Lift> {
            Vec::new()
        }

        fn macs(&self, _: &Call) -> u64 {
            0
        }

        fn examples(&self) -> Vec<Example> {
            Vec::new()
        }
    }

    let mut registry = Registry::built_in();
    registry.add(Box::new(Signs("signs")));
    registry.add(Box::new(Signs("other_signs")));
    let mut net = Graph::new("g");
    let ty = TensorType::new(DType::F32, vec![3.into()]);
    let x = net.add_input("x", ty, crate::diag::Loc::unknown());
    let loc = crate::diag::Loc::unknown();
    let mut builder = crate::ops::Builder { graph: &mut net, registry: &registry, loc };
    let first = builder.op("relu", crate::ir::Attrs::new(), &[x], "a").expect("fits");
    let signs = builder.node("signs", crate::ir::Attrs::new(), vec![Some(first)], "s").expect("fits");
    let value = |result| crate::ir::ValueId { node: signs, result };
    let sum = builder.op("sub", crate::ir::Attrs::new(), &[value(0), value(1)], "y").expect("fits");
    net.add_output("y", sum);
    net.add_output("z", value(1));

    let members = [
        ("rule swap { signs(x) as (y, z) => other_signs(x) }", vec!["relu", "other_signs", "sub"]),
        ("rule split { signs(x) as (y, z) => (x, mul(x, scalar(-1.0, x))) }", vec!["relu", "mul", "sub"]),
        ("rule none { signs(relu(x)) as (y, z) => other_signs(x) where }", vec![]),
    ];
    for (rule, expected) in members {
        for driver in ["greedy", "saturate"] {
            let text = format!("ruleset t {{ contract real driver {driver} {rule} }}");
            let read = &mut |_: &std::path::Path| Err("no files".to_owned());
            let loaded = load(&mut Sources::default(), &mut registry, &[("t.qrules", &text)], read);
            let Ok(loaded) = loaded else {
                assert!(expected.is_empty());
                continue;
            };
            // Saturation takes what costs less.
            let rules: Vec<Ruleset> = loaded.sets;
            let (after, log) = apply(net.clone(), &registry, &rules, &Options::default()).expect("runs");
            assert_eq!(log.limit, None);
            verify(&after, &registry).expect("is sound");
            assert_eq!(ops(&after), expected, "{driver} {rule}");
            let names: Vec<_> = after.outputs().iter().map(|output| output.name.to_string()).collect();
            assert_eq!(names, ["y", "z"]);
            assert_eq!(&*after.value(after.outputs()[1].value).name, "s_z");
        }
    }
}
