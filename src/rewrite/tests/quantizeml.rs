//! The rules of `passes/layers.qrules` and `passes/norms.qrules`.

use super::cases::{Case, check};

#[test]
fn layers_of_quantizeml() {
    let cases: &[Case] = &[
        (
            "conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %b = const @b : f32[4]\n\
             %y = conv2d %x, %w, %b : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["Conv2D"]),
        ),
        (
            "conv2d",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 2, 3, 3]\n\
             %y = conv2d %x, %w {group = 2} : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "depthwise",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 1, 3, 3]\n\
             %y = conv2d %x, %w {group = 4} : f32[N, 4, 4, 4]\n\
             return %y",
            Some(&["DepthwiseConv2D"]),
        ),
        (
            "depthwise",
            "(%x: f32[N, 4, 6, 6]) -> (%y: f32[N, 8, 4, 4])",
            "%w = const @w : f32[8, 1, 3, 3]\n\
             %y = conv2d %x, %w {group = 4} : f32[N, 8, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "transposed",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 4, 6, 6])",
            "%w = const @w : f32[3, 4, 3, 3]\n\
             %y = conv_transpose2d %x, %w : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["Conv2DTranspose"]),
        ),
        (
            "transposed",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 4, 8, 8])",
            "%w = const @w : f32[3, 4, 3, 3]\n\
             %y = conv_transpose2d %x, %w {dilations = [2, 2]} : f32[N, 4, 8, 8]\n\
             return %y",
            None,
        ),
        (
            "depthwise_transposed",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 1, 3, 3]\n\
             %y = conv_transpose2d %x, %w {group = 3} : f32[N, 3, 6, 6]\n\
             return %y",
            Some(&["DepthwiseConv2DTranspose"]),
        ),
        (
            "padded_conv2d",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 2, 4, 4])",
            "%v = const @v : f32[3]\n\
             %w = const @w : f32[2, 3, 3, 3]\n\
             %p = channel_pad %x, %v {pads = [1, 1, 1, 1]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %p, %w : f32[N, 2, 4, 4]\n\
             return %y",
            Some(&["Conv2D"]),
        ),
        (
            "padded_conv2d",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 2, 6, 6])",
            "%v = const @v : f32[3]\n\
             %w = const @w : f32[2, 3, 3, 3]\n\
             %p = channel_pad %x, %v {pads = [1, 1, 1, 1]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %p, %w {pads = [1, 1, 1, 1]} : f32[N, 2, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "average",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%a = neg %x : f32[N, 3]\n\
             %b = abs %x : f32[N, 3]\n\
             %h = const @half : f32[]\n\
             %s = add %a, %b : f32[N, 3]\n\
             %y = mul %s, %h : f32[N, 3]\n\
             return %y",
            Some(&["neg", "abs", "Add"]),
        ),
        (
            "rows_of_averages",
            "(%x: f32[N, 3, 1, 1]) -> (%y: f32[N, 3])",
            "%y = flatten %x : f32[N, 3]\n\
             return %y",
            Some(&["squeeze"]),
        ),
        (
            "rows_of_averages",
            "(%x: f32[N, 3, 1, 2]) -> (%y: f32[N, 6])",
            "%y = flatten %x : f32[N, 6]\n\
             return %y",
            None,
        ),
        (
            "relu6",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%y = clip %x {min = 0.0, max = 6.0} : f32[N, 3]\n\
             return %y",
            Some(&["ReLU"]),
        ),
        (
            "relu6",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%y = clip %x {min = -1.0, max = 6.0} : f32[N, 3]\n\
             return %y",
            None,
        ),
        (
            "dense_of_tokens",
            "(%x: f32[N, 2, 3]) -> (%y: f32[N, 2, 4])",
            "%w = const @w : f32[3, 4]\n\
             %b = const @b : f32[4]\n\
             %p = matmul %x, %w : f32[N, 2, 4]\n\
             %y = add %p, %b : f32[N, 2, 4]\n\
             return %y",
            Some(&["Dense"]),
        ),
        (
            "dense",
            "(%x: f32[N, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 3]\n\
             %b = const @b : f32[4]\n\
             %y = dense %x, %w, %b : f32[N, 4]\n\
             return %y",
            Some(&["Dense"]),
        ),
        (
            "product_of_tokens",
            "(%x: f32[N, 2, 3]) -> (%y: f32[N, 2, 4])",
            "%w = const @w : f32[3, 4]\n\
             %y = matmul %x, %w : f32[N, 2, 4]\n\
             return %y",
            Some(&["Dense"]),
        ),
        (
            "batch_norm",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%g = const @g : f32[3]\n\
             %be = const @be : f32[3]\n\
             %m = const @m : f32[3]\n\
             %v_pos = const @v_pos : f32[3]\n\
             %y = batch_norm %x, %g, %be, %m, %v_pos : f32[N, 3, 6, 6]\n\
             return %y",
            Some(&["BatchNormalization"]),
        ),
        (
            "batch_norm",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%g = const @g : f32[3]\n\
             %be = const @be : f32[3]\n\
             %m = const @m : f32[3]\n\
             %v_pos = const @v_pos : f32[3]\n\
             %y = batch_norm %x, %g, %be, %m, %v_pos : f32[N, 3]\n\
             return %y",
            None,
        ),
        (
            "relu",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%y = relu %x : f32[N, 3]\n\
             return %y",
            Some(&["ReLU"]),
        ),
        (
            "gelu",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%y = gelu %x : f32[N, 3]\n\
             return %y",
            Some(&["Activation"]),
        ),
        (
            "swish",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%y = swish %x : f32[N, 3]\n\
             return %y",
            Some(&["Activation"]),
        ),
        (
            "hard_swish",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%y = hard_swish %x : f32[N, 3]\n\
             return %y",
            Some(&["Activation"]),
        ),
        (
            "leaky_relu",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%y = leaky_relu %x {alpha = 0.25} : f32[N, 3]\n\
             return %y",
            Some(&["Activation"]),
        ),
        (
            "add",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%a = neg %x : f32[N, 3]\n\
             %y = add %a, %x : f32[N, 3]\n\
             return %y",
            Some(&["neg", "Add"]),
        ),
        (
            "add",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%b = const @b : f32[3]\n\
             %y = add %x, %b : f32[N, 3]\n\
             return %y",
            None,
        ),
        (
            "position_embs",
            "(%x: f32[N, 2, 3]) -> (%y: f32[N, 2, 3])",
            "%t = const @t : f32[1, 2, 3]\n\
             %y = add %x, %t : f32[N, 2, 3]\n\
             return %y",
            Some(&["AddPositionEmbs"]),
        ),
        (
            "class_token",
            "(%x: f32[N, 2, 3]) -> (%y: f32[N, 3, 3])",
            "%t = const @t : f32[1, 1, 3]\n\
             %s = stretch %t, %x {axis = 0} : f32[N, 1, 3]\n\
             %y = concat %s, %x {axis = 1} : f32[N, 3, 3]\n\
             return %y",
            Some(&["ClassToken"]),
        ),
        (
            "concatenate",
            "(%x: f32[N, 3]) -> (%y: f32[N, 6])",
            "%a = neg %x : f32[N, 3]\n\
             %y = concat %a, %x {axis = 1} : f32[N, 6]\n\
             return %y",
            Some(&["neg", "Concatenate"]),
        ),
        (
            "max_pool",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 3, 2, 2])",
            "%y = max_pool2d %x {kernel_shape = [2, 2], strides = [2, 2]} : f32[N, 3, 2, 2]\n\
             return %y",
            Some(&["MaxPool2D"]),
        ),
        (
            "global_average",
            "(%x: f32[N, 3, 4, 4]) -> (%y: f32[N, 3, 1, 1])",
            "%y = global_avg_pool2d %x : f32[N, 3, 1, 1]\n\
             return %y",
            Some(&["GlobalAveragePooling2D"]),
        ),
        (
            "flatten",
            "(%x: f32[N, 3, 2, 2]) -> (%y: f32[N, 12])",
            "%y = flatten %x : f32[N, 12]\n\
             return %y",
            Some(&["Flatten"]),
        ),
        (
            "rescaling",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%h = const @half : f32[]\n\
             %y = mul %x, %h : f32[N, 3]\n\
             return %y",
            Some(&["Rescaling"]),
        ),
        (
            "rescaling",
            "(%x: f32[N, 3]) -> (%y: f32[N, 3])",
            "%b = const @b : f32[3]\n\
             %y = mul %x, %b : f32[N, 3]\n\
             return %y",
            None,
        ),
    ];
    check(&["layers"], &[], cases);
}

