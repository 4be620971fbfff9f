//! The pattern table: each chain becomes its one layer, and nothing else does.

use super::cases::{Case, check};
use super::*;
use crate::ir::Attr;

/// The lines of a chain from `%x: f32[N, 4, 8, 8]`, its last value `%y`.
fn chain(front: &str, tail: &[&str]) -> (String, String) {
    let mut body = String::new();
    let mut shape: [usize; 3] = [4, 8, 8];
    let mut last = "x".to_owned();
    let steps: Vec<&str> = front.split(' ').chain(tail.iter().copied()).collect();
    for (at, step) in steps.iter().enumerate() {
        let name = if at + 1 == steps.len() { "y".to_owned() } else { format!("v{at}") };
        let line = match *step {
            "channel_pad" => {
                body += "%v = const @v : f32[4]\n";
                shape = [4, 10, 10];
                format!("channel_pad %{last}, %v {{pads = [1, 1, 1, 1]}}")
            }
            "conv2d" => {
                body += "%w = const @w : f32[6, 4, 3, 3]\n%b = const @b : f32[6]\n";
                shape = [6, shape[1] - 2, shape[2] - 2];
                format!("conv2d %{last}, %w, %b")
            }
            "depthwise" => {
                body += "%w = const @w : f32[4, 1, 3, 3]\n";
                shape = [4, 6, 6];
                format!("conv2d %{last}, %w {{group = 4}}")
            }
            "conv_transpose2d" => {
                body += "%w = const @w : f32[4, 6, 3, 3]\n%b = const @b : f32[6]\n";
                shape = [6, 10, 10];
                format!("conv_transpose2d %{last}, %w, %b")
            }
            "depthwise_transpose" => {
                body += "%w = const @w : f32[4, 1, 3, 3]\n";
                shape = [4, 10, 10];
                format!("conv_transpose2d %{last}, %w {{group = 4}}")
            }
            "max_pool2d" => {
                // The pads that the device has.
                let [top, left] = [shape[1] % 2, shape[2] % 2];
                shape = [shape[0], shape[1].div_ceil(2), shape[2].div_ceil(2)];
                format!(
                    "max_pool2d %{last} {{kernel_shape = [3, 3], strides = [2, 2], pads = [{top}, {left}, 1, 1]}}"
                )
            }
            "global_avg_pool2d" => {
                shape = [shape[0], 1, 1];
                format!("global_avg_pool2d %{last}")
            }
            "clip" => format!("clip %{last} {{max = 2, min = 0}}"),
            other => match other.split_once(' ') {
                Some((op, attrs)) => format!("{op} %{last} {attrs}"),
                None => format!("{other} %{last}"),
            },
        };
        let [c, h, w] = shape;
        body += &format!("%{name} = {line} : f32[N, {c}, {h}, {w}]\n");
        last = name;
    }
    body += "return %y";
    let [c, h, w] = shape;
    (format!("(%x: f32[N, 4, 8, 8]) -> (%y: f32[N, {c}, {h}, {w}])"), body)
}

fn fusions() -> Vec<Ruleset> {
    sets(&["fuse", "fuse_depthwise_pools", "fuse_more"])
}

