//! The rules of `passes/constants.qrules`.

use super::cases::{Case, check_some};

#[test]
fn fold_constants() {
    let cases: &[Case] = &[
        (
            "mul_behind_add",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %s = const @s_pos : f32[3, 1, 1]\n\
             %o = const @o : f32[3, 1, 1]\n\
             %m = mul %x, %s : f32[N, 3, 6, 6]\n\
             %a = add %m, %o : f32[N, 3, 6, 6]\n\
             %y = conv2d %a, %w {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "add_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %y = add %d, %c : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "add_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %b = const @b : f32[4]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv2d %x, %w, %b : f32[N, 4, 4, 4]\n\
             %y = add %d, %c : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "add_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[4]\n\
             %d = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %y = add %d, %c : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "add_into_conv2d",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[2, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[2, 1, 1, 1]\n\
             %d = conv2d %x, %w : f32[1, 4, 4, 4]\n\
             %y = add %d, %c : f32[2, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "mul_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[]\n\
             %d = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %y = mul %d, %c : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "mul_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[4, 4]\n\
             %d = conv2d %x, %w : f32[N, 4, 4, 4]\n\
             %y = mul %d, %c : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "mul_into_conv2d_with_bias",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %b = const @b : f32[4]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv2d %x, %w, %b : f32[N, 4, 4, 4]\n\
             %y = mul %d, %c : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "add_into_dense",
            "(%x: f32[N, 7]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 7]\n\
             %c = const @c : f32[4]\n\
             %d = dense %x, %w : f32[N, 4]\n\
             %y = add %d, %c : f32[N, 4]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "mul_into_dense",
            "(%x: f32[N, 7]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 7]\n\
             %c = const @c : f32[1, 4]\n\
             %d = dense %x, %w : f32[N, 4]\n\
             %y = mul %d, %c : f32[N, 4]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "mul_into_dense_with_bias",
            "(%x: f32[N, 7]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 7]\n\
             %b = const @b : f32[4]\n\
             %c = const @c : f32[1, 4]\n\
             %d = dense %x, %w, %b : f32[N, 4]\n\
             %y = mul %d, %c : f32[N, 4]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "add_into_conv_transpose2d",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 4, 9, 9])",
            "%w = const @w : f32[3, 4, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv_transpose2d %x, %w {strides = [2, 2]} : f32[N, 4, 9, 9]\n\
             %y = add %d, %c : f32[N, 4, 9, 9]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "add_into_conv_transpose2d",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 4, 9, 9])",
            "%w = const @w : f32[3, 4, 3, 3]\n\
             %c = const @c : f32[9, 1]\n\
             %d = conv_transpose2d %x, %w {strides = [2, 2]} : f32[N, 4, 9, 9]\n\
             %y = add %d, %c : f32[N, 4, 9, 9]\n\
             return %y",
            None,
        ),
        (
            "mul_into_conv_transpose2d",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[3, 4, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv_transpose2d %x, %w : f32[N, 4, 6, 6]\n\
             %y = mul %d, %c : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "mul_into_conv_transpose2d",
            "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 1, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv_transpose2d %x, %w {group = 4} : f32[N, 4, 6, 6]\n\
             %y = mul %d, %c : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_into_conv_transpose2d_with_bias",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[3, 4, 3, 3]\n\
             %b = const @b : f32[4]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv_transpose2d %x, %w, %b : f32[N, 4, 6, 6]\n\
             %y = mul %d, %c : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "mul_into_depthwise_transpose",
            "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 1, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv_transpose2d %x, %w {group = 4} : f32[N, 4, 6, 6]\n\
             %y = mul %d, %c : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "mul_into_depthwise_transpose",
            "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 2, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv_transpose2d %x, %w {group = 2} : f32[N, 4, 6, 6]\n\
             %y = mul %d, %c : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_into_depthwise_transpose_with_bias",
            "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 1, 3, 3]\n\
             %b = const @b : f32[4]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %d = conv_transpose2d %x, %w, %b {group = 4} : f32[N, 4, 6, 6]\n\
             %y = mul %d, %c : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "conv_transpose2d_takes_mul",
            "(%x: f32[N, 4, 4, 4]) -> (%y: f32[N, 6, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %m = mul %x, %c : f32[N, 4, 4, 4]\n\
             %y = conv_transpose2d %m, %w {group = 2} : f32[N, 6, 6, 6]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "conv_transpose2d_takes_mul",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[3, 4, 3, 3]\n\
             %c = const @c : f32[4, 4]\n\
             %m = mul %x, %c : f32[N, 3, 4, 4]\n\
             %y = conv_transpose2d %m, %w : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "conv2d_takes_mul",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[3, 1, 1]\n\
             %m = mul %x, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %m, %w {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "conv2d_takes_mul",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[6, 6]\n\
             %m = mul %x, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %m, %w : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "depthwise_takes_mul",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 1, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %m = mul %x, %c : f32[N, 4, 6, 6]\n\
             %y = conv2d %m, %w {group = 4} : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "depthwise_takes_mul",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 2, 3, 3]\n\
             %c = const @c : f32[4, 1, 1]\n\
             %m = mul %x, %c : f32[N, 4, 6, 6]\n\
             %y = conv2d %m, %w {group = 2} : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "dense_takes_mul",
            "(%x: f32[N, 7]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 7]\n\
             %c = const @c : f32[7]\n\
             %m = mul %x, %c : f32[N, 7]\n\
             %y = dense %m, %w : f32[N, 4]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "conv2d_takes_add",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %b = const @b : f32[4]\n\
             %c = const @c : f32[3, 1, 1]\n\
             %m = add %x, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %m, %w, %b : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "conv2d_takes_add",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[3, 1, 1]\n\
             %m = add %x, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %m, %w : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "conv2d_takes_add",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[3, 1, 1]\n\
             %m = add %x, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %m, %w {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "dense_takes_add",
            "(%x: f32[N, 7]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 7]\n\
             %c = const @c : f32[7]\n\
             %m = add %x, %c : f32[N, 7]\n\
             %y = dense %m, %w : f32[N, 4]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "entry_conv2d_takes_add",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[3, 1, 1]\n\
             %m = add %x, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %m, %w {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["channel_pad", "conv2d"]),
        ),
        (
            "entry_conv2d_takes_add",
            "(%x: f32[N, 6, 6, 3]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[]\n\
             %t = transpose %x {perm = [0, 3, 1, 2]} : f32[N, 3, 6, 6]\n\
             %m = add %t, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %m, %w {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["transpose", "channel_pad", "conv2d"]),
        ),
        (
            "entry_conv2d_takes_add",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = const @c : f32[3, 1, 1]\n\
             %r = relu %x : f32[N, 3, 6, 6]\n\
             %m = add %r, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %m, %w {pads = [1, 1, 1, 1]} : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "depthwise_takes_add",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 4, 4])",
            "%w = const @w : f32[3, 1, 3, 3]\n\
             %c = const @c : f32[3, 1, 1]\n\
             %a = add %x, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %a, %w {group = 3} : f32[N, 3, 4, 4]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "depthwise_takes_add",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 1, 3, 3]\n\
             %c = const @c : f32[3, 1, 1]\n\
             %a = add %x, %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %a, %w {group = 3, pads = [1, 1, 1, 1]} : f32[N, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "pad_of_entry_to_channel_pad",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %p = pad %x {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.5} : f32[N, 3, 8, 8]\n\
             %y = conv2d %p, %w : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["channel_pad", "conv2d"]),
        ),
        (
            "pad_of_entry_to_channel_pad",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %r = relu %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.5} : f32[N, 3, 8, 8]\n\
             %y = conv2d %p, %w : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "add_into_buffer_temp_conv",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 12, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %c = buffer_temp_conv %x, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             %y = add %c, %s : f32[5, 4, 2, 2]\n\
             return %y",
            Some(&["buffer_temp_conv"]),
        ),
        (
            "add_into_buffer_temp_conv",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 12, 1, 1]\n\
             %s = const @s : f32[4, 2, 1]\n\
             %c = buffer_temp_conv %x, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             %y = add %c, %s : f32[5, 4, 2, 2]\n\
             return %y",
            None,
        ),
        (
            "mul_into_buffer_temp_conv",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 12, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %c = buffer_temp_conv %x, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             %y = mul %c, %s : f32[5, 4, 2, 2]\n\
             return %y",
            Some(&["buffer_temp_conv"]),
        ),
        (
            "mul_into_buffer_temp_conv",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 12, 1, 1]\n\
             %s = const @s : f32[4, 2, 1]\n\
             %c = buffer_temp_conv %x, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             %y = mul %c, %s : f32[5, 4, 2, 2]\n\
             return %y",
            None,
        ),
        (
            "buffer_temp_conv_takes_mul",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 12, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %c = mul %x, %s : f32[5, 4, 2, 2]\n\
             %y = buffer_temp_conv %c, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             return %y",
            Some(&["buffer_temp_conv"]),
        ),
        (
            "buffer_temp_conv_takes_mul",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 12, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %c = add %x, %s : f32[5, 4, 2, 2]\n\
             %y = buffer_temp_conv %c, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             return %y",
            None,
        ),
        (
            "add_into_depthwise_buffer_temp_conv",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 3, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %c = depthwise_buffer_temp_conv %x, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             %y = add %c, %s : f32[5, 4, 2, 2]\n\
             return %y",
            Some(&["depthwise_buffer_temp_conv"]),
        ),
        (
            "add_into_depthwise_buffer_temp_conv",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 3, 1, 1]\n\
             %s = const @s : f32[4, 2, 1]\n\
             %c = depthwise_buffer_temp_conv %x, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             %y = add %c, %s : f32[5, 4, 2, 2]\n\
             return %y",
            None,
        ),
        (
            "mul_into_depthwise_buffer_temp_conv",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 3, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %c = depthwise_buffer_temp_conv %x, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             %y = mul %c, %s : f32[5, 4, 2, 2]\n\
             return %y",
            Some(&["depthwise_buffer_temp_conv"]),
        ),
        (
            "mul_into_depthwise_buffer_temp_conv",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 3, 1, 1]\n\
             %s = const @s : f32[4, 2, 1]\n\
             %c = depthwise_buffer_temp_conv %x, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             %y = mul %c, %s : f32[5, 4, 2, 2]\n\
             return %y",
            None,
        ),
        (
            "depthwise_buffer_temp_conv_takes_mul",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 3, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %c = mul %x, %s : f32[5, 4, 2, 2]\n\
             %y = depthwise_buffer_temp_conv %c, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             return %y",
            Some(&["depthwise_buffer_temp_conv"]),
        ),
        (
            "depthwise_buffer_temp_conv_takes_mul",
            "(%x: f32[5, 4, 2, 2]) -> (%y: f32[5, 4, 2, 2])",
            "%w = const @w : f32[4, 3, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %c = add %x, %s : f32[5, 4, 2, 2]\n\
             %y = depthwise_buffer_temp_conv %c, %w {fifo_name = \"f\"} : f32[5, 4, 2, 2]\n\
             return %y",
            None,
        ),
    ];
    check_some(&["constants"], &["fuse"], cases);
}

