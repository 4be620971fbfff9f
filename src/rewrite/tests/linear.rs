//! The rules of `passes/linear.qrules`.

use super::cases::{Case, check};

#[test]
fn linear() {
    let cases: &[Case] = &[
        (
            "matmul_to_dense",
            "(%x: f32[N, 3]) -> (%y: f32[N, 5])",
            "%w = const @w : f32[3, 5]\n\
             %y = matmul %x, %w : f32[N, 5]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "matmul_to_dense",
            "(%x: f32[N, 3], %w: f32[3, 5]) -> (%y: f32[N, 5])",
            "%y = matmul %x, %w : f32[N, 5]\n\
             return %y",
            None,
        ),
        (
            "matmul_to_dense",
            "(%x: f32[N, 2, 3]) -> (%y: f32[N, 2, 5])",
            "%w = const @w : f32[3, 5]\n\
             %y = matmul %x, %w : f32[N, 2, 5]\n\
             return %y",
            None,
        ),
        (
            "pad_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 8, 7])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %p = pad %x {pads = [0, 0, 1, 2, 0, 0, 2, 0]} : f32[N, 3, 9, 8]\n\
             %y = conv2d %p, %w {pads = [0, 0, 1, 1]} : f32[N, 4, 8, 7]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "pad_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 7, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %p = pad %x {pads = [0, 0, 1, 2, 0, 0, 2, 0], value = 1} : f32[N, 3, 9, 8]\n\
             %y = conv2d %p, %w : f32[N, 4, 7, 6]\n\
             return %y",
            None,
        ),
        (
            "pad_into_conv2d",
            "(%x: f32[N, 2, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %p = pad %x {pads = [0, 1, 0, 0, 0, 0, 0, 0]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %p, %w : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "upsample2d_to_conv_transpose2d",
            "(%x: f32[N, 3, 4, 5]) -> (%y: f32[N, 3, 8, 10])",
            "%y = upsample2d %x {factors = [2, 2]} : f32[N, 3, 8, 10]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "upsample2d_to_conv_transpose2d",
            "(%x: f32[N, 3, 4, 5]) -> (%y: f32[N, 3, 8, 15])",
            "%y = upsample2d %x {factors = [2, 3]} : f32[N, 3, 8, 15]\n\
             return %y",
            None,
        ),
        (
            "conv2d_to_dense",
            "(%x: f32[N, 3, 3, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 1]\n\
             %y = flatten %c : f32[N, 4]\n\
             return %y",
            Some(&["flatten", "dense"]),
        ),
        (
            "conv2d_to_dense",
            "(%x: f32[N, 3, 4, 3]) -> (%y: f32[N, 8])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 2, 1]\n\
             %y = flatten %c : f32[N, 8]\n\
             return %y",
            None,
        ),
        (
            "conv2d_to_dense",
            "(%x: f32[N, 4, 3, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 2, 3, 3]\n\
             %c = conv2d %x, %w {group = 2} : f32[N, 4, 1, 1]\n\
             %y = flatten %c : f32[N, 4]\n\
             return %y",
            None,
        ),
        (
            "conv2d_relu_to_dense",
            "(%x: f32[N, 3, 3, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 1]\n\
             %r = relu %c : f32[N, 4, 1, 1]\n\
             %y = flatten %r : f32[N, 4]\n\
             return %y",
            Some(&["flatten", "dense", "relu"]),
        ),
        (
            "conv2d_relu_to_dense",
            "(%x: f32[N, 3, 3, 4]) -> (%y: f32[N, 8])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 2]\n\
             %r = relu %c : f32[N, 4, 1, 2]\n\
             %y = flatten %r : f32[N, 8]\n\
             return %y",
            None,
        ),
        (
            "conv2d_clip_to_dense",
            "(%x: f32[N, 3, 3, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 1]\n\
             %r = clip %c {min = 0.0, max = 2.0} : f32[N, 4, 1, 1]\n\
             %y = flatten %r : f32[N, 4]\n\
             return %y",
            Some(&["flatten", "dense", "clip"]),
        ),
        (
            "conv2d_clip_to_dense",
            "(%x: f32[N, 3, 3, 4]) -> (%y: f32[N, 8])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 2]\n\
             %r = clip %c {min = 0.0, max = 2.0} : f32[N, 4, 1, 2]\n\
             %y = flatten %r : f32[N, 8]\n\
             return %y",
            None,
        ),
        (
            "pad_to_pad_of_zeros",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%u = const @u : f32[3, 3, 1, 1]\n\
             %w = const @w : f32[4, 3, 3, 3]\n\
             %a = conv2d %x, %u : f32[N, 3, 6, 6]\n\
             %p = pad %a {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.5} : f32[N, 3, 8, 8]\n\
             %y = conv2d %p, %w : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d", "add", "pad", "add", "conv2d"]),
        ),
        (
            "pad_to_pad_of_zeros",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%u = const @u : f32[3, 3, 1, 1]\n\
             %w = const @w : f32[4, 3, 3, 3]\n\
             %a = conv2d %x, %u : f32[N, 3, 6, 6]\n\
             %p = pad %a {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = inf} : f32[N, 3, 8, 8]\n\
             %y = conv2d %p, %w : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "pad_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = neg %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = -inf} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            Some(&["neg", "max_pool2d"]),
        ),
        (
            "pad_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = neg %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "pad_of_relu_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = relu %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            Some(&["relu", "max_pool2d"]),
        ),
        (
            "pad_of_relu_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 4, 4])",
            "%r = relu %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [1, 1], strides = [2, 2]} : f32[N, 3, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "pad_of_clip_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = clip %x {min = 0.0, max = 2.0} : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            Some(&["clip", "max_pool2d"]),
        ),
        (
            "pad_of_clip_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = clip %x {min = -1.0, max = 2.0} : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            None,
        ),
    ];
    check(&["linear"], &["linear", "constants", "fuse"], cases);
}
