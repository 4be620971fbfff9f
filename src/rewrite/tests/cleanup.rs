//! The rules of `passes/cleanup.qrules`.

use super::cases::{Case, X, check};

#[test]
fn cleanup() {
    let cases: &[Case] = &[
        (
            "drop_identity",
            X,
            "%y = identity %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_dropout",
            X,
            "%a = relu %x : f32[1, 3, 6, 6]\n\
             %y = dropout %a {ratio = 0.25} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["relu"]),
        ),
        (
            "drop_transpose",
            X,
            "%y = transpose %x {perm = [0, 1, 2, 3]} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_transpose",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 6, 3, 6])",
            "%y = transpose %x {perm = [0, 2, 1, 3]} : f32[1, 6, 3, 6]\n\
             return %y",
            None,
        ),
        (
            "drop_reshape",
            X,
            "%y = reshape %x {shape = [1, 3, 6, -1]} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_reshape",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 108])",
            "%y = reshape %x {shape = [0, -1]} : f32[N, 108]\n\
             return %y",
            None,
        ),
        (
            "drop_flatten",
            "(%x: f32[N, 7]) -> (%y: f32[N, 7])",
            "%y = flatten %x : f32[N, 7]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_flatten",
            "(%x: f32[N, 7, 1]) -> (%y: f32[N, 7])",
            "%y = flatten %x : f32[N, 7]\n\
             return %y",
            None,
        ),
        (
            "drop_squeeze",
            X,
            "%y = squeeze %x {axes = []} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_squeeze",
            "(%x: f32[1, 3]) -> (%y: f32[3])",
            "%y = squeeze %x {axes = [0]} : f32[3]\n\
             return %y",
            None,
        ),
        (
            "drop_unsqueeze",
            X,
            "%y = unsqueeze %x {axes = []} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_unsqueeze",
            "(%x: f32[3]) -> (%y: f32[1, 3])",
            "%y = unsqueeze %x {axes = [0]} : f32[1, 3]\n\
             return %y",
            None,
        ),
        (
            "drop_cast",
            X,
            "%y = cast %x {to = f32} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_cast",
            "(%x: i32[3]) -> (%y: f32[3])",
            "%y = cast %x {to = f32} : f32[3]\n\
             return %y",
            None,
        ),
        (
            "drop_pad",
            X,
            "%y = pad %x {pads = [0, 0, 0, 0, 0, 0, 0, 0], value = 2} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_pad",
            "(%x: f32[3]) -> (%y: f32[4])",
            "%y = pad %x {pads = [0, 1]} : f32[4]\n\
             return %y",
            None,
        ),
        (
            "drop_channel_pad",
            X,
            "%v = const @v : f32[3]\n\
             %y = channel_pad %x, %v : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_channel_pad",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 7, 6])",
            "%v = const @v : f32[3]\n\
             %y = channel_pad %x, %v {pads = [1, 0, 0, 0]} : f32[1, 3, 7, 6]\n\
             return %y",
            None,
        ),
        (
            "drop_clip",
            X,
            "%y = clip %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&[]),
        ),
        (
            "drop_clip",
            X,
            "%y = clip %x {max = 6} : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "transpose_into_transpose",
            "(%x: f32[2, 3, 4]) -> (%y: f32[3, 4, 2])",
            "%a = transpose %x {perm = [2, 0, 1]} : f32[4, 2, 3]\n\
             %y = transpose %a {perm = [2, 0, 1]} : f32[3, 4, 2]\n\
             return %y",
            Some(&["transpose"]),
        ),
        (
            "transpose_into_transpose",
            "(%x: f32[2, 3, 4]) -> (%y: f32[3, 4, 2])",
            "%a = transpose %x {perm = [2, 0, 1]} : f32[4, 2, 3]\n\
             %b = relu %a : f32[4, 2, 3]\n\
             %y = transpose %b {perm = [2, 0, 1]} : f32[3, 4, 2]\n\
             return %y",
            None,
        ),
        (
            "reshape_into_reshape",
            "(%x: f32[N, 4, 6]) -> (%y: f32[N, 3, 8])",
            "%a = reshape %x {shape = [0, 24]} : f32[N, 24]\n\
             %y = reshape %a {shape = [0, 3, 8]} : f32[N, 3, 8]\n\
             return %y",
            Some(&["reshape"]),
        ),
        (
            "reshape_into_reshape",
            "(%x: f32[N, 4, M]) -> (%y: f32[N, 2, 2, M])",
            "%a = reshape %x {shape = [0, 4, 1, -1]} : f32[N, 4, 1, M]\n\
             %y = reshape %a {shape = [0, 2, 2, -1]} : f32[N, 2, 2, M]\n\
             return %y",
            None,
        ),
        (
            "flatten_into_reshape",
            "(%x: f32[N, 4, 6]) -> (%y: f32[N, 3, 8])",
            "%a = flatten %x : f32[N, 24]\n\
             %y = reshape %a {shape = [0, 3, 8]} : f32[N, 3, 8]\n\
             return %y",
            Some(&["reshape"]),
        ),
        (
            "reshape_into_flatten",
            "(%x: f32[N, 4, 6]) -> (%y: f32[N, 24])",
            "%a = reshape %x {shape = [0, 3, 8]} : f32[N, 3, 8]\n\
             %y = flatten %a : f32[N, 24]\n\
             return %y",
            Some(&["reshape"]),
        ),
        (
            "flatten_into_flatten",
            "(%x: f32[3, 4, 6]) -> (%y: f32[1, 72])",
            "%a = flatten %x : f32[3, 24]\n\
             %y = flatten %a {axis = 0} : f32[1, 72]\n\
             return %y",
            Some(&["reshape"]),
        ),
        (
            "squeeze_to_reshape",
            "(%x: f32[N, 4, 1]) -> (%y: f32[N, 4])",
            "%y = squeeze %x {axes = [2]} : f32[N, 4]\n\
             return %y",
            Some(&["reshape"]),
        ),
        (
            "squeeze_to_reshape",
            "(%x: f32[N, 1, M]) -> (%y: f32[N, M])",
            "%y = squeeze %x {axes = [1]} : f32[N, M]\n\
             return %y",
            None,
        ),
        (
            "unsqueeze_to_reshape",
            "(%x: f32[N, 4]) -> (%y: f32[N, 4, 1])",
            "%y = unsqueeze %x {axes = [2]} : f32[N, 4, 1]\n\
             return %y",
            Some(&["reshape"]),
        ),
        (
            "reshape_to_flatten",
            "(%x: f32[N, 4, 6]) -> (%y: f32[N, 24])",
            "%y = reshape %x {shape = [0, 24]} : f32[N, 24]\n\
             return %y",
            Some(&["flatten"]),
        ),
        (
            "reshape_to_flatten",
            "(%x: f32[2, 4, 6]) -> (%y: f32[4, 12])",
            "%y = reshape %x {shape = [4, 12]} : f32[4, 12]\n\
             return %y",
            None,
        ),
        (
            "relu_behind_max_pool2d",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 3, 3])",
            "%a = relu %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "relu"]),
        ),
        (
            "relu_behind_max_pool2d",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 1, 1])",
            "%a = relu %x : f32[1, 3, 6, 6]\n\
             %y = global_avg_pool2d %a : f32[1, 3, 1, 1]\n\
             return %y",
            None,
        ),
        (
            "clip_behind_max_pool2d",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 4, 4])",
            "%a = clip %x {max = 1, min = -1} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], pads = [1, 1, 1, 1], strides = [2, 2]} : f32[1, 3, 4, 4]\n\
             return %y",
            Some(&["max_pool2d", "clip"]),
        ),
        (
            "clip_to_relu",
            X,
            "%y = clip %x {min = 0} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["relu"]),
        ),
        (
            "clip_to_relu",
            X,
            "%y = clip %x {max = 6, min = 0} : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "relu_into_relu",
            X,
            "%a = relu %x : f32[1, 3, 6, 6]\n\
             %y = relu %a : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["relu"]),
        ),
        (
            "clip_into_relu",
            X,
            "%a = clip %x {max = 2, min = -2} : f32[1, 3, 6, 6]\n\
             %y = relu %a : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "clip_into_relu",
            X,
            "%a = clip %x {max = -1, min = -2} : f32[1, 3, 6, 6]\n\
             %y = relu %a : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "relu_into_clip",
            X,
            "%a = relu %x : f32[1, 3, 6, 6]\n\
             %y = clip %a {max = 2, min = 1} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "relu_into_clip",
            X,
            "%a = relu %x : f32[1, 3, 6, 6]\n\
             %y = clip %a {max = -1, min = -2} : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "clip_into_clip",
            X,
            "%a = clip %x {max = 2, min = -2} : f32[1, 3, 6, 6]\n\
             %y = clip %a {max = 3, min = -1} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "clip_into_clip",
            X,
            "%a = clip %x {max = 2, min = 1} : f32[1, 3, 6, 6]\n\
             %y = clip %a {max = -1, min = -3} : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "min_to_clip",
            X,
            "%six = const @six : f32[]\n\
             %y = min %x, %six : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "min_to_clip",
            X,
            "%six = const @six : f32[1, 3, 1, 1]\n\
             %y = min %x, %six : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "min_to_clip_left",
            X,
            "%six = const @six : f32[1]\n\
             %y = min %six, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "min_to_clip_left",
            "(%x: f32[]) -> (%y: f32[1])",
            "%six = const @six : f32[1]\n\
             %y = min %six, %x : f32[1]\n\
             return %y",
            None,
        ),
        (
            "max_to_clip",
            X,
            "%six = const @six : f32[]\n\
             %y = max %x, %six : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "max_to_clip",
            X,
            "%six = const @six : f32[1, 3, 1, 1]\n\
             %y = max %x, %six : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "max_to_clip_left",
            X,
            "%six = const @six : f32[1]\n\
             %y = max %six, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["clip"]),
        ),
        (
            "max_to_clip_left",
            "(%x: f32[]) -> (%y: f32[1])",
            "%six = const @six : f32[1]\n\
             %y = max %six, %x : f32[1]\n\
             return %y",
            None,
        ),
        (
            "trim_conv2d_pads",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 3, 3])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %y = conv2d %x, %w {pads = [1, 1, 1, 1], strides = [2, 2]} : f32[N, 4, 3, 3]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "trim_conv2d_pads",
            "(%x: f32[N, 3, 7, 7]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %y = conv2d %x, %w {pads = [1, 1, 1, 1], strides = [2, 2]} : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "trim_conv2d_pads",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 2, 2])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %y = conv2d %x, %w {dilations = [2, 2], pads = [1, 1, 1, 1], strides = [2, 2]} : f32[N, 4, 2, 2]\n\
             return %y",
            None,
        ),
        (
            "trim_max_pool2d_pads",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%y = max_pool2d %x {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d"]),
        ),
        (
            "trim_max_pool2d_pads",
            "(%x: f32[N, 3, 7, 7]) -> (%y: f32[N, 3, 4, 4])",
            "%y = max_pool2d %x {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]} : f32[N, 3, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "stride_of_whole_max_pool2d",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 3, 1, 1])",
            "%y = max_pool2d %x {kernel_shape = [4, 4]} : f32[N, 3, 1, 1]\n\
             return %y",
            Some(&["max_pool2d"]),
        ),
        (
            "stride_of_whole_max_pool2d",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 3, 2, 1])",
            "%y = max_pool2d %x {kernel_shape = [3, 4]} : f32[N, 3, 2, 1]\n\
             return %y",
            None,
        ),
    ];
    check(&["cleanup"], &[], cases);
}
