//! Rules that move transposes, and what follows from them.

use super::cases::{Case, check};
use super::*;

#[test]
fn movement() {
    let cases: &[Case] = &[
        (
            "reshape_to_transpose",
            "(%x: f32[N, 6, 4, 1]) -> (%y: f32[N, 1, 6, 4])",
            "%y = reshape %x {shape = [-1, 1, 6, 4]} : f32[N, 1, 6, 4]\n\
             return %y",
            Some(&["transpose"]),
        ),
        (
            "reshape_to_transpose",
            "(%x: f32[N, 6, 4, 1]) -> (%y: f32[N, 1, 4, 6])",
            "%y = reshape %x {shape = [-1, 1, 4, 6]} : f32[N, 1, 4, 6]\n\
             return %y",
            None,
        ),
        (
            "reshape_to_transpose",
            "(%x: f32[N, 6, 4, 2]) -> (%y: f32[N, 2, 6, 4])",
            "%y = reshape %x {shape = [-1, 2, 6, 4]} : f32[N, 2, 6, 4]\n\
             return %y",
            None,
        ),
        (
            "relu_behind_transpose",
            "(%x: f32[N, 3, 4, 5]) -> (%y: f32[N, 3, 4, 5])",
            "%t = transpose %x {perm = [0, 2, 3, 1]} : f32[N, 4, 5, 3]\n\
             %r = relu %t : f32[N, 4, 5, 3]\n\
             %y = transpose %r {perm = [0, 3, 1, 2]} : f32[N, 3, 4, 5]\n\
             return %y",
            Some(&["relu"]),
        ),
        // Nothing is won.
        (
            "relu_behind_transpose",
            "(%x: f32[N, 3, 4, 5]) -> (%y: f32[N, 4, 5, 3])",
            "%r = relu %x : f32[N, 3, 4, 5]\n\
             %y = transpose %r {perm = [0, 2, 3, 1]} : f32[N, 4, 5, 3]\n\
             return %y",
            None,
        ),
        (
            "clip_behind_transpose",
            "(%x: f32[N, 3, 4, 5]) -> (%y: f32[N, 3, 4, 5])",
            "%t = transpose %x {perm = [0, 2, 3, 1]} : f32[N, 4, 5, 3]\n\
             %r = clip %t {max = 2, min = 0} : f32[N, 4, 5, 3]\n\
             %y = transpose %r {perm = [0, 3, 1, 2]} : f32[N, 3, 4, 5]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "sigmoid_behind_transpose",
            "(%x: f32[N, 3, 4, 5]) -> (%y: f32[N, 3, 4, 5])",
            "%t = transpose %x {perm = [0, 2, 3, 1]} : f32[N, 4, 5, 3]\n\
             %r = sigmoid %t : f32[N, 4, 5, 3]\n\
             %y = transpose %r {perm = [0, 3, 1, 2]} : f32[N, 3, 4, 5]\n\
             return %y",
            Some(&["sigmoid"]),
        ),
        (
            "transpose_before_mul",
            "(%x: f32[N, 6, 6, 3]) -> (%y: f32[N, 4, 4, 4])",
            "%c = const @c : f32[3]\n\
             %w = const @w : f32[4, 3, 3, 3]\n\
             %m = mul %x, %c : f32[N, 6, 6, 3]\n\
             %t = transpose %m {perm = [0, 3, 1, 2]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %t, %w : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["transpose", "mul", "conv2d"]),
        ),
        // The factors do not go into the weights: they differ along an axis of the image.
        (
            "transpose_before_mul",
            "(%x: f32[N, 6, 6, 3]) -> (%y: f32[N, 4, 4, 4])",
            "%c = const @c : f32[6, 1]\n\
             %w = const @w : f32[4, 3, 3, 3]\n\
             %m = mul %x, %c : f32[N, 6, 6, 3]\n\
             %t = transpose %m {perm = [0, 3, 1, 2]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %t, %w : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        // Not a constant.
        (
            "transpose_before_mul",
            "(%x: f32[N, 6, 6, 3], %c: f32[3]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %m = mul %x, %c : f32[N, 6, 6, 3]\n\
             %t = transpose %m {perm = [0, 3, 1, 2]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %t, %w : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "transpose_before_add",
            "(%x: f32[N, 6, 6, 3]) -> (%y: f32[N, 4, 6, 6])",
            "%c = const @c : f32[1, 1, 3]\n\
             %w = const @w : f32[4, 3, 3, 3]\n\
             %m = add %x, %c : f32[N, 6, 6, 3]\n\
             %t = transpose %m {perm = [0, 3, 1, 2]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %t, %w {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["transpose", "add", "conv2d"]),
        ),
        // The constant makes the value larger, so it does not move alone.
        (
            "transpose_before_add",
            "(%x: f32[N, 6, 6, 1]) -> (%y: f32[N, 4, 4, 4])",
            "%c = const @c : f32[3]\n\
             %w = const @w : f32[4, 3, 3, 3]\n\
             %m = add %x, %c : f32[N, 6, 6, 3]\n\
             %t = transpose %m {perm = [0, 3, 1, 2]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %t, %w : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "reshape_to_transpose_back",
            "(%x: f32[N, 1, 6, 4]) -> (%y: f32[N, 6, 4, 1])",
            "%y = reshape %x {shape = [-1, 6, 4, 1]} : f32[N, 6, 4, 1]\n\
             return %y",
            Some(&["transpose"]),
        ),
        (
            "reshape_to_transpose_back",
            "(%x: f32[N, 2, 6, 4]) -> (%y: f32[N, 6, 4, 2])",
            "%y = reshape %x {shape = [-1, 6, 4, 2]} : f32[N, 6, 4, 2]\n\
             return %y",
            None,
        ),
        (
            "pad_behind_transpose",
            "(%x: f32[N, 6, 6, 3]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %p = pad %x {pads = [0, 1, 1, 0, 0, 1, 1, 0]} : f32[N, 8, 8, 3]\n\
             %t = transpose %p {perm = [0, 3, 1, 2]} : f32[N, 3, 8, 8]\n\
             %y = conv2d %t, %w : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["transpose", "pad", "conv2d"]),
        ),
        (
            "pad_behind_transpose",
            "(%x: f32[N, 6, 3]) -> (%y: f32[N, 3, 7])",
            "%p = pad %x {pads = [0, 1, 0, 0, 0, 0]} : f32[N, 7, 3]\n\
             %y = transpose %p {perm = [0, 2, 1]} : f32[N, 3, 7]\n\
             return %y",
            None,
        ),
        (
            "pad_behind_relu",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 8, 8])",
            "%p = pad %x {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.5} : f32[N, 3, 8, 8]\n\
             %y = relu %p : f32[N, 3, 8, 8]\n\
             return %y",
            Some(&["relu", "pad"]),
        ),
        (
            "pad_behind_relu",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 8, 8])",
            "%p = pad %x {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = -0.5} : f32[N, 3, 8, 8]\n\
             %y = relu %p : f32[N, 3, 8, 8]\n\
             return %y",
            None,
        ),
        (
            "relu_before_flatten",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 64])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = flatten %c : f32[N, 64]\n\
             %y = relu %f : f32[N, 64]\n\
             return %y",
            Some(&["conv2d", "relu", "flatten"]),
        ),
        (
            "relu_before_reshape",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 16, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = reshape %c {shape = [0, 16, 4]} : f32[N, 16, 4]\n\
             %y = relu %f : f32[N, 16, 4]\n\
             return %y",
            Some(&["conv2d", "relu", "reshape"]),
        ),
        (
            "clip_before_flatten",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 64])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = flatten %c : f32[N, 64]\n\
             %y = clip %f {min = 0.0, max = 2.0} : f32[N, 64]\n\
             return %y",
            Some(&["conv2d", "clip", "flatten"]),
        ),
        (
            "clip_before_reshape",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 16, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = reshape %c {shape = [0, 16, 4]} : f32[N, 16, 4]\n\
             %y = clip %f {min = 0.0, max = 2.0} : f32[N, 16, 4]\n\
             return %y",
            Some(&["conv2d", "clip", "reshape"]),
        ),
        (
            "sigmoid_before_flatten",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 64])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = flatten %c : f32[N, 64]\n\
             %y = sigmoid %f : f32[N, 64]\n\
             return %y",
            Some(&["conv2d", "sigmoid", "flatten"]),
        ),
        (
            "sigmoid_before_reshape",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 16, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = reshape %c {shape = [0, 16, 4]} : f32[N, 16, 4]\n\
             %y = sigmoid %f : f32[N, 16, 4]\n\
             return %y",
            Some(&["conv2d", "sigmoid", "reshape"]),
        ),
        (
            "tanh_before_flatten",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 64])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = flatten %c : f32[N, 64]\n\
             %y = tanh %f : f32[N, 64]\n\
             return %y",
            Some(&["conv2d", "tanh", "flatten"]),
        ),
        (
            "tanh_before_reshape",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 16, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = reshape %c {shape = [0, 16, 4]} : f32[N, 16, 4]\n\
             %y = tanh %f : f32[N, 16, 4]\n\
             return %y",
            Some(&["conv2d", "tanh", "reshape"]),
        ),
        (
            "leaky_relu_before_flatten",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 64])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = flatten %c : f32[N, 64]\n\
             %y = leaky_relu %f {alpha = 0.5} : f32[N, 64]\n\
             return %y",
            Some(&["conv2d", "leaky_relu", "flatten"]),
        ),
        (
            "leaky_relu_before_reshape",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 16, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %f = reshape %c {shape = [0, 16, 4]} : f32[N, 16, 4]\n\
             %y = leaky_relu %f {alpha = 0.5} : f32[N, 16, 4]\n\
             return %y",
            Some(&["conv2d", "leaky_relu", "reshape"]),
        ),
    ];
    check(&["movement"], &["cleanup", "constants", "linear", "fuse", "fuse_more"], cases);
}