#[test]
fn every_chain_of_the_table_is_one_layer() {
    let tails: &[&[&str]] = &[
        &[],
        &["relu"],
        &["clip"],
        &["max_pool2d"],
        &["max_pool2d", "relu"],
        &["max_pool2d", "clip"],
        &["global_avg_pool2d"],
        &["relu", "global_avg_pool2d"],
        &["clip", "global_avg_pool2d"],
        &["hard_swish"],
        &["max_pool2d", "hard_swish"],
        &["hard_swish", "global_avg_pool2d"],
        &["gelu"],
        &["swish"],
        &["swish {alpha = 0.5}"],
        &["leaky_relu {alpha = 0.25}"],
        &["gelu_tanh"],
        &["sigmoid"],
        &["hard_sigmoid"],
        &["tanh"],
        &["elu"],
        &["selu"],
        &["celu"],
        &["mish"],
        &["softplus"],
        &["softsign"],
    ];
    let mut fired = std::collections::BTreeSet::new();
    let fronts = [
        ("channel_pad conv2d", "QuantizedConv2D"),
        ("conv2d", "QuantizedConv2D"),
        ("depthwise", "QuantizedDepthwise2D"),
        ("conv_transpose2d", "QuantizedConv2DTranspose"),
        ("depthwise_transpose", "QuantizedDepthwise2DTranspose"),
    ];
    for (front, layer) in fronts {
        for tail in tails {
            // The device drops a pool that is fused into a depthwise layer (hardware-ops §8), so only
            // the chains of the reference are fused.
            if front == "depthwise" && matches!(tail, ["max_pool2d"] | ["max_pool2d", "hard_swish"]) {
                continue;
            }
            // Behind a transposed convolution the device has no pool at all.
            if front.contains("transpose") && tail.iter().any(|op| op.contains("pool")) {
                continue;
            }
            let (signature, body) = chain(front, tail);
            let before = graph(&signature, &body);
            for driver in [Driver::Saturate, Driver::Greedy] {
                let options = Options { driver: Some(driver), ..Options::default() };
                let mut sets = fusions();
                // Greedily, each set takes what it can before the next.
                sets.retain(|set| driver == Driver::Saturate || &*set.name == "fuse");
                let (after, log) = run(&before, &sets, &options);
                if driver == Driver::Greedy && ops(&after).len() > 1 {
                    continue;
                }
                let text = print(&after);
                assert_eq!(ops(&after), [layer], "{driver:?} {front} {tail:?}\n{text}");
                assert!(difference(&before, &after) < 1e-5, "{text}");
                fired.extend(log.applied.iter().map(|applied| applied.rule.to_string()));

                let id = after.outputs()[0].value.node;
                let node = after.node(id);
                assert_eq!(&*node.results[0].name, "y");
                let product = match (tail.is_empty(), front.contains(' ')) {
                    (true, _) => "y",
                    (false, true) => "v1",
                    (false, false) => "v0",
                };
                assert_eq!(&*node.name, product);
                let Kind::Op { attrs, .. } = &node.kind else { panic!("a layer is an operator") };
                let text = |name: &str| attrs.get_str(name).unwrap_or_default().to_owned();
                let pool = match tail.iter().find(|op| op.contains("pool")) {
                    Some(&"max_pool2d") => "MaxPool",
                    Some(_) => "GlobalAvgPool",
                    None => "none",
                };
                let activation = match tail.iter().find(|op| !op.contains("pool")) {
                    Some(&"relu") => "ReLU".to_owned(),
                    Some(&"clip") => "ReLUClipped".to_owned(),
                    // `hard_swish` is called HardSwish.
                    Some(function) => {
                        let words = function.split(' ').next().unwrap_or_default().split('_');
                        words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
                    }
                    None => "none".to_owned(),
                };
                let clipped = (activation == "ReLUClipped").then_some(2.0);
                let pool = if front.contains("transpose") { "" } else { pool };
                assert_eq!((text("pool"), text("activation")), (pool.to_owned(), activation));
                assert_eq!(attrs.get_float("max_value"), clipped);
                let alpha =
                    tail.iter().find_map(|op| op.split_once("alpha = ")?.1.strip_suffix('}')?.parse().ok());
                assert!(alpha.is_none_or(|alpha: f32| attrs.get_float("alpha") == Some(alpha)));
                let pads = if front.contains(' ') { vec![1, 1, 1, 1] } else { vec![0; 4] };
                assert_eq!(attrs.get("pads"), Some(&Attr::from(pads)));
            }
        }
    }
    let dense = [
        ("dense", "%y = dense %x, %w : f32[N, 4]", ""),
        ("dense_relu", "%d = dense %x, %w : f32[N, 4]\n%y = relu %d : f32[N, 4]", ""),
        ("dense_clip", "%d = dense %x, %w : f32[N, 4]\n%y = clip %d {max = 6, min = 0} : f32[N, 4]", ""),
        ("flatten_dense", "%f = flatten %x : f32[N, 8]\n%y = dense %f, %w : f32[N, 4]", ", 2, 2"),
        (
            "flatten_dense_relu",
            "%f = flatten %x : f32[N, 8]\n%d = dense %f, %w : f32[N, 4]\n%y = relu %d : f32[N, 4]",
            ", 2, 2",
        ),
        (
            "flatten_dense_clip",
            "%f = flatten %x : f32[N, 8]\n%d = dense %f, %w : f32[N, 4]\n%y = clip %d {max = 6, min = 0} : f32[N, 4]",
            ", 2, 2",
        ),
    ];
    for (rule, lines, more) in dense {
        let features = if more.is_empty() { 8 } else { 2 };
        let signature = format!("(%x: f32[N, {features}{more}]) -> (%y: f32[N, 4])");
        let before = graph(&signature, &format!("%w = const @w : f32[4, 8]\n{lines}\nreturn %y"));
        let (after, log) = run(&before, &fusions(), &Options::default());
        assert_eq!(ops(&after), ["QuantizedDense1D"], "{rule}");
        assert!(difference(&before, &after) < 1e-5);
        fired.extend(log.applied.iter().map(|applied| applied.rule.to_string()));
        assert!(fired.contains(rule), "{rule}");
    }
    for (op, weights) in
        [("buffer_temp_conv", "[2, 6, 1, 1]"), ("depthwise_buffer_temp_conv", "[2, 3, 1, 1]")]
    {
        for relu in [false, true] {
            let ty = "f32[N, 2, 3, 3]";
            let product = if relu { "c" } else { "y" };
            let mut body = format!("%w = const @w : f32{weights}\n%b = const @b : f32[2]\n");
            body += &format!("%{product} = {op} %x, %w, %b {{fifo_name = \"x_fifo\"}} : {ty}\n");
            body += if relu { "%y = relu %c : f32[N, 2, 3, 3]\nreturn %y" } else { "return %y" };
            let before = graph(&format!("(%x: {ty}) -> (%y: {ty})"), &body);
            let (after, log) = run(&before, &fusions(), &Options::default());
            assert_eq!(ops(&after).len(), 1, "{op}");
            assert!(ops(&after)[0].starts_with("Quantized"), "{op}");
            assert!(difference(&before, &after) < 1e-5);
            fired.extend(log.applied.iter().map(|applied| applied.rule.to_string()));
        }
    }
    let joins = [("add %x, %z", 3), ("concat %x, %z {axis = 1}", 6)];
    for (line, channels) in joins {
        let signature = format!("(%x: f32[N, 3], %z: f32[N, 3]) -> (%y: f32[N, {channels}])");
        let before = graph(&signature, &format!("%y = {line} : f32[N, {channels}]\nreturn %y"));
        let (after, log) = run(&before, &fusions(), &Options::default());
        assert_eq!(ops(&after).len(), 1);
        assert!(ops(&after)[0].starts_with("Quantized"));
        fired.extend(log.applied.iter().map(|applied| applied.rule.to_string()));
    }
    for rule in fusions().iter().flat_map(|set| &set.rules) {
        assert!(fired.contains(&*rule.name), "`{}` never fired", rule.name);
    }
}

