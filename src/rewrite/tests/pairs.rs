//! The rules of `passes/pairs.qrules`.

use super::cases::{Case, check};

#[test]
fn pairs() {
    let cases: &[Case] = &[
        (
            "concat_to_pairs",
            "(%a: f32[1, 2, 1, 1], %b: f32[1, 3, 1, 1], %c: f32[1, 4, 1, 1], %d: f32[1, 5, 1, 1]) -> (%y: f32[1, 14, 1, 1])",
            "%y = concat %a, %b, %c, %d {axis = 1} : f32[1, 14, 1, 1]\n\
             return %y",
            Some(&["concat", "concat", "concat"]),
        ),
        (
            "concat_to_pairs",
            "(%a: f32[1, 2], %b: f32[1, 3]) -> (%y: f32[1, 5])",
            "%y = concat %a, %b {axis = 1} : f32[1, 5]\n\
             return %y",
            None,
        ),
        (
            "concat_to_pairs",
            "(%a: f32[1, 2], %b: f32[1, 2], %c: f32[1, 2]) -> (%y: f32[3, 2])",
            "%y = concat %a, %b, %c {axis = 0} : f32[3, 2]\n\
             return %y",
            None,
        ),
    ];
    check(&["pairs"], &["fuse"], cases);
}
