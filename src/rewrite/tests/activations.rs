//! Activations that exporters write out, and where they change places with max-pools.

use super::cases::{Case, check_some};

const X: &str = "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 6, 6])";
const POOLED: &str = "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 3, 3])";

#[test]
fn activations() {
    let cases: &[Case] = &[
        (
            "mul_to_swish",
            X,
            "%s = sigmoid %x : f32[1, 3, 6, 6]\n\
             %y = mul %x, %s : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["swish"]),
        ),
        (
            "mul_to_swish",
            X,
            "%s = tanh %x : f32[1, 3, 6, 6]\n\
             %y = mul %x, %s : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_to_swish_left",
            X,
            "%s = sigmoid %x : f32[1, 3, 6, 6]\n\
             %y = mul %s, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["swish"]),
        ),
        (
            "mul_to_hard_swish",
            X,
            "%s = hard_sigmoid %x {alpha = 0.16666667} : f32[1, 3, 6, 6]\n\
             %y = mul %x, %s : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "mul_to_hard_swish",
            X,
            "%s = hard_sigmoid %x : f32[1, 3, 6, 6]\n\
             %y = mul %x, %s : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_to_hard_swish_left",
            X,
            "%s = hard_sigmoid %x {alpha = 0.16666667} : f32[1, 3, 6, 6]\n\
             %y = mul %s, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "half_behind_mul_to_gelu",
            X,
            "%root = const @root : f32[]\n\
             %one = const @one : f32[]\n\
             %half = const @half : f32[]\n\
             %t = mul %x, %root : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %one : f32[1, 3, 6, 6]\n\
             %p = mul %x, %s : f32[1, 3, 6, 6]\n\
             %y = mul %p, %half : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu"]),
        ),
        (
            "half_behind_mul_to_gelu",
            X,
            "%root = const @root : f32[]\n\
             %one = const @one : f32[]\n\
             %t = mul %x, %root : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %one : f32[1, 3, 6, 6]\n\
             %p = mul %x, %s : f32[1, 3, 6, 6]\n\
             %y = mul %p, %root : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "half_behind_mul_to_gelu_left",
            X,
            "%root = const @root : f32[]\n\
             %one = const @one : f32[]\n\
             %half = const @half : f32[]\n\
             %t = mul %x, %root : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %one : f32[1, 3, 6, 6]\n\
             %p = mul %s, %x : f32[1, 3, 6, 6]\n\
             %y = mul %p, %half : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu"]),
        ),
        (
            "half_of_value_to_gelu",
            X,
            "%root = const @root : f32[]\n\
             %one = const @one : f32[]\n\
             %half = const @half : f32[]\n\
             %t = mul %x, %root : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %one : f32[1, 3, 6, 6]\n\
             %p = mul %x, %half : f32[1, 3, 6, 6]\n\
             %y = mul %p, %s : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu"]),
        ),
        (
            "half_of_value_to_gelu",
            X,
            "%one = const @one : f32[]\n\
             %half = const @half : f32[]\n\
             %t = mul %x, %one : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %one : f32[1, 3, 6, 6]\n\
             %p = mul %x, %half : f32[1, 3, 6, 6]\n\
             %y = mul %p, %s : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "half_of_value_to_gelu_left",
            X,
            "%root = const @root : f32[]\n\
             %one = const @one : f32[]\n\
             %half = const @half : f32[]\n\
             %t = mul %x, %root : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %one : f32[1, 3, 6, 6]\n\
             %p = mul %x, %half : f32[1, 3, 6, 6]\n\
             %y = mul %s, %p : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu"]),
        ),
        (
            "half_of_sum_to_gelu",
            X,
            "%root = const @root : f32[]\n\
             %one = const @one : f32[]\n\
             %half = const @half : f32[]\n\
             %t = mul %x, %root : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %one : f32[1, 3, 6, 6]\n\
             %p = mul %s, %half : f32[1, 3, 6, 6]\n\
             %y = mul %x, %p : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu"]),
        ),
        (
            "half_of_sum_to_gelu",
            X,
            "%root = const @root : f32[]\n\
             %half = const @half : f32[]\n\
             %t = mul %x, %root : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %half : f32[1, 3, 6, 6]\n\
             %p = mul %s, %half : f32[1, 3, 6, 6]\n\
             %y = mul %x, %p : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "half_of_sum_to_gelu_left",
            X,
            "%root = const @root : f32[]\n\
             %one = const @one : f32[]\n\
             %half = const @half : f32[]\n\
             %t = mul %x, %root : f32[1, 3, 6, 6]\n\
             %e = erf %t : f32[1, 3, 6, 6]\n\
             %s = add %e, %one : f32[1, 3, 6, 6]\n\
             %p = mul %s, %half : f32[1, 3, 6, 6]\n\
             %y = mul %p, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu"]),
        ),
        (
            "prelu_to_leaky_relu",
            X,
            "%half = const @half : f32[]\n\
             %y = prelu %x, %half : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["leaky_relu"]),
        ),
        (
            "prelu_to_leaky_relu",
            X,
            "%s = const @s : f32[3, 1, 1]\n\
             %y = prelu %x, %s : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "leaky_relu_behind_max_pool2d",
            POOLED,
            "%a = leaky_relu %x {alpha = 0.25} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "leaky_relu"]),
        ),
        (
            "leaky_relu_behind_max_pool2d",
            POOLED,
            "%a = leaky_relu %x {alpha = -0.25} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "sigmoid_behind_max_pool2d",
            POOLED,
            "%a = sigmoid %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "sigmoid"]),
        ),
        (
            "sigmoid_behind_max_pool2d",
            POOLED,
            "%a = neg %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "hard_sigmoid_behind_max_pool2d",
            POOLED,
            "%a = hard_sigmoid %x {alpha = 0.25, beta = 0.25} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "hard_sigmoid"]),
        ),
        (
            "hard_sigmoid_behind_max_pool2d",
            POOLED,
            "%a = hard_sigmoid %x {alpha = -0.25} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "tanh_behind_max_pool2d",
            POOLED,
            "%a = tanh %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "tanh"]),
        ),
        (
            "tanh_behind_max_pool2d",
            POOLED,
            "%a = neg %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "elu_behind_max_pool2d",
            POOLED,
            "%a = elu %x {alpha = 0.5} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "elu"]),
        ),
        (
            "elu_behind_max_pool2d",
            POOLED,
            "%a = elu %x {alpha = -0.5} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "selu_behind_max_pool2d",
            POOLED,
            "%a = selu %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "selu"]),
        ),
        (
            "selu_behind_max_pool2d",
            POOLED,
            "%a = selu %x {gamma = -1} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "celu_behind_max_pool2d",
            POOLED,
            "%a = celu %x {alpha = 0.5} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "celu"]),
        ),
        (
            "celu_behind_max_pool2d",
            POOLED,
            "%a = celu %x {alpha = -0.5} : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "softplus_behind_max_pool2d",
            POOLED,
            "%a = softplus %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "softplus"]),
        ),
        (
            "softplus_behind_max_pool2d",
            POOLED,
            "%a = neg %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "softsign_behind_max_pool2d",
            POOLED,
            "%a = softsign %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            Some(&["max_pool2d", "softsign"]),
        ),
        (
            "softsign_behind_max_pool2d",
            POOLED,
            "%a = neg %x : f32[1, 3, 6, 6]\n\
             %y = max_pool2d %a {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "mul_to_swish_of_slope",
            X,
            "%k = const @k_pos : f32[]\n\
             %m = mul %x, %k : f32[1, 3, 6, 6]\n\
             %s = sigmoid %m : f32[1, 3, 6, 6]\n\
             %y = mul %x, %s : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["swish"]),
        ),
        (
            "mul_to_swish_of_slope",
            X,
            "%k = const @k : f32[3, 1, 1]\n\
             %m = mul %x, %k : f32[1, 3, 6, 6]\n\
             %s = sigmoid %m : f32[1, 3, 6, 6]\n\
             %y = mul %x, %s : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_to_swish_of_slope_left",
            X,
            "%k = const @k_pos : f32[]\n\
             %m = mul %x, %k : f32[1, 3, 6, 6]\n\
             %s = sigmoid %m : f32[1, 3, 6, 6]\n\
             %y = mul %s, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["swish"]),
        ),
        (
            "mul_to_hard_swish_of_clip",
            X,
            "%s = const @sixth : f32[]\n\
             %h = const @half : f32[]\n\
             %m = mul %x, %s : f32[1, 3, 6, 6]\n\
             %a = add %m, %h : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 1.0} : f32[1, 3, 6, 6]\n\
             %y = mul %x, %c : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "mul_to_hard_swish_of_clip",
            X,
            "%s = const @sixth : f32[]\n\
             %h = const @half : f32[]\n\
             %m = mul %x, %s : f32[1, 3, 6, 6]\n\
             %a = add %m, %h : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 2.0} : f32[1, 3, 6, 6]\n\
             %y = mul %x, %c : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_to_hard_swish_of_clip_left",
            X,
            "%s = const @sixth : f32[]\n\
             %h = const @half : f32[]\n\
             %m = mul %x, %s : f32[1, 3, 6, 6]\n\
             %a = add %m, %h : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 1.0} : f32[1, 3, 6, 6]\n\
             %y = mul %c, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "sixth_behind_mul_to_hard_swish",
            X,
            "%t = const @three : f32[]\n\
             %s = const @sixth : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %x, %c : f32[1, 3, 6, 6]\n\
             %y = mul %m, %s : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "sixth_behind_mul_to_hard_swish",
            X,
            "%t = const @three : f32[]\n\
             %s = const @half : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %x, %c : f32[1, 3, 6, 6]\n\
             %y = mul %m, %s : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "sixth_behind_mul_to_hard_swish_left",
            X,
            "%t = const @three : f32[]\n\
             %s = const @sixth : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %c, %x : f32[1, 3, 6, 6]\n\
             %y = mul %m, %s : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "sixth_behind_mul_to_hard_swish_left",
            X,
            "%t = const @three : f32[]\n\
             %s = const @half : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %c, %x : f32[1, 3, 6, 6]\n\
             %y = mul %m, %s : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "sixth_of_value_to_hard_swish",
            X,
            "%t = const @three : f32[]\n\
             %s = const @sixth : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %x, %s : f32[1, 3, 6, 6]\n\
             %y = mul %m, %c : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "sixth_of_value_to_hard_swish",
            X,
            "%t = const @three : f32[]\n\
             %s = const @half : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %x, %s : f32[1, 3, 6, 6]\n\
             %y = mul %m, %c : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "sixth_of_value_to_hard_swish_left",
            X,
            "%t = const @three : f32[]\n\
             %s = const @sixth : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %x, %s : f32[1, 3, 6, 6]\n\
             %y = mul %c, %m : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "sixth_of_value_to_hard_swish_left",
            X,
            "%t = const @three : f32[]\n\
             %s = const @half : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %x, %s : f32[1, 3, 6, 6]\n\
             %y = mul %c, %m : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "sixth_of_sum_to_hard_swish",
            X,
            "%t = const @three : f32[]\n\
             %s = const @sixth : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %c, %s : f32[1, 3, 6, 6]\n\
             %y = mul %x, %m : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "sixth_of_sum_to_hard_swish",
            X,
            "%t = const @three : f32[]\n\
             %s = const @half : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %c, %s : f32[1, 3, 6, 6]\n\
             %y = mul %x, %m : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "sixth_of_sum_to_hard_swish_left",
            X,
            "%t = const @three : f32[]\n\
             %s = const @sixth : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %c, %s : f32[1, 3, 6, 6]\n\
             %y = mul %m, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["hard_swish"]),
        ),
        (
            "sixth_of_sum_to_hard_swish_left",
            X,
            "%t = const @three : f32[]\n\
             %s = const @half : f32[]\n\
             %a = add %x, %t : f32[1, 3, 6, 6]\n\
             %c = clip %a {min = 0.0, max = 6.0} : f32[1, 3, 6, 6]\n\
             %m = mul %c, %s : f32[1, 3, 6, 6]\n\
             %y = mul %m, %x : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "half_behind_mul_to_gelu_tanh",
            X,
            "%t = const @three : f32[]\n\
             %c = const @cubic : f32[]\n\
             %o = const @rootpi : f32[]\n\
             %i = const @one : f32[]\n\
             %h = const @half : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %r = add %x, %q : f32[1, 3, 6, 6]\n\
             %u = mul %r, %o : f32[1, 3, 6, 6]\n\
             %v = tanh %u : f32[1, 3, 6, 6]\n\
             %e = add %v, %i : f32[1, 3, 6, 6]\n\
             %m = mul %x, %e : f32[1, 3, 6, 6]\n\
             %y = mul %m, %h : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu_tanh"]),
        ),
        (
            "half_behind_mul_to_gelu_tanh_left",
            X,
            "%t = const @three : f32[]\n\
             %c = const @cubic : f32[]\n\
             %o = const @rootpi : f32[]\n\
             %i = const @one : f32[]\n\
             %h = const @half : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %r = add %x, %q : f32[1, 3, 6, 6]\n\
             %u = mul %r, %o : f32[1, 3, 6, 6]\n\
             %v = tanh %u : f32[1, 3, 6, 6]\n\
             %e = add %v, %i : f32[1, 3, 6, 6]\n\
             %m = mul %e, %x : f32[1, 3, 6, 6]\n\
             %y = mul %m, %h : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu_tanh"]),
        ),
        (
            "half_of_value_to_gelu_tanh",
            X,
            "%t = const @three : f32[]\n\
             %c = const @cubic : f32[]\n\
             %o = const @rootpi : f32[]\n\
             %i = const @one : f32[]\n\
             %h = const @half : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %r = add %x, %q : f32[1, 3, 6, 6]\n\
             %u = mul %r, %o : f32[1, 3, 6, 6]\n\
             %v = tanh %u : f32[1, 3, 6, 6]\n\
             %e = add %v, %i : f32[1, 3, 6, 6]\n\
             %m = mul %x, %h : f32[1, 3, 6, 6]\n\
             %y = mul %m, %e : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu_tanh"]),
        ),
        (
            "half_of_value_to_gelu_tanh_left",
            X,
            "%t = const @three : f32[]\n\
             %c = const @cubic : f32[]\n\
             %o = const @rootpi : f32[]\n\
             %i = const @one : f32[]\n\
             %h = const @half : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %r = add %x, %q : f32[1, 3, 6, 6]\n\
             %u = mul %r, %o : f32[1, 3, 6, 6]\n\
             %v = tanh %u : f32[1, 3, 6, 6]\n\
             %e = add %v, %i : f32[1, 3, 6, 6]\n\
             %m = mul %x, %h : f32[1, 3, 6, 6]\n\
             %y = mul %e, %m : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu_tanh"]),
        ),
        (
            "half_of_sum_to_gelu_tanh",
            X,
            "%t = const @three : f32[]\n\
             %c = const @cubic : f32[]\n\
             %o = const @rootpi : f32[]\n\
             %i = const @one : f32[]\n\
             %h = const @half : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %r = add %x, %q : f32[1, 3, 6, 6]\n\
             %u = mul %r, %o : f32[1, 3, 6, 6]\n\
             %v = tanh %u : f32[1, 3, 6, 6]\n\
             %e = add %v, %i : f32[1, 3, 6, 6]\n\
             %m = mul %e, %h : f32[1, 3, 6, 6]\n\
             %y = mul %x, %m : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu_tanh"]),
        ),
        (
            "half_of_sum_to_gelu_tanh_left",
            X,
            "%t = const @three : f32[]\n\
             %c = const @cubic : f32[]\n\
             %o = const @rootpi : f32[]\n\
             %i = const @one : f32[]\n\
             %h = const @half : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %r = add %x, %q : f32[1, 3, 6, 6]\n\
             %u = mul %r, %o : f32[1, 3, 6, 6]\n\
             %v = tanh %u : f32[1, 3, 6, 6]\n\
             %e = add %v, %i : f32[1, 3, 6, 6]\n\
             %m = mul %e, %h : f32[1, 3, 6, 6]\n\
             %y = mul %m, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["gelu_tanh"]),
        ),
        (
            "half_behind_mul_to_gelu_tanh",
            X,
            "%t = const @three : f32[]\n\
             %c = const @cubic : f32[]\n\
             %o = const @rootpi : f32[]\n\
             %i = const @one : f32[]\n\
             %h = const @three_b : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %r = add %x, %q : f32[1, 3, 6, 6]\n\
             %u = mul %r, %o : f32[1, 3, 6, 6]\n\
             %v = tanh %u : f32[1, 3, 6, 6]\n\
             %e = add %v, %i : f32[1, 3, 6, 6]\n\
             %m = mul %x, %e : f32[1, 3, 6, 6]\n\
             %y = mul %m, %h : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_to_cube",
            X,
            "%m = mul %x, %x : f32[1, 3, 6, 6]\n\
             %y = mul %x, %m : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["pow"]),
        ),
        (
            "mul_to_cube",
            X,
            "%r = relu %x : f32[1, 3, 6, 6]\n\
             %m = mul %r, %r : f32[1, 3, 6, 6]\n\
             %y = mul %x, %m : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_to_cube_left",
            X,
            "%m = mul %x, %x : f32[1, 3, 6, 6]\n\
             %y = mul %m, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["pow"]),
        ),
        (
            "value_before_cube",
            X,
            "%t = const @three : f32[]\n\
             %c = const @cubic : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %y = add %q, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["pow", "mul", "add"]),
        ),
        (
            "value_before_cube",
            X,
            "%t = const @three : f32[]\n\
             %c = const @half : f32[]\n\
             %p = pow %x, %t : f32[1, 3, 6, 6]\n\
             %q = mul %p, %c : f32[1, 3, 6, 6]\n\
             %y = add %q, %x : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "log_to_softplus",
            X,
            "%i = const @one : f32[]\n\
             %e = exp %x : f32[1, 3, 6, 6]\n\
             %a = add %e, %i : f32[1, 3, 6, 6]\n\
             %y = log %a : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["softplus"]),
        ),
        (
            "log_to_softplus",
            X,
            "%i = const @three : f32[]\n\
             %e = exp %x : f32[1, 3, 6, 6]\n\
             %a = add %e, %i : f32[1, 3, 6, 6]\n\
             %y = log %a : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_to_mish",
            X,
            "%s = softplus %x : f32[1, 3, 6, 6]\n\
             %t = tanh %s : f32[1, 3, 6, 6]\n\
             %y = mul %x, %t : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["mish"]),
        ),
        (
            "mul_to_mish",
            X,
            "%s = softplus %x : f32[1, 3, 6, 6]\n\
             %t = sigmoid %s : f32[1, 3, 6, 6]\n\
             %y = mul %x, %t : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "mul_to_mish_left",
            X,
            "%s = softplus %x : f32[1, 3, 6, 6]\n\
             %t = tanh %s : f32[1, 3, 6, 6]\n\
             %y = mul %t, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["mish"]),
        ),
        (
            "div_to_sigmoid",
            X,
            "%i = const @one : f32[]\n\
             %n = neg %x : f32[1, 3, 6, 6]\n\
             %e = exp %n : f32[1, 3, 6, 6]\n\
             %a = add %e, %i : f32[1, 3, 6, 6]\n\
             %y = div %i, %a : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["sigmoid"]),
        ),
        (
            "div_to_sigmoid",
            X,
            "%i = const @one : f32[]\n\
             %e = exp %x : f32[1, 3, 6, 6]\n\
             %a = add %e, %i : f32[1, 3, 6, 6]\n\
             %y = div %i, %a : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "reciprocal_to_sigmoid",
            X,
            "%i = const @one : f32[]\n\
             %n = neg %x : f32[1, 3, 6, 6]\n\
             %e = exp %n : f32[1, 3, 6, 6]\n\
             %a = add %e, %i : f32[1, 3, 6, 6]\n\
             %y = reciprocal %a : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["sigmoid"]),
        ),
        (
            "div_to_swish",
            X,
            "%i = const @one : f32[]\n\
             %n = neg %x : f32[1, 3, 6, 6]\n\
             %e = exp %n : f32[1, 3, 6, 6]\n\
             %a = add %e, %i : f32[1, 3, 6, 6]\n\
             %y = div %x, %a : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["swish"]),
        ),
        (
            "div_to_softsign",
            X,
            "%i = const @one : f32[]\n\
             %b = abs %x : f32[1, 3, 6, 6]\n\
             %a = add %b, %i : f32[1, 3, 6, 6]\n\
             %y = div %x, %a : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["softsign"]),
        ),
        (
            "div_to_softsign",
            X,
            "%i = const @one : f32[]\n\
             %b = relu %x : f32[1, 3, 6, 6]\n\
             %a = add %b, %i : f32[1, 3, 6, 6]\n\
             %y = div %x, %a : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "prelu_to_leaky_relu",
            X,
            "%s = const @half : f32[3, 1, 1]\n\
             %y = prelu %x, %s : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["leaky_relu"]),
        ),
        (
            "max_to_leaky_relu",
            X,
            "%h = const @half : f32[]\n\
             %m = mul %x, %h : f32[1, 3, 6, 6]\n\
             %y = max %x, %m : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["leaky_relu"]),
        ),
        (
            "max_to_leaky_relu",
            X,
            "%h = const @three : f32[]\n\
             %m = mul %x, %h : f32[1, 3, 6, 6]\n\
             %y = max %x, %m : f32[1, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "max_to_leaky_relu_left",
            X,
            "%h = const @half : f32[]\n\
             %m = mul %x, %h : f32[1, 3, 6, 6]\n\
             %y = max %m, %x : f32[1, 3, 6, 6]\n\
             return %y",
            Some(&["leaky_relu"]),
        ),
    ];
    check_some(&["activations"], &[], cases);
}