#[test]
fn what_a_layer_cannot_do_stays_float() {
    let w = "%w = const @w : f32[6, 4, 3, 3]\n";
    let x = "(%x: f32[N, 4, 8, 8]) -> ";
    let cases: &[(&str, String, &[&str])] = &[
        ("(%y: f32[N, 6, 4, 4])", format!("{w}%y = conv2d %x, %w {{dilations = [2, 2]}} : f32[N, 6, 4, 4]"), &["conv2d"]),
        ("(%y: f32[N, 6, 6, 6])", "%w = const @w : f32[6, 2, 3, 3]\n%y = conv2d %x, %w {group = 2} : f32[N, 6, 6, 6]".to_owned(), &["conv2d"]),
        // A depth multiplier.
        ("(%y: f32[N, 8, 6, 6])", "%w = const @w : f32[8, 1, 3, 3]\n%y = conv2d %x, %w {group = 4} : f32[N, 8, 6, 6]".to_owned(), &["conv2d"]),
        ("(%y: f32[N, 6, 6, 6])", format!("{w}%c = conv2d %x, %w : f32[N, 6, 6, 6]\n%y = clip %c {{max = 6, min = 1}} : f32[N, 6, 6, 6]"), &["QuantizedConv2D", "clip"]),
        ("(%y: f32[N, 6, 6, 6])", format!("{w}%c = conv2d %x, %w : f32[N, 6, 6, 6]\n%y = clip %c {{max = 6}} : f32[N, 6, 6, 6]"), &["QuantizedConv2D", "clip"]),
        ("(%y: f32[N, 6, 1, 1])", format!("{w}%c = conv2d %x, %w : f32[N, 6, 6, 6]\n%g = global_avg_pool2d %c : f32[N, 6, 1, 1]\n%y = relu %g : f32[N, 6, 1, 1]"), &["QuantizedConv2D", "relu"]),
        // Behind the activation the device cannot pool by maximum; `cleanup` changes their places.
        ("(%y: f32[N, 6, 3, 3])", format!("{w}%c = conv2d %x, %w : f32[N, 6, 6, 6]\n%r = relu %c : f32[N, 6, 6, 6]\n%y = max_pool2d %r {{kernel_shape = [2, 2], strides = [2, 2]}} : f32[N, 6, 3, 3]"), &["QuantizedConv2D", "max_pool2d"]),
        // Only the quantizer of the input has a zero that another number can pad with.
        ("(%y: f32[N, 6, 6, 6])", format!("{w}%v = const @v : f32[4]\n%r = relu %x : f32[N, 4, 8, 8]\n%p = channel_pad %r, %v {{pads = [0, 0, 1, 1]}} : f32[N, 4, 9, 9]\n%y = conv2d %p, %w {{strides = [1, 1]}} : f32[N, 6, 7, 7]").replace("f32[N, 6, 6, 6]", "f32[N, 6, 7, 7]"), &["relu", "channel_pad", "QuantizedConv2D"]),
        ("(%y: f32[N, 4, 8, 8])", "%c = const @c : f32[4, 1, 1]\n%y = add %x, %c : f32[N, 4, 8, 8]".to_owned(), &["add"]),
        ("(%y: f32[N, 4, 16, 8])", "%y = concat %x, %x {axis = 2} : f32[N, 4, 16, 8]".to_owned(), &["concat"]),
    ];
    for (output, body, expected) in cases {
        let output = if body.contains("f32[N, 6, 7, 7]") { "(%y: f32[N, 6, 7, 7])" } else { output };
        let before = graph(&format!("{x}{output}"), &format!("{body}\nreturn %y"));
        for driver in [Driver::Saturate, Driver::Greedy] {
            let options = Options { driver: Some(driver), ..Options::default() };
            let (after, log) = run(&before, &fusions(), &options);
            assert_eq!(ops(&after), *expected, "{}", print(&after));
            assert!(log.warnings.0.is_empty(), "{:?}", log.warnings);
        }
    }
}

