//! The rules of `passes/kernels.qrules`.

use super::cases::{Case, check};

#[test]
fn kernels() {
    let cases: &[Case] = &[
        (
            "dilated_conv2d_to_conv2d",
            "(%x: f32[N, 3, 8, 8]) -> (%y: f32[N, 4, 4, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %y = conv2d %x, %w {dilations = [2, 1]} : f32[N, 4, 4, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "dilated_conv2d_to_conv2d",
            "(%x: f32[N, 3, 10, 10]) -> (%y: f32[N, 4, 2, 2])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %y = conv2d %x, %w {dilations = [4, 4]} : f32[N, 4, 2, 2]\n\
             return %y",
            None,
        ),
        (
            "separable_conv2d_to_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%d = const @d : f32[3, 1, 3, 3]\n\
             %p = const @p : f32[4, 3, 1, 1]\n\
             %y = SeparableConv2D %x, %d, %p : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d", "conv2d"]),
        ),
        (
            "groups_to_conv2d",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 6, 4, 4])",
            "%w = const @w : f32[6, 2, 3, 3]\n\
             %y = conv2d %x, %w {group = 2} : f32[N, 6, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "groups_to_conv2d",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 1, 3, 3]\n\
             %y = conv2d %x, %w {group = 4} : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "avg_pool2d_to_depthwise",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%y = avg_pool2d %x {kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = true} : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "avg_pool2d_to_depthwise",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%y = avg_pool2d %x {kernel_shape = [3, 3], pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "avg_pool2d_of_two_to_depthwise",
            "(%x: f32[N, 4, 6, 4]) -> (%y: f32[N, 4, 3, 2])",
            "%y = avg_pool2d %x {kernel_shape = [2, 2], strides = [2, 2]} : f32[N, 4, 3, 2]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "avg_pool2d_of_two_to_depthwise",
            "(%x: f32[N, 4, 7, 4]) -> (%y: f32[N, 4, 3, 2])",
            "%y = avg_pool2d %x {kernel_shape = [2, 2], strides = [2, 2]} : f32[N, 4, 3, 2]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "avg_pool2d_of_two_to_depthwise",
            "(%x: f32[N, 4, 6, 4]) -> (%y: f32[N, 4, 5, 3])",
            "%y = avg_pool2d %x {kernel_shape = [2, 2]} : f32[N, 4, 5, 3]\n\
             return %y",
            None,
        ),
    ];
    check(&["kernels"], &["fuse"], cases);
}

