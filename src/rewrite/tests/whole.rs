//! Whole networks: rules that work together, names, places, ranges, and that nothing else changes.

use super::*;
use crate::diag::{Loc, Place};
use crate::ir::{Attrs, ValueId};
use crate::ops::Builder;

/// The sets that prepare a network for the device, in one run.
fn prepare() -> Vec<Ruleset> {
    let mut all = sets(&["cleanup", "movement", "fold_batchnorm", "pooling", "linear", "constants"]);
    all.retain(|set| &*set.name != "reduce_constants");
    all
}

fn prepared(net: &Graph) -> (Graph, Log) {
    let toward = sets(&["fuse"]);
    let (after, log) = run(net, &prepare(), &Options { toward: &toward, ..Options::default() });
    assert_eq!(log.limit, None);
    assert!(difference(net, &after) < 1e-4, "{}", print(&after));
    // A second run changes nothing.
    let (again, _) = run(&after, &prepare(), &Options { toward: &toward, ..Options::default() });
    assert!(again.same_as(&after), "{}\n{}", print(&after), print(&again));
    (after, log)
}

fn fused(net: &Graph) -> Graph {
    run(net, &sets(&["fuse"]), &Options::default()).0
}

/// A residual network of `blocks` blocks with batch normalization behind every convolution.
fn residual(blocks: usize, channels: usize, size: usize) -> Graph {
    let registry = Registry::built_in();
    let mut net = Graph::new("residual");
    let mut noise = Noise(11);
    let sizes = [3, size, size].map(Into::into);
    let shape: Vec<crate::tensor::Dim> =
        std::iter::once(crate::tensor::Dim::Symbol("N".into())).chain(sizes).collect();
    let mut x = net.add_input("x", crate::tensor::TensorType::new(DType::F32, shape), Loc::unknown());
    let mut input = 3;
    let mut conv = |net: &mut Graph, x: ValueId, input: usize, name: &str, relu: bool| {
        let at = |what: &str| {
            Loc::from(Place::Node { file: "r.onnx".into(), node: format!("{name}_{what}").into() })
        };
        let mut constant = |what: &str, sizes: &[usize], positive: bool| {
            let count = sizes.iter().product();
            let values = (0..count)
                .map(|_| match positive {
                    true => noise.next().abs() + 0.5,
                    false => noise.next() * 0.25,
                })
                .collect::<Vec<f32>>();
            let tensor = Tensor::new(sizes, values).expect("sizes fit");
            net.add_const(&format!("{name}.{what}"), tensor, Loc::unknown())
        };
        let w = constant("w", &[channels, input, 3, 3], false);
        let [gamma, var] = ["gamma", "var"].map(|what| constant(what, &[channels], true));
        let [beta, mean] = ["beta", "mean"].map(|what| constant(what, &[channels], false));
        let pads = Attrs::new().with("pads", vec![1, 1, 1, 1]);
        let mut b = Builder { graph: net, registry: &registry, loc: at("conv") };
        let c = b.op("conv2d", pads, &[x, w], &format!("{name}_conv")).expect("fits");
        b.loc = at("bn");
        let operands = [c, gamma, beta, mean, var];
        let y = b.op("batch_norm", Attrs::new(), &operands, &format!("{name}_bn")).expect("fits");
        if relu { b.op("relu", Attrs::new(), &[y], &format!("{name}_relu")).expect("fits") } else { y }
    };
    x = conv(&mut net, x, input, "stem", true);
    input = channels;
    for block in 0..blocks {
        let a = conv(&mut net, x, input, &format!("b{block}a"), true);
        let c = conv(&mut net, a, input, &format!("b{block}b"), false);
        let mut b = Builder { graph: &mut net, registry: &registry, loc: Loc::unknown() };
        let sum = b.op("add", Attrs::new(), &[x, c], &format!("b{block}_add")).expect("fits");
        x = b.op("relu", Attrs::new(), &[sum], &format!("b{block}_relu")).expect("fits");
    }
    net.add_output("y", x);
    net
}