#[test]
fn norms() {
    let cases: &[Case] = &[
        (
            "layer_normalization",
            "(%x: f32[N, 2, 3]) -> (%y: f32[N, 2, 3])",
            "%g = const @g : f32[3]\n\
             %be = const @be : f32[3]\n\
             %e = const @e_pos : f32[]\n\
             %m = reduce_mean %x {axes = [2]} : f32[N, 2, 1]\n\
             %c = sub %x, %m : f32[N, 2, 3]\n\
             %s = mul %c, %c : f32[N, 2, 3]\n\
             %v = reduce_mean %s {axes = [2]} : f32[N, 2, 1]\n\
             %r = add %v, %e : f32[N, 2, 1]\n\
             %d = sqrt %r : f32[N, 2, 1]\n\
             %i = reciprocal %d : f32[N, 2, 1]\n\
             %n = mul %c, %i : f32[N, 2, 3]\n\
             %a = mul %n, %g : f32[N, 2, 3]\n\
             %y = add %a, %be : f32[N, 2, 3]\n\
             return %y",
            Some(&["LayerNormalization"]),
        ),
        (
            "layer_normalization",
            "(%x: f32[N, 3, 3]) -> (%y: f32[N, 3, 3])",
            "%g = const @g : f32[3]\n\
             %be = const @be : f32[3]\n\
             %e = const @e_pos : f32[]\n\
             %m = reduce_mean %x {axes = [1]} : f32[N, 1, 3]\n\
             %c = sub %x, %m : f32[N, 3, 3]\n\
             %s = mul %c, %c : f32[N, 3, 3]\n\
             %v = reduce_mean %s {axes = [1]} : f32[N, 1, 3]\n\
             %r = add %v, %e : f32[N, 1, 3]\n\
             %d = sqrt %r : f32[N, 1, 3]\n\
             %i = reciprocal %d : f32[N, 1, 3]\n\
             %n = mul %c, %i : f32[N, 3, 3]\n\
             %a = mul %n, %g : f32[N, 3, 3]\n\
             %y = add %a, %be : f32[N, 3, 3]\n\
             return %y",
            None,
        ),
    ];
    check(&["norms"], &[], cases);
}