#[test]
fn reduce_constants() {
    let cases: &[Case] = &[
        (
            "sub_to_add",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%c = const @c : f32[4]\n\
             %y = sub %x, %c : f32[N, 4]\n\
             return %y",
            Some(&["add"]),
        ),
        (
            "sub_to_add",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%c = const @c : f32[4]\n\
             %y = sub %c, %x : f32[N, 4]\n\
             return %y",
            None,
        ),
        (
            "div_to_mul",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%c = const @c_pos : f32[4]\n\
             %y = div %x, %c : f32[N, 4]\n\
             return %y",
            Some(&["mul"]),
        ),
        (
            "constant_behind_add",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%c = const @c : f32[4]\n\
             %y = add %c, %x : f32[N, 4]\n\
             return %y",
            Some(&["add"]),
        ),
        (
            "constant_behind_mul",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%c = const @c : f32[4]\n\
             %y = mul %c, %x : f32[N, 4]\n\
             return %y",
            Some(&["mul"]),
        ),
        (
            "constant_behind_mul",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%c = const @c : f32[4]\n\
             %y = mul %x, %c : f32[N, 4]\n\
             return %y",
            None,
        ),
        (
            "add_into_add",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%c = const @c : f32[4]\n\
             %d = const @d : f32[1]\n\
             %a = add %x, %c : f32[N, 4]\n\
             %y = add %a, %d : f32[N, 4]\n\
             return %y",
            Some(&["add"]),
        ),
        (
            "add_into_add",
            "(%x: f32[N, 4], %d: f32[4]) -> (%y: f32[N, 4])",
            "%c = const @c : f32[4]\n\
             %a = add %x, %c : f32[N, 4]\n\
             %y = add %a, %d : f32[N, 4]\n\
             return %y",
            None,
        ),
        (
            "mul_into_mul",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4])",
            "%c = const @c : f32[4]\n\
             %d = const @d : f32[1]\n\
             %a = mul %x, %c : f32[N, 4]\n\
             %y = mul %a, %d : f32[N, 4]\n\
             return %y",
            Some(&["mul"]),
        ),
    ];
    check_some(&["order", "constants"], &[], cases);
}