#[test]
fn layers_need_ranges_where_they_are_demanded() {
    let (signature, body) = chain("conv2d", &["relu"]);
    let mut net = graph(&signature, &body);
    let demanding = Options { demand_ranges: true, ..Options::default() };
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), ..demanding };
        assert_eq!(ops(&run(&net, &fusions(), &options).0), ["conv2d", "relu"]);
    }
    // With a range for the convolution alone, only that is a layer.
    let range = || Some(crate::ir::Range { lowest: [-1.0f32].into(), highest: [2.0f32].into() });
    let inner = net.find("v0").expect("is there");
    net.set_range(inner, range());
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), ..demanding };
        assert_eq!(ops(&run(&net, &fusions(), &options).0), ["QuantizedConv2D", "relu"]);
    }
    let last = net.find("y").expect("is there");
    net.set_range(last, range());
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), ..demanding };
        let (after, _) = run(&net, &fusions(), &options);
        assert_eq!(ops(&after), ["QuantizedConv2D"]);
        assert_eq!(after.value(after.outputs()[0].value).range, range());
    }
}

#[test]
fn no_layer_reaches_across_the_value_to_stop_at() {
    let (signature, body) = chain("conv2d", &["max_pool2d", "relu"]);
    let net = graph(&signature, &body);
    for driver in [Driver::Saturate, Driver::Greedy] {
        let options = Options { driver: Some(driver), until: Some("v0"), ..Options::default() };
        let (after, _) = run(&net, &fusions(), &options);
        assert_eq!(ops(&after), ["QuantizedConv2D", "max_pool2d", "relu"], "{}", print(&after));
        assert!(after.find("v0").is_some());
    }
    let registry = Registry::built_in();
    let options = Options { until: Some("nothing"), ..Options::default() };
    assert!(apply(net, &registry, &fusions(), &options).is_err());
}