#[test]
fn slopes_for_each_channel() {
    let cases: &[Case] = &[
        (
            "prelu_between_conv2ds",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 2, 4, 4])",
            "%v = const @v : f32[4, 3, 3, 3]\n\
             %w = const @w : f32[2, 4, 1, 1]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %a = conv2d %x, %v : f32[1, 4, 4, 4]\n\
             %p = prelu %a, %s : f32[1, 4, 4, 4]\n\
             %y = conv2d %p, %w : f32[1, 2, 4, 4]\n\
             return %y",
            Some(&["conv2d", "relu", "conv2d"]),
        ),
        (
            "prelu_between_conv2ds",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 2, 4, 4])",
            "%v = const @v : f32[4, 3, 3, 3]\n\
             %w = const @w : f32[2, 4, 1, 1]\n\
             %s = const @s : f32[4, 4, 4]\n\
             %a = conv2d %x, %v : f32[1, 4, 4, 4]\n\
             %p = prelu %a, %s : f32[1, 4, 4, 4]\n\
             %y = conv2d %p, %w : f32[1, 2, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "prelu_behind_conv2d",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 4, 2, 2])",
            "%v = const @v : f32[4, 3, 3, 3]\n\
             %s = const @s : f32[4, 1, 1]\n\
             %a = conv2d %x, %v : f32[1, 4, 4, 4]\n\
             %p = prelu %a, %s : f32[1, 4, 4, 4]\n\
             %y = max_pool2d %p {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 4, 2, 2]\n\
             return %y",
            Some(&["conv2d", "relu", "conv2d", "max_pool2d"]),
        ),
        (
            "prelu_behind_conv2d",
            "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 4, 2, 2])",
            "%v = const @v : f32[4, 3, 3, 3]\n\
             %s = const @s : f32[4, 4, 4]\n\
             %a = conv2d %x, %v : f32[1, 4, 4, 4]\n\
             %p = prelu %a, %s : f32[1, 4, 4, 4]\n\
             %y = max_pool2d %p {kernel_shape = [2, 2], strides = [2, 2]} : f32[1, 4, 2, 2]\n\
             return %y",
            None,
        ),
    ];
    check_some(&["activations"], &["fuse", "fuse_more"], cases);
}
