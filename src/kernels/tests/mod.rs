//! Hand-computed cases of the geometry and the references; the fast forms against the references.

mod equal;

use super::*;

fn conv(size: [usize; 2], kernel: [usize; 2]) -> Conv2d {
    Conv2d {
        batch: 1,
        channels: 1,
        height: size[0],
        width: size[1],
        filters: 1,
        kernel,
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0; 4],
        group: 1,
    }
}

fn pool(size: [usize; 2], kernel: usize, stride: usize) -> Pool2d {
    Pool2d {
        batch: 1,
        channels: 1,
        height: size[0],
        width: size[1],
        kernel: [kernel; 2],
        strides: [stride; 2],
        dilations: [1, 1],
        pads: [0; 4],
        ceil_mode: false,
    }
}

#[test]
fn sizes_follow_onnx() {
    let stem = Conv2d { strides: [2, 2], pads: [3, 3, 3, 3], ..conv([224, 224], [7, 7]) };
    assert_eq!(stem.out_size(), Some([112, 112]));
    let dilated = Conv2d { dilations: [2, 3], pads: [1, 0, 0, 2], ..conv([5, 7], [3, 2]) };
    assert_eq!(dilated.out_size(), Some([2, 6]));
    let ceil = Pool2d { ceil_mode: true, ..pool([5, 6], 2, 2) };
    assert_eq!(ceil.out_size(), Some([3, 3]));
    // The window that would start at 6, past 3 rows and 2 of padding before them, is left out.
    let late = Pool2d { ceil_mode: true, pads: [2, 2, 2, 2], ..pool([3, 3], 3, 3) };
    assert_eq!(late.out_size(), Some([2, 2]));
}

#[test]
fn sizes_that_describe_nothing_are_refused() {
    let refused = [
        conv([2, 2], [3, 1]),
        conv([2, 2], [0, 1]),
        Conv2d { strides: [0, 1], ..conv([2, 2], [1, 1]) },
        Conv2d { dilations: [1, 0], ..conv([2, 2], [1, 1]) },
        Conv2d { group: 0, ..conv([2, 2], [1, 1]) },
        Conv2d { group: 2, filters: 2, ..conv([2, 2], [1, 1]) },
        Conv2d { pads: [usize::MAX, 0, 0, 0], ..conv([2, 2], [1, 1]) },
        Conv2d { kernel: [usize::MAX / 2, 1], dilations: [3, 1], ..conv([2, 2], [1, 1]) },
        Conv2d { batch: usize::MAX, ..conv([2, 2], [1, 1]) },
        Conv2d { pads: [1 << 40, 1 << 40, 0, 0], ..conv([2, 2], [1, 1]) },
    ];
    for conv in refused {
        assert_eq!(conv.out_size(), None, "{conv:?}");
        assert_eq!(conv2d::<f32>(&conv, &[0.0; 4], &[0.0; 3], None), Err(Error::Geometry));
    }
    let huge = Conv2d { pads: [1 << 50, 0, 0, 0], ..conv([2, 2], [1, 1]) };
    assert!(matches!(conv2d::<f32>(&huge, &[0.0; 4], &[0.0], None), Err(Error::Memory { .. })));
    assert_eq!(
        conv2d::<f32>(&conv([2, 2], [1, 1]), &[0.0; 3], &[0.0], None),
        Err(Error::Length { operand: "input", expected: 4, found: 3 })
    );
}

#[test]
fn convolution_by_hand() {
    let conv = Conv2d { pads: [0, 1, 0, 0], ..conv([2, 3], [2, 2]) };
    let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let out = conv2d::<f32>(&conv, &input, &[1.0, 10.0, 100.0, 1000.0], Some(&[0.5]));
    assert_eq!(out, Ok(vec![4010.5, 5421.5, 6532.5]));
    let input = [1u8, 2, 3, 4, 5, 6];
    let out = conv2d_integer::<u8, i32>(&conv, &input, &[1, 10, 100, -100], Some(&[7]), Some(&[-300]));
    assert_eq!(out, Ok(vec![-300 + 10 - 30000 - 400 + 7, 1 + 20 + 400 - 500 + 7, 2 + 30 + 500 - 600 + 7]));
}

/// The product is not rounded before the addition, and the bias comes after the sum.
#[test]
fn sums_are_fused_and_ordered() {
    let e = f32::EPSILON;
    let out = dense(1, 2, 1, &[-1.0, 1.0 + e], &[1.0, 1.0 - e], None);
    assert_eq!(out, Ok(vec![-e * e]));
    let out = dense(1, 2, 1, &[1e8f32, -1e8], &[1.0, 1.0], Some(&[1.0]));
    assert_eq!(out, Ok(vec![1.0]));
    let out = matmul(1, 3, 1, &[1e8f32, 1.0, -1e8], &[1.0, 1.0, 1.0]);
    assert_eq!(out, Ok(vec![0.0]));
}

