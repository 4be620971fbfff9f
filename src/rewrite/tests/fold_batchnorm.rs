//! The rules of `passes/fold_batchnorm.qrules`.

use super::cases::{Case, check_some};

#[test]
fn fold_batchnorm() {
    let cases: &[Case] = &[
        (
            "batch_norm_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %b = const @b : f32[4]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = conv2d %x, %w, %b {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             %y = batch_norm %c, %g, %be, %m, %v {epsilon = 0.001} : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "batch_norm_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "batch_norm_into_conv2d",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 1, 3, 3]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = conv2d %x, %w {group = 4} : f32[N, 4, 4, 4]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "batch_norm_into_conv2d",
            "(%x: f32[N, 3, 6, 6], %w: f32[4, 3, 3, 3]) -> (%y: f32[N, 4, 4, 4])",
            "%g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "batch_norm_into_buffer_temp_conv",
            "(%x: f32[N, 2, 3, 3]) -> (%y: f32[N, 4, 3, 3])",
            "%w = const @w : f32[4, 6, 1, 1]\n\
             %b = const @b : f32[4]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = buffer_temp_conv %x, %w, %b {fifo_name = \"x_fifo\"} : f32[N, 4, 3, 3]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 3, 3]\n\
             return %y",
            Some(&["buffer_temp_conv"]),
        ),
        (
            "batch_norm_into_buffer_temp_conv",
            "(%x: f32[N, 2, 3, 3]) -> (%y: f32[N, 4, 3, 3])",
            "%w = const @w : f32[4, 6, 1, 1]\n\
             %b = const @b : f32[4]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = buffer_temp_conv %x, %w, %b {fifo_name = \"x_fifo\"} : f32[N, 4, 3, 3]\n\
             %r = relu %c : f32[N, 4, 3, 3]\n\
             %y = batch_norm %r, %g, %be, %m, %v : f32[N, 4, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "batch_norm_into_depthwise_buffer_temp_conv",
            "(%x: f32[N, 2, 3, 3]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 3, 1, 1]\n\
             %b = const @b : f32[2]\n\
             %g = const @g : f32[2]\n\
             %be = const @be : f32[2]\n\
             %m = const @m : f32[2]\n\
             %v = const @v_pos : f32[2]\n\
             %c = depthwise_buffer_temp_conv %x, %w, %b {fifo_name = \"x_fifo\"} : f32[N, 2, 3, 3]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 2, 3, 3]\n\
             return %y",
            Some(&["depthwise_buffer_temp_conv"]),
        ),
        (
            "batch_norm_into_depthwise_buffer_temp_conv",
            "(%x: f32[N, 2, 3, 3]) -> (%y: f32[N, 2, 3, 3])",
            "%w = const @w : f32[2, 3, 1, 1]\n\
             %b = const @b : f32[2]\n\
             %g = const @g : f32[2]\n\
             %be = const @be : f32[2]\n\
             %m = const @m : f32[2]\n\
             %v = const @v_pos : f32[2]\n\
             %c = depthwise_buffer_temp_conv %x, %w, %b {fifo_name = \"x_fifo\"} : f32[N, 2, 3, 3]\n\
             %r = relu %c : f32[N, 2, 3, 3]\n\
             %y = batch_norm %r, %g, %be, %m, %v : f32[N, 2, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "batch_norm_into_dense",
            "(%x: f32[N, 7]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 7]\n\
             %b = const @b : f32[4]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = dense %x, %w, %b : f32[N, 4]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "batch_norm_into_separable_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%d = const @d : f32[3, 1, 3, 3]\n\
             %p = const @p : f32[4, 3, 1, 1]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = SeparableConv2D %x, %d, %p : f32[N, 4, 4, 4]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["SeparableConv2D"]),
        ),
        (
            "batch_norm_into_conv_transpose2d",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 4, 8, 8])",
            "%w = const @w : f32[3, 4, 3, 3]\n\
             %b = const @b : f32[4]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = conv_transpose2d %x, %w, %b {pads = [0, 0, 1, 1], strides = [2, 2]} : f32[N, 4, 8, 8]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 8, 8]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "batch_norm_into_conv_transpose2d",
            "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 2, 3, 3]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = conv_transpose2d %x, %w {group = 2} : f32[N, 4, 6, 6]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "batch_norm_into_depthwise_transpose",
            "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 1, 3, 3]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = conv_transpose2d %x, %w {group = 4} : f32[N, 4, 6, 6]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "batch_norm_into_depthwise_transpose",
            "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 2, 3, 3]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = conv_transpose2d %x, %w {group = 2} : f32[N, 4, 6, 6]\n\
             %y = batch_norm %c, %g, %be, %m, %v : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "batch_norm_into_dense",
            "(%x: f32[N, 7]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 7]\n\
             %g = const @g : f32[4]\n\
             %be = const @be : f32[4]\n\
             %m = const @m : f32[4]\n\
             %v = const @v_pos : f32[4]\n\
             %c = dense %x, %w : f32[N, 4]\n\
             %r = relu %c : f32[N, 4]\n\
             %y = batch_norm %r, %g, %be, %m, %v : f32[N, 4]\n\
             return %y",
            None,
        ),
    ];
    check_some(&["fold_batchnorm"], &["fuse"], cases);
}