#[test]
fn odd_kernels() {
    let cases: &[Case] = &[
        (
            "even_to_odd",
            "(%x: f32[N, 2, 5, 6]) -> (%y: f32[N, 2, 5, 6])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 5, 6]\n\
             %y = conv2d %r, %w {strides = [1, 1], pads = [0, 0, 1, 1]} : f32[N, 2, 5, 6]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "even_to_odd",
            "(%x: f32[N, 2, 5, 6]) -> (%y: f32[N, 2, 5, 6])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 5, 6]\n\
             %y = conv2d %r, %w {strides = [1, 1], pads = [1, 0, 0, 1]} : f32[N, 2, 5, 6]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "even_to_odd",
            "(%x: f32[N, 2, 5, 6]) -> (%y: f32[N, 2, 5, 6])",
            "%w = const @w : f32[2, 2, 4, 4]\n\
             %r = relu %x : f32[N, 2, 5, 6]\n\
             %y = conv2d %r, %w {strides = [1, 1], pads = [1, 1, 2, 2]} : f32[N, 2, 5, 6]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "even_to_odd",
            "(%x: f32[N, 2, 6, 6]) -> (%y: f32[N, 2, 6, 6])",
            "%w = const @w : f32[2, 2, 6, 6]\n\
             %r = relu %x : f32[N, 2, 6, 6]\n\
             %y = conv2d %r, %w {strides = [1, 1], pads = [2, 2, 3, 3]} : f32[N, 2, 6, 6]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "even_to_odd",
            "(%x: f32[N, 2, 5, 6]) -> (%y: f32[N, 2, 5, 6])",
            "%w = const @w : f32[2, 2, 4, 4]\n\
             %y = conv2d %x, %w {strides = [1, 1], pads = [1, 1, 2, 2]} : f32[N, 2, 5, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "even_to_odd",
            "(%x: f32[N, 3, 5, 6]) -> (%y: f32[N, 2, 5, 6])",
            "%w = const @w : f32[2, 3, 4, 4]\n\
             %y = conv2d %x, %w {strides = [1, 1], pads = [1, 1, 2, 2]} : f32[N, 2, 5, 6]\n\
             return %y",
            None,
        ),
        (
            "even_to_odd",
            "(%x: f32[N, 2, 5, 6]) -> (%y: f32[N, 2, 4, 5])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 5, 6]\n\
             %y = conv2d %r, %w {strides = [1, 1], pads = [0, 0, 0, 0]} : f32[N, 2, 4, 5]\n\
             return %y",
            None,
        ),
        (
            "even_to_odd",
            "(%x: f32[N, 2, 5, 6]) -> (%y: f32[N, 2, 5, 6])",
            "%w = const @w : f32[2, 2, 3, 3]\n\
             %r = relu %x : f32[N, 2, 5, 6]\n\
             %y = conv2d %r, %w {strides = [1, 1], pads = [1, 1, 1, 1]} : f32[N, 2, 5, 6]\n\
             return %y",
            None,
        ),
        (
            "even_of_stride_2_to_odd",
            "(%x: f32[N, 2, 6, 6]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 6, 6]\n\
             %y = conv2d %r, %w {strides = [2, 2], pads = [0, 0, 0, 0]} : f32[N, 2, 3, 3]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "even_of_stride_2_to_odd",
            "(%x: f32[N, 2, 5, 6]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 5, 6]\n\
             %y = conv2d %r, %w {strides = [2, 2], pads = [0, 0, 1, 0]} : f32[N, 2, 3, 3]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "even_of_stride_2_to_odd",
            "(%x: f32[N, 2, 5, 6]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 5, 6]\n\
             %y = conv2d %r, %w {strides = [2, 2], pads = [1, 0, 0, 0]} : f32[N, 2, 3, 3]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "even_of_stride_2_to_odd",
            "(%x: f32[N, 2, 6, 5]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 6, 5]\n\
             %y = conv2d %r, %w {strides = [2, 2], pads = [0, 0, 0, 1]} : f32[N, 2, 3, 3]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "even_of_stride_2_to_odd",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 3, 6, 6]\n\
             %y = conv2d %x, %w {strides = [2, 2], pads = [2, 2, 2, 2]} : f32[N, 2, 3, 3]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "even_of_stride_2_to_odd",
            "(%x: f32[N, 1, 7, 7]) -> (%y: f32[N, 2, 4, 4])",
            "%w = const @w : f32[2, 1, 6, 6]\n\
             %y = conv2d %x, %w {strides = [2, 2], pads = [2, 2, 3, 3]} : f32[N, 2, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "even_of_stride_2_to_odd",
            "(%x: f32[N, 2, 6, 6]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 2, 6, 6]\n\
             %r = relu %x : f32[N, 2, 6, 6]\n\
             %y = conv2d %r, %w {strides = [2, 2], pads = [2, 2, 2, 2]} : f32[N, 2, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "even_of_stride_2_to_odd",
            "(%x: f32[N, 2, 6, 6]) -> (%y: f32[N, 2, 4, 4])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 6, 6]\n\
             %y = conv2d %r, %w {strides = [2, 2], pads = [1, 1, 1, 1]} : f32[N, 2, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "unpadded_even_of_stride_2_to_odd",
            "(%x: f32[N, 2, 5, 7]) -> (%y: f32[N, 2, 2, 3])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 5, 7]\n\
             %y = conv2d %r, %w {strides = [2, 2], pads = [0, 0, 0, 0]} : f32[N, 2, 2, 3]\n\
             return %y",
            Some(&["relu", "conv2d"]),
        ),
        (
            "unpadded_even_of_stride_2_to_odd",
            "(%x: f32[N, 2, 6, 6]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 2, 2, 2]\n\
             %r = relu %x : f32[N, 2, 6, 6]\n\
             %y = conv2d %r, %w {strides = [2, 2], pads = [0, 0, 0, 0]} : f32[N, 2, 3, 3]\n\
             return %y",
            None,
        ),
    ];
    check(&["odd_kernels"], &[], cases);
}