#[test]
fn what_no_layer_takes_gets_one_of_its_own() {
    let cases: &[Case] = &[
        (
            "max_pool2d_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 3, 3])",
            "%y = max_pool2d %x {kernel_shape = [2, 2], strides = [2, 2]} : f32[N, 4, 3, 3]\n\
             return %y",
            Some(&["QuantizedConv2D"]),
        ),
        (
            "relu_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%y = relu %x : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["QuantizedConv2D"]),
        ),
        (
            "clip_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%y = clip %x {min = 0.0, max = 2.0} : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["QuantizedConv2D"]),
        ),
        (
            "activation_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%y = activation %x {activation = \"HardSwish\"} : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["QuantizedConv2D"]),
        ),
        (
            "global_avg_pool2d_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 1, 1])",
            "%y = global_avg_pool2d %x : f32[N, 4, 1, 1]\n\
             return %y",
            Some(&["QuantizedConv2D"]),
        ),
        (
            "relu_alone",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%y = relu %x : f32[N, 4]\n\
             return %y",
            None,
        ),
        (
            "flat_relu_alone",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%y = relu %x : f32[N, 4]\n\
             return %y",
            Some(&["QuantizedDense1D"]),
        ),
        (
            "flat_relu_alone",
            "(%x: f32[N, 4, 2]) -> (%y: f32[N, 4, 2])",
            "%y = relu %x : f32[N, 4, 2]\n\
             return %y",
            None,
        ),
        (
            "flat_clip_alone",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%y = clip %x {min = 0.0, max = 2.0} : f32[N, 4]\n\
             return %y",
            Some(&["QuantizedDense1D"]),
        ),
        (
            "flat_mul_alone",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%s = const @s : f32[4]\n\
             %y = mul %x, %s : f32[N, 4]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "flat_add_alone",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%s = const @s : f32[4]\n\
             %y = add %x, %s : f32[N, 4]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "clip_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%y = clip %x {min = 1.0, max = 2.0} : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "max_pool2d_alone",
            "(%x: f32[N, 2049, 2, 2]) -> (%y: f32[N, 2049, 1, 1])",
            "%y = max_pool2d %x {kernel_shape = [2, 2]} : f32[N, 2049, 1, 1]\n\
             return %y",
            None,
        ),
        (
            "mul_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%s = const @s : f32[4, 1, 1]\n\
             %y = mul %x, %s : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "add_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%s = const @s : f32[4, 1, 1]\n\
             %y = add %x, %s : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "mul_of_add_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%s = const @s : f32[4, 1, 1]\n\
             %o = const @o : f32[1]\n\
             %a = add %x, %o : f32[N, 4, 6, 6]\n\
             %y = mul %a, %s : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "batch_norm_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%g = const @g : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %y = batch_norm %x, %g, %g, %g, %v : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "mul_alone",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%s = const @s : f32[4, 1, 6]\n\
             %y = mul %x, %s : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
    ];
    check(&["fuse_alone"], &["fuse"], cases);
}