#[test]
fn a_residual_network_is_folded_and_fused_with_its_names() {
    let net = residual(2, 4, 6);
    let (after, log) = prepared(&net);
    assert_eq!(ops(&after).iter().filter(|op| *op == "batch_norm").count(), 0);
    let folds = log.applied.iter().filter(|applied| &*applied.rule == "batch_norm_into_conv2d");
    assert_eq!(folds.count(), 5);

    // The convolution is still called one, its value is that of the normalization, its place both.
    let value = after.find("b0a_bn").expect("keeps its name");
    let node = after.node(value.node);
    assert_eq!((node.op(), &*node.name), (Some("conv2d"), "b0a_conv"));
    let places: Vec<_> = node.loc.nodes().collect();
    assert_eq!(places, [("r.onnx", "b0a_bn"), ("r.onnx", "b0a_conv")]);
    // The nodes stand in the order of those they replace.
    let names: Vec<String> = after
        .order()
        .into_iter()
        .filter(|&id| after.node(id).op().is_some())
        .map(|id| after.node(id).results[0].name.to_string())
        .collect();
    let expected = [
        "stem_bn",
        "stem_relu",
        "b0a_bn",
        "b0a_relu",
        "b0b_bn",
        "b0_add",
        "b0_relu",
        "b1a_bn",
        "b1a_relu",
        "b1b_bn",
        "b1_add",
        "b1_relu",
    ];
    assert_eq!(names, expected);

    let layers = fused(&after);
    let expected = ["QuantizedConv2D", "QuantizedConv2D", "QuantizedConv2D", "QuantizedAdd", "relu"];
    assert_eq!(ops(&layers)[..5], expected);
    let node = layers.node(layers.find("b0a_relu").expect("keeps its name").node);
    assert_eq!(&*node.name, "b0a_conv");
}

#[test]
fn a_graph_that_no_rule_fits_stays_as_it_is() {
    let (canonical, _) = prepared(&residual(2, 4, 6));
    for sets in [prepare(), sets(&["pairs"]), sets(&["pooling"])] {
        for driver in [Driver::Saturate, Driver::Greedy] {
            let toward = super::sets(&["fuse"]);
            let options = Options { driver: Some(driver), toward: &toward, ..Options::default() };
            let (after, log) = run(&canonical, &sets, &options);
            assert!(after.same_as(&canonical));
            assert_eq!(log.applied, []);
        }
    }
}

#[test]
fn both_drivers_and_every_run_agree() {
    let net = residual(3, 4, 6);
    let sets = sets(&["cleanup", "fold_batchnorm", "fuse"]);
    let (saturated, _) = run(&net, &sets, &Options::default());
    let greedy = Options { driver: Some(Driver::Greedy), ..Options::default() };
    let mut confluent = sets.clone();
    // Greedily a rule that only prepares for another is always taken.
    confluent.iter_mut().for_each(|set| set.rules.retain(|rule| !rule.expand));
    let (directed, _) = run(&net, &confluent, &greedy);
    assert_eq!(print(&saturated), print(&directed));
    for _ in 0..3 {
        assert_eq!(print(&run(&net, &sets, &Options::default()).0), print(&saturated));
    }
}

#[test]
fn inversions_and_folds_find_each_other() {
    // conv, relu, pool, bn: the bn can go through neither relu nor pool alone.
    let bn = "%g = const @g_pos : f32[4]\n%be = const @be : f32[4]\n%m = const @m : f32[4]\n%v = const @v_pos : f32[4]\n";
    let w = "%w = const @w : f32[4, 3, 3, 3]\n";
    let net = |g: &str| {
        graph(
            "(%x: f32[N, 3, 8, 8]) -> (%y: f32[N, 4, 3, 3])",
            &format!(
                "{w}{}%c = conv2d %x, %w : f32[N, 4, 6, 6]\n%p = max_pool2d %c {{kernel_shape = [2, 2], strides = [2, 2]}} : f32[N, 4, 3, 3]\n\
                 %n = batch_norm %p, %g, %be, %m, %v : f32[N, 4, 3, 3]\n%y = relu %n : f32[N, 4, 3, 3]\nreturn %y",
                bn.replace("@g_pos", g)
            ),
        )
    };
    let (after, log) = prepared(&net("@g_pos"));
    assert_eq!(ops(&after), ["conv2d", "max_pool2d", "relu"]);
    assert_eq!(ops(&fused(&after)), ["QuantizedConv2D"]);
    assert!(log.warnings.0.is_empty());

    let (after, log) = prepared(&net("@g_mixed"));
    assert!(ops(&after).iter().any(|op| op == "batch_norm"), "{}", print(&after));
    let [warning] = &log.warnings.0[..] else { panic!("{:?}", log.warnings) };
    assert_eq!(warning.code, "Q0522");
    assert!(warning.message.contains("not positive in channels "), "{}", warning.message);

    // relu, pool, bn over a dense map: the pool goes first, so that the product takes the relu.
    let (after, _) = prepared(&graph(
        "(%x: f32[N, 3, 8, 8]) -> (%y: f32[N, 4, 3, 3])",
        &format!(
            "{w}%c = conv2d %x, %w : f32[N, 4, 6, 6]\n%r = relu %c : f32[N, 4, 6, 6]\n\
             %y = max_pool2d %r {{kernel_shape = [2, 2], strides = [2, 2]}} : f32[N, 4, 3, 3]\nreturn %y"
        ),
    ));
    assert_eq!(ops(&fused(&after)), ["QuantizedConv2D"]);
}

