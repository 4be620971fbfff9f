//! Every built-in rule: where it fires, and where it must not.

use super::*;

/// A rule, a graph, and the operators that the rule leaves; `None`: it must not fire.
pub(super) type Case = (&'static str, &'static str, &'static str, Option<&'static [&'static str]>);

/// Runs each case with its rule alone, under both drivers. The result has the same outputs, in
/// name and value. `toward` says what the saturated form is to lead to.
pub(super) fn check_some(files: &[&str], toward: &[&str], cases: &[Case]) {
    let (sets, toward) = (sets(files), super::sets(toward));
    for (rule, signature, body, expected) in cases {
        let before = graph(signature, body);
        let mut only = sets.clone();
        only.iter_mut().for_each(|set| set.rules.retain(|other| &*other.name == *rule));
        only.retain(|set| !set.rules.is_empty());
        assert!(!only.is_empty(), "there is no rule `{rule}`");
        // What makes a graph larger is worth it only for what it leads to.
        let drivers = match only[0].rules[0].expand {
            true => vec![only[0].driver],
            false => vec![Driver::Saturate, Driver::Greedy],
        };
        for driver in drivers {
            let options = Options { driver: Some(driver), toward: &toward, ..Options::default() };
            let (after, log) = run(&before, &only, &options);
            let text = print(&after);
            let fired = log.applied.iter().any(|applied| &*applied.rule == *rule);
            assert_eq!(fired, expected.is_some(), "`{rule}` under {driver:?}: {:?}\n{text}", log.warnings);
            match expected {
                Some(expected) => assert_eq!(ops(&after), *expected, "`{rule}` under {driver:?}\n{text}"),
                None => assert!(before.same_as(&after), "`{rule}` changed a graph\n{text}"),
            }
            let names = |graph: &Graph| graph.outputs().iter().map(|o| o.name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&before), names(&after));
            let bound = if only[0].contract == Contract::BitExact { 0.0 } else { 1e-5 };
            let worst = difference(&before, &after);
            assert!(worst <= bound, "`{rule}` under {driver:?}: {worst}\n{text}");
            assert!(log.warnings.0.is_empty(), "`{rule}`: {:?}", log.warnings);
        }
    }
}

/// As [`check_some`]; every rule of the files has a case.
pub(super) fn check(files: &[&str], toward: &[&str], cases: &[Case]) {
    check_some(files, toward, cases);
    for rule in sets(files).iter().flat_map(|set| &set.rules) {
        let fires = cases.iter().any(|case| case.0 == &*rule.name && case.3.is_some());
        assert!(fires, "no case for `{}`", rule.name);
    }
}

const X: &str = "(%x: f32[1, 3, 6, 6]) -> (%y: f32[1, 3, 6, 6])";

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

#[test]
fn linear() {
    let cases: &[Case] = &[
        (
            "matmul_to_dense",
            "(%x: f32[N, 3]) -> (%y: f32[N, 5])",
            "%w = const @w : f32[3, 5]\n\
             %y = matmul %x, %w : f32[N, 5]\n\
             return %y",
            Some(&["dense"]),
        ),
        (
            "matmul_to_dense",
            "(%x: f32[N, 3], %w: f32[3, 5]) -> (%y: f32[N, 5])",
            "%y = matmul %x, %w : f32[N, 5]\n\
             return %y",
            None,
        ),
        (
            "matmul_to_dense",
            "(%x: f32[N, 2, 3]) -> (%y: f32[N, 2, 5])",
            "%w = const @w : f32[3, 5]\n\
             %y = matmul %x, %w : f32[N, 2, 5]\n\
             return %y",
            None,
        ),
        (
            "pad_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 8, 7])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %p = pad %x {pads = [0, 0, 1, 2, 0, 0, 2, 0]} : f32[N, 3, 9, 8]\n\
             %y = conv2d %p, %w {pads = [0, 0, 1, 1]} : f32[N, 4, 8, 7]\n\
             return %y",
            Some(&["conv2d"]),
        ),
        (
            "pad_into_conv2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 7, 6])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %p = pad %x {pads = [0, 0, 1, 2, 0, 0, 2, 0], value = 1} : f32[N, 3, 9, 8]\n\
             %y = conv2d %p, %w : f32[N, 4, 7, 6]\n\
             return %y",
            None,
        ),
        (
            "pad_into_conv2d",
            "(%x: f32[N, 2, 6, 6]) -> (%y: f32[N, 4, 4, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %p = pad %x {pads = [0, 1, 0, 0, 0, 0, 0, 0]} : f32[N, 3, 6, 6]\n\
             %y = conv2d %p, %w : f32[N, 4, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "upsample2d_to_conv_transpose2d",
            "(%x: f32[N, 3, 4, 5]) -> (%y: f32[N, 3, 8, 10])",
            "%y = upsample2d %x {factors = [2, 2]} : f32[N, 3, 8, 10]\n\
             return %y",
            Some(&["conv_transpose2d"]),
        ),
        (
            "upsample2d_to_conv_transpose2d",
            "(%x: f32[N, 3, 4, 5]) -> (%y: f32[N, 3, 8, 15])",
            "%y = upsample2d %x {factors = [2, 3]} : f32[N, 3, 8, 15]\n\
             return %y",
            None,
        ),
        (
            "conv2d_to_dense",
            "(%x: f32[N, 3, 3, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 1]\n\
             %y = flatten %c : f32[N, 4]\n\
             return %y",
            Some(&["flatten", "dense"]),
        ),
        (
            "conv2d_to_dense",
            "(%x: f32[N, 3, 4, 3]) -> (%y: f32[N, 8])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 2, 1]\n\
             %y = flatten %c : f32[N, 8]\n\
             return %y",
            None,
        ),
        (
            "conv2d_to_dense",
            "(%x: f32[N, 4, 3, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 2, 3, 3]\n\
             %c = conv2d %x, %w {group = 2} : f32[N, 4, 1, 1]\n\
             %y = flatten %c : f32[N, 4]\n\
             return %y",
            None,
        ),
        (
            "conv2d_relu_to_dense",
            "(%x: f32[N, 3, 3, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 1]\n\
             %r = relu %c : f32[N, 4, 1, 1]\n\
             %y = flatten %r : f32[N, 4]\n\
             return %y",
            Some(&["flatten", "dense", "relu"]),
        ),
        (
            "conv2d_relu_to_dense",
            "(%x: f32[N, 3, 3, 4]) -> (%y: f32[N, 8])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 2]\n\
             %r = relu %c : f32[N, 4, 1, 2]\n\
             %y = flatten %r : f32[N, 8]\n\
             return %y",
            None,
        ),
        (
            "conv2d_clip_to_dense",
            "(%x: f32[N, 3, 3, 3]) -> (%y: f32[N, 4])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 1]\n\
             %r = clip %c {min = 0.0, max = 2.0} : f32[N, 4, 1, 1]\n\
             %y = flatten %r : f32[N, 4]\n\
             return %y",
            Some(&["flatten", "dense", "clip"]),
        ),
        (
            "conv2d_clip_to_dense",
            "(%x: f32[N, 3, 3, 4]) -> (%y: f32[N, 8])",
            "%w = const @w : f32[4, 3, 3, 3]\n\
             %c = conv2d %x, %w : f32[N, 4, 1, 2]\n\
             %r = clip %c {min = 0.0, max = 2.0} : f32[N, 4, 1, 2]\n\
             %y = flatten %r : f32[N, 8]\n\
             return %y",
            None,
        ),
        (
            "pad_to_pad_of_zeros",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%u = const @u : f32[3, 3, 1, 1]\n\
             %w = const @w : f32[4, 3, 3, 3]\n\
             %a = conv2d %x, %u : f32[N, 3, 6, 6]\n\
             %p = pad %a {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.5} : f32[N, 3, 8, 8]\n\
             %y = conv2d %p, %w : f32[N, 4, 6, 6]\n\
             return %y",
            Some(&["conv2d", "add", "pad", "add", "conv2d"]),
        ),
        (
            "pad_to_pad_of_zeros",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 4, 6, 6])",
            "%u = const @u : f32[3, 3, 1, 1]\n\
             %w = const @w : f32[4, 3, 3, 3]\n\
             %a = conv2d %x, %u : f32[N, 3, 6, 6]\n\
             %p = pad %a {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = inf} : f32[N, 3, 8, 8]\n\
             %y = conv2d %p, %w : f32[N, 4, 6, 6]\n\
             return %y",
            None,
        ),
        (
            "pad_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = neg %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = -inf} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            Some(&["neg", "max_pool2d"]),
        ),
        (
            "pad_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = neg %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            None,
        ),
        (
            "pad_of_relu_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = relu %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            Some(&["relu", "max_pool2d"]),
        ),
        (
            "pad_of_relu_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 4, 4])",
            "%r = relu %x : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [1, 1], strides = [2, 2]} : f32[N, 3, 4, 4]\n\
             return %y",
            None,
        ),
        (
            "pad_of_clip_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = clip %x {min = 0.0, max = 2.0} : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            Some(&["clip", "max_pool2d"]),
        ),
        (
            "pad_of_clip_into_max_pool2d",
            "(%x: f32[N, 3, 6, 6]) -> (%y: f32[N, 3, 3, 3])",
            "%r = clip %x {min = -1.0, max = 2.0} : f32[N, 3, 6, 6]\n\
             %p = pad %r {pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0} : f32[N, 3, 8, 8]\n\
             %y = max_pool2d %p {kernel_shape = [3, 3], strides = [2, 2]} : f32[N, 3, 3, 3]\n\
             return %y",
            None,
        ),
    ];
    check(&["linear"], &["linear", "constants", "fuse"], cases);
}

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
