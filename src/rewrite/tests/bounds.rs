//! The rules of `passes/bounds.qrules`.

use super::cases::{Case, check};

#[test]
fn bounds() {
    let cases: &[Case] = &[
        (
            "clip_from_zero",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 3, 6, 6]\n\
             %b = clip %c {min = -1.0, max = 2.0} : f32[N, 3, 6, 6]\n\
             %y = conv2d %b, %w : f32[N, 3, 6, 6]\n\
             return %y",
            Some(&["conv2d", "add", "clip", "add", "conv2d"]),
        ),
        (
            "clip_from_zero",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 3, 6, 6]\n\
             %b = clip %c {min = 0.0, max = 2.0} : f32[N, 3, 6, 6]\n\
             %y = conv2d %b, %w : f32[N, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "clip_from_zero_without_end",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 3, 6, 6]\n\
             %b = clip %c {min = -1.0} : f32[N, 3, 6, 6]\n\
             %y = conv2d %b, %w : f32[N, 3, 6, 6]\n\
             return %y",
            Some(&["conv2d", "add", "relu", "add", "conv2d"]),
        ),
        (
            "clip_from_zero_without_end",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 3, 6, 6]\n\
             %b = clip %c {min = 0.0} : f32[N, 3, 6, 6]\n\
             %y = conv2d %b, %w : f32[N, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "clip_below_to_relu",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 3, 6, 6]\n\
             %b = clip %c {max = 1.0} : f32[N, 3, 6, 6]\n\
             %y = conv2d %b, %w : f32[N, 3, 6, 6]\n\
             return %y",
            Some(&["conv2d", "mul", "add", "relu", "mul", "add", "conv2d"]),
        ),
        (
            "clip_below_to_relu",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 3, 6, 6]\n\
             %b = clip %c {min = -1.0, max = 1.0} : f32[N, 3, 6, 6]\n\
             %y = conv2d %b, %w : f32[N, 3, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "neg_to_mul",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 3, 6, 6]\n\
             %b = neg %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %b, %w : f32[N, 3, 6, 6]\n\
             return %y",
            Some(&["conv2d", "mul", "conv2d"]),
        ),
        (
            "neg_to_mul",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 6, 6])",
            "%w = const @w : f32[3, 3, 1, 1]\n\
             %c = conv2d %x, %w : f32[N, 3, 6, 6]\n\
             %b = abs %c : f32[N, 3, 6, 6]\n\
             %y = conv2d %b, %w : f32[N, 3, 6, 6]\n\
             return %y",
            None,
        ),
    ];
    check(&["bounds"], &["bounds", "constants", "fuse"], cases);
}