#[test]
fn the_arithmetic_around_an_entry_convolution_is_folded() {
    // (x / 127.5 - 1) with a padded convolution, as image models have it.
    let net = graph(
        "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
        "%w = const @w : f32[4, 3, 3, 3]\n%s = const @s_pos : f32[]\n%o = const @one : f32[3, 1, 1]\n\
         %a = div %x, %s : f32[N, 3, 6, 6]\n%b = sub %a, %o : f32[N, 3, 6, 6]\n\
         %c = conv2d %b, %w {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n%y = relu %c : f32[N, 4, 6, 6]\nreturn %y",
    );
    let mut sets = sets(&["order", "constants"]);
    sets.extend(prepare());
    sets.dedup_by(|a, b| a.name == b.name);
    let toward = super::sets(&["fuse"]);
    let reduce: Vec<Ruleset> =
        super::sets(&["order", "constants"]).into_iter().filter(|s| s.driver == Driver::Greedy).collect();
    let (reduced, _) = run(&net, &reduce, &Options::default());
    assert_eq!(ops(&reduced), ["mul", "add", "conv2d", "relu"]);
    let (after, _) = prepared(&reduced);
    assert_eq!(ops(&after), ["channel_pad", "conv2d", "relu"], "{}", print(&after));
    assert_eq!(ops(&fused(&after)), ["QuantizedConv2D"]);
    let _ = toward;
}

#[test]
fn what_is_shared_is_folded_for_each_reader_only_where_that_pays() {
    // The normalization can be folded only by computing the convolution twice: then both are layers.
    let net = graph(
        "(%x: f32[N, 3, 8, 8]) -> (%y: f32[N, 4, 6, 6], %z: f32[N, 4, 6, 6])",
        "%w = const @w : f32[4, 3, 3, 3]\n%g = const @g : f32[4]\n%be = const @be : f32[4]\n%m = const @m : f32[4]\n\
         %v = const @v_pos : f32[4]\n%y = conv2d %x, %w : f32[N, 4, 6, 6]\n\
         %z = batch_norm %y, %g, %be, %m, %v : f32[N, 4, 6, 6]\nreturn %y, %z",
    );
    assert_eq!(ops(&prepared(&net).0), ["conv2d", "conv2d"]);
    // Without layers in sight it stays one convolution: the work decides.
    assert_eq!(ops(&run(&net, &prepare(), &Options::default()).0), ["conv2d", "batch_norm"]);
}

#[test]
fn outputs_keep_their_names_when_values_merge() {
    let net = graph(
        "(%x: f32[2, 3]) -> (%a: f32[2, 3], %b: f32[2, 3], %c: f32[2, 3])",
        "%a = relu %x : f32[2, 3]\n%b = identity %a : f32[2, 3]\n%c = dropout %x : f32[2, 3]\nreturn %a, %b, %c",
    );
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), ..Options::default() };
        let (after, _) = run(&net, &sets(&["cleanup"]), &options);
        let names: Vec<_> = after.outputs().iter().map(|output| output.name.to_string()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(ops(&after), ["relu"]);
        assert_eq!(&*after.value(after.outputs()[0].value).name, "a");
        assert_eq!(after.outputs()[2].value, after.inputs().next().expect("has one"));
    }
}