#[test]
fn pools_by_hand() {
    let pool = Pool2d { ceil_mode: true, pads: [0, 1, 0, 1], ..pool([1, 4], 2, 3) };
    let pool = Pool2d { kernel: [1, 2], ..pool };
    assert_eq!(pool.out_size(), Some([1, 2]));
    assert_eq!(max_pool(&pool, &[-5i8, -6, -8, -7]), Ok(vec![-5, -7]));
    assert_eq!(avg_pool(&pool, false, &[-5.0f32, -6.0, -8.0, -7.0]), Ok(vec![-5.0, -7.5]));
    assert_eq!(avg_pool(&pool, true, &[-5.0f32, -6.0, -8.0, -7.0]), Ok(vec![-2.5, -7.5]));
    // 1 2 3 4 5 in windows of 2 by 2, the last one reaching past the end.
    let last = Pool2d { kernel: [1, 2], ceil_mode: true, ..self::pool([1, 5], 2, 2) };
    assert_eq!(avg_pool(&last, true, &[1.0f64, 2.0, 3.0, 4.0, 5.0]), Ok(vec![1.5, 3.5, 5.0]));
}

#[test]
fn a_window_of_padding_is_defined() {
    let pool = Pool2d { pads: [0, 2, 0, 0], kernel: [1, 1], ..pool([1, 1], 1, 1) };
    assert_eq!(max_pool(&pool, &[3i32]), Ok(vec![i32::MIN, i32::MIN, 3]));
    assert_eq!(max_pool(&pool, &[3.0f32]), Ok(vec![f32::NEG_INFINITY, f32::NEG_INFINITY, 3.0]));
    assert_eq!(avg_pool(&pool, false, &[3.0f32]), Ok(vec![0.0, 0.0, 3.0]));
    assert_eq!(avg_pool(&pool, true, &[3.0f32]), Ok(vec![0.0, 0.0, 3.0]));
}

#[test]
fn windows_may_be_far_larger_than_the_input() {
    // Two outputs an axis: all of the input but its last row and column, and all of it.
    let kernel = 1 << 29;
    let pool = Pool2d { kernel: [kernel; 2], pads: [kernel - 3, kernel - 3, 0, 0], ..pool([4, 4], 1, 1) };
    let pool = Pool2d { kernel: [kernel; 2], ..pool };
    let input: Vec<f32> = (0..16u8).map(f32::from).collect();
    assert_eq!(max_pool(&pool, &input), Ok(vec![10.0, 11.0, 14.0, 15.0]));
    assert_eq!(avg_pool(&pool, false, &input), Ok(vec![5.0, 5.5, 7.0, 7.5]));
}

#[test]
fn global_reductions() {
    assert_eq!(global_sum(2, 2, &[1i32, 2, -3, i32::MIN]), Ok(vec![3, i32::MAX - 2]));
    assert_eq!(global_average(2, 2, &[1.0f32, 2.0, -3.0, 5.0]), Ok(vec![1.5, 1.0]));
    assert_eq!(global_average::<f32>(2, 0, &[]), Err(Error::Geometry));
    assert_eq!(global_sum::<i64>(2, 0, &[]), Ok(vec![0, 0]));
}

#[test]
fn transposed_convolution_by_hand() {
    let conv = ConvTranspose2d {
        batch: 1,
        channels: 1,
        height: 1,
        width: 3,
        filters: 1,
        kernel: [1, 3],
        strides: [1, 2],
        dilations: [1, 1],
        pads: [0; 4],
        output_padding: [0, 1],
        group: 1,
    };
    assert_eq!(conv.out_size(), Some([1, 8]));
    let out = conv_transpose2d::<f32>(&conv, &[1.0, 2.0, 3.0], &[1.0, 10.0, 100.0], Some(&[0.5]));
    assert_eq!(out, Ok(vec![1.5, 10.5, 102.5, 20.5, 203.5, 30.5, 300.5, 0.5]));
    let cut = ConvTranspose2d { pads: [0, 4, 0, 2], output_padding: [0, 0], ..conv.clone() };
    assert_eq!(conv_transpose2d_integer(&cut, &[1i8, 2, 3], &[1, 10, 100], Some(&[-3i64])), Ok(vec![200]));
    // A dilation of 2 keeps every tap on the even outputs.
    let dilated = ConvTranspose2d { dilations: [1, 2], output_padding: [0, 0], ..conv.clone() };
    let out = conv_transpose2d_integer(&dilated, &[1i8, 2, 3], &[1, 10, 100], None::<&[i32]>);
    assert_eq!(out, Ok(vec![1, 0, 12, 0, 123, 0, 230, 0, 300]));
    for refused in [
        ConvTranspose2d { pads: [0, 4, 0, 4], ..conv.clone() },
        ConvTranspose2d { width: 0, ..conv.clone() },
        ConvTranspose2d { strides: [1, usize::MAX], ..conv.clone() },
        ConvTranspose2d { output_padding: [0, usize::MAX], ..conv.clone() },
        ConvTranspose2d { group: 2, filters: 2, ..conv },
    ] {
        assert_eq!(refused.out_size(), None, "{refused:?}");
    }
}