#[test]
fn entry() {
    let cases: &[Case] = &[
        (
            "cast_before_transpose",
            "(%x: i32[N, 6, 6, 3]) -> (%y: f32[N, 3, 6, 6])",
            "%t = transpose %x {perm = [0, 3, 1, 2]} : i32[N, 3, 6, 6]\n\
             %y = cast %t {to = f32} : f32[N, 3, 6, 6]\n\
             return %y",
            Some(&["cast", "transpose"]),
        ),
        (
            "cast_before_transpose",
            "(%x: f32[N, 6, 6, 3]) -> (%y: f32[N, 3, 6, 6])",
            "%r = relu %x : f32[N, 6, 6, 3]\n\
             %t = transpose %r {perm = [0, 3, 1, 2]} : f32[N, 3, 6, 6]\n\
             %k = cast %t {to = f64} : f64[N, 3, 6, 6]\n\
             %y = cast %k {to = f32} : f32[N, 3, 6, 6]\n\
             return %y",
            None,
        ),
    ];
    check(&["entry"], &[], cases);
}

/// An offset of a value between two products becomes the bias of the first, as both cost the same.
#[test]
fn an_offset_goes_into_the_product_before_it() {
    let net = graph(
        "(%x: f32[N, 4]) -> (%y: f32[N, 5])",
        "%w1 = const @w1 : f32[4, 6]\n\
         %c = const @c : f32[6]\n\
         %w2 = const @w2 : f32[5, 6]\n\
         %b2 = const @b2 : f32[5]\n\
         %m = matmul %x, %w1 : f32[N, 6]\n\
         %a = add %m, %c : f32[N, 6]\n\
         %y = dense %a, %w2, %b2 : f32[N, 5]\n\
         return %y",
    );
    let mut files = sets(&["constants", "linear"]);
    files.retain(|set| &*set.name != "reduce_constants");
    let (after, _) = run(&net, &files, &Options { toward: &sets(&["fuse"]), ..Options::default() });
    assert_eq!(ops(&after), ["dense", "dense"]);
    let first = after.node(after.find("a").expect("keeps its name").node);
    assert_eq!(&*first.name, "m");
    assert!(first.operand(2).is_some(), "{}", print(&after));
}