#[test]
fn an_output_that_was_behind_an_identity_names_the_value() {
    let net = graph(
        "(%x: f32[2, 3]) -> (%y: f32[2, 3])",
        "%a = relu %x : f32[2, 3]\n%y = identity %a : f32[2, 3]\nreturn %y",
    );
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), ..Options::default() };
        let (after, _) = run(&net, &sets(&["cleanup"]), &options);
        assert_eq!(&*after.value(after.outputs()[0].value).name, "y");
    }
}

#[test]
fn a_merged_value_keeps_the_range_of_the_earliest() {
    let mut net = graph(
        "(%x: f32[2, 3]) -> (%y: f32[2, 3])",
        "%a = relu %x : f32[2, 3]\n%b = identity %a : f32[2, 3]\n%y = clip %b {max = 1} : f32[2, 3]\nreturn %y",
    );
    let range = |high: f32| Some(crate::ir::Range { lowest: [0.0f32].into(), highest: [high].into() });
    for (name, high) in [("a", 3.0), ("b", 5.0), ("y", 1.0)] {
        net.set_range(net.find(name).expect("is there"), range(high));
    }
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), ..Options::default() };
        let (after, _) = run(&net, &sets(&["cleanup"]), &options);
        let value = |name: &str| after.find(name).map(|value| after.value(value).range.clone());
        assert_eq!(value("y"), Some(range(1.0)));
        assert!(value("b").is_none());
    }
}

#[test]
fn constants_fold_lazily_and_keep_names() {
    let net = graph(
        "(%x: f32[2, 3]) -> (%y: f32[2, 3])",
        "%a = const @a : f32[3]\n%b = const @b : f32[3]\n%s = add %a, %b : f32[3]\n%y = mul %x, %s : f32[2, 3]\nreturn %y",
    );
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), ..Options::default() };
        let (after, _) = run(&net, &sets(&["cleanup"]), &options);
        assert_eq!(ops(&after), ["mul"]);
        let sum = after.find("s").expect("keeps its name");
        assert!(after.constant(sum).is_some());
        assert_eq!(difference(&net, &after), 0.0);
    }
}

#[test]
fn custom_patterns_come_first_in_file_order() {
    let net = graph(
        "(%x: f32[N, 3, 8, 8]) -> (%y: f32[N, 4, 6, 6])",
        "%w = const @w : f32[4, 3, 3, 3]\n%c = conv2d %x, %w : f32[N, 4, 6, 6]\n%y = relu %c : f32[N, 4, 6, 6]\nreturn %y",
    );
    let own = |patterns: &str| rules(&format!("contract real driver greedy\n{patterns}"));
    let chain = "custom_pattern both = chain(conv2d, relu) => layer QuantizedConv2D";
    let alone = "custom_pattern alone { conv2d(x, w) {..conv} => layer QuantizedConv2D(x, w) {..conv} }";
    assert_eq!(
        ops(&run(&net, &own(&format!("{chain}\n{alone}")), &Options::default()).0),
        ["QuantizedConv2D"]
    );
    let (after, log) = run(&net, &own(&format!("{alone}\n{chain}")), &Options::default());
    assert_eq!(ops(&after), ["QuantizedConv2D", "relu"]);
    assert_eq!(&*log.applied[0].rule, "alone");
}

#[test]
fn long_networks_take_near_linear_work() {
    // Compares work, not time: the e-graph holds so many nodes per layer, whatever the depth.
    let (small, large) = (residual(4, 2, 3), residual(40, 2, 3));
    let toward = sets(&["fuse"]);
    let options = Options { toward: &toward, ..Options::default() };
    let registry = Registry::built_in();
    let nodes = |net: &Graph| apply(net.clone(), &registry, &prepare(), &options).expect("runs").1;
    let (small, large) = (nodes(&small), nodes(&large));
    assert_eq!(small.iterations, large.iterations);
    assert!(large.nodes < 12 * small.nodes, "{} and {}", small.nodes, large.nodes);
}
