//! The rules of `passes/pooling.qrules`.

use super::cases::{Case, check_some};

#[test]
fn pooling() {
    let cases: &[Case] = &[
        (
            "avg_pool2d_to_global_avg_pool2d",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 1, 1])",
            "%y = avg_pool2d %x {kernel_shape = [6, 4], strides = [2, 3]} : f32[N, 3, 1, 1]\n\
             return %y",
            Some(&["global_avg_pool2d"]),
        ),
        (
            "avg_pool2d_to_global_avg_pool2d",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 2, 1])",
            "%y = avg_pool2d %x {kernel_shape = [5, 4]} : f32[N, 3, 2, 1]\n\
             return %y",
            None,
        ),
        (
            "reduce_mean_to_global_avg_pool2d",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 1, 1])",
            "%y = reduce_mean %x {axes = [2, 3]} : f32[N, 3, 1, 1]\n\
             return %y",
            Some(&["global_avg_pool2d"]),
        ),
        (
            "reduce_mean_to_global_avg_pool2d",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 1, 1, 4])",
            "%y = reduce_mean %x {axes = [1, 2]} : f32[N, 1, 1, 4]\n\
             return %y",
            None,
        ),
        (
            "reduce_mean_of_rows_of_columns",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3])",
            "%a = reduce_mean %x {axes = [3], keepdims = false} : f32[N, 3, 6]\n\
             %y = reduce_mean %a {axes = [2], keepdims = false} : f32[N, 3]\n\
             return %y",
            Some(&["reduce_mean"]),
        ),
        (
            "reduce_mean_of_rows_of_columns",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 6])",
            "%a = reduce_mean %x {axes = [3], keepdims = true} : f32[N, 3, 6, 1]\n\
             %y = reduce_mean %a {axes = [3], keepdims = false} : f32[N, 3, 6]\n\
             return %y",
            None,
        ),
        (
            "reduce_mean_of_columns_of_rows",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3])",
            "%a = reduce_mean %x {axes = [2], keepdims = false} : f32[N, 3, 4]\n\
             %y = reduce_mean %a {axes = [2], keepdims = false} : f32[N, 3]\n\
             return %y",
            Some(&["reduce_mean"]),
        ),
        (
            "reduce_mean_of_rows_of_kept_columns",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 1, 1])",
            "%a = reduce_mean %x {axes = [3], keepdims = true} : f32[N, 3, 6, 1]\n\
             %y = reduce_mean %a {axes = [2], keepdims = true} : f32[N, 3, 1, 1]\n\
             return %y",
            Some(&["reduce_mean"]),
        ),
        (
            "reduce_mean_of_columns_of_kept_rows",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 1, 1])",
            "%a = reduce_mean %x {axes = [2], keepdims = true} : f32[N, 3, 1, 4]\n\
             %y = reduce_mean %a {axes = [3], keepdims = true} : f32[N, 3, 1, 1]\n\
             return %y",
            Some(&["reduce_mean"]),
        ),
        (
            "reduce_mean_before_transpose",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 1, 1, 3])",
            "%t = transpose %x {perm = [0, 2, 3, 1]} : f32[N, 6, 4, 3]\n\
             %y = reduce_mean %t {axes = [1, 2], keepdims = true} : f32[N, 1, 1, 3]\n\
             return %y",
            Some(&["reduce_mean", "transpose"]),
        ),
        (
            "reduce_mean_of_transpose",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3])",
            "%t = transpose %x {perm = [0, 2, 3, 1]} : f32[N, 6, 4, 3]\n\
             %y = reduce_mean %t {axes = [1, 2], keepdims = false} : f32[N, 3]\n\
             return %y",
            Some(&["reduce_mean"]),
        ),
        (
            "reduce_mean_of_transpose",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 6])",
            "%t = transpose %x {perm = [0, 2, 3, 1]} : f32[N, 6, 4, 3]\n\
             %y = reduce_mean %t {axes = [2, 3], keepdims = false} : f32[N, 6]\n\
             return %y",
            None,
        ),
        (
            "reduce_max_to_max_pool2d",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 1, 1])",
            "%y = reduce_max %x {axes = [2, 3], keepdims = true} : f32[N, 3, 1, 1]\n\
             return %y",
            Some(&["max_pool2d"]),
        ),
        (
            "reduce_max_to_max_pool2d",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 6, 1])",
            "%y = reduce_max %x {axes = [3], keepdims = true} : f32[N, 3, 6, 1]\n\
             return %y",
            None,
        ),
    ];
    check_some(&["pooling"], &[], cases);
}

#[test]
fn pooling_that_leads_to_layers() {
    let cases: &[Case] = &[
        (
            "reduce_mean_to_flat_global_avg_pool2d",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 4, 6, 4]\n\
             %y = reduce_mean %c {axes = [2, 3], keepdims = false} : f32[N, 4]\n\
             return %y",
            Some(&["conv2d", "global_avg_pool2d", "flatten"]),
        ),
        (
            "reduce_mean_to_flat_global_avg_pool2d",
            "(%x: f32[N, 3, 6, 4, 5]) -> (%y: f32[N, 3, 5])",
            "%y = reduce_mean %x {axes = [2, 3], keepdims = false} : f32[N, 3, 5]\n\
             return %y",
            None,
        ),
        (
            "reduce_sum_to_reduce_mean",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 2])",
            "%w = const @w : f32[4, 3, 1, 1]\n\
             %v = const @v : f32[2, 4]\n\
             %c = conv2d %x, %w : f32[N, 4, 6, 4]\n\
             %m = reduce_sum %c {axes = [2, 3], keepdims = false} : f32[N, 4]\n\
             %y = dense %m, %v : f32[N, 2]\n\
             return %y",
            Some(&["conv2d", "reduce_mean", "mul", "dense"]),
        ),
        (
            "reduce_sum_to_reduce_mean",
            "(%x: f32[N, 3, 6, 4]) -> (%y: f32[N, 3, 6])",
            "%y = reduce_sum %x {axes = [3], keepdims = false} : f32[N, 3, 6]\n\
             return %y",
            None,
        ),
    ];
    check_some(&["pooling"], &["pooling", "constants", "fuse", "fuse_more"], cases);
}