/// A convolution whose value is an output, or has two readers, is the end of its chain with `once`;
/// otherwise it is computed twice, as then one operator less is no layer.
#[test]
fn nothing_is_computed_twice_if_so_wished() {
    let body = "%w = const @w : f32[4, 3, 3, 3]\n\
         %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
         %r = relu %c : f32[N, 4, 4, 4]\n";
    let output = graph(
        "(%x: f32[N, 3, 6, 6]) -> (%c: f32[N, 4, 4, 4], %r: f32[N, 4, 4, 4])",
        &format!("{body}return %c, %r"),
    );
    let readers = graph(
        "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
        &format!("{body}%y = add %c, %r : f32[N, 4, 4, 4]\nreturn %y"),
    );
    let alone = graph("(%x: f32[N, 3, 6, 6]) -> (%r: f32[N, 4, 4, 4])", &format!("{body}return %r"));
    let layer = "QuantizedConv2D";
    for driver in [Driver::Saturate, Driver::Greedy] {
        let ops_of = |net: &Graph, once: bool| {
            let options = Options { driver: Some(driver), once, ..Options::default() };
            let after = run(net, &sets(&["fuse"]), &options).0;
            assert!(difference(net, &after) < 1e-5);
            ops(&after)
        };
        assert_eq!(ops_of(&output, true), [layer, "relu"], "{driver:?}");
        assert_eq!(ops_of(&readers, true), [layer, "relu", "QuantizedAdd"], "{driver:?}");
        assert_eq!(ops_of(&alone, true), [layer], "{driver:?}");
        assert_eq!(ops_of(&output, false), [layer, layer], "{driver:?}");
        assert_eq!(ops_of(&readers, false), [layer, layer, "QuantizedAdd"], "{driver:?}");
    }
}
