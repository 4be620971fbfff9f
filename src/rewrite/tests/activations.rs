//! Activations that exporters write out, and where they change places with max-pools.

use super::rules::{Case, check};

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
    ];
    check(&["activations"], &[], cases);
}
