//! Functions of one number whose bits the device's lookup tables rest on (hardware-ops §9), in f32.
//!
//! Every step rounds to f32 and every `fma` once, so the bits are the same on every CPU. NaN stays NaN.

// Coefficients are written as the specification has them.
#![allow(clippy::excessive_precision, clippy::approx_constant)]

use super::Float;

/// The polynomial with these coefficients, the highest power first, by Horner's rule.
fn horner(x: f32, coefficients: &[f32]) -> f32 {
    let (&first, rest) = match coefficients.split_first() {
        Some(split) => split,
        None => return 0.0,
    };
    rest.iter().fold(first, |sum, &next| f32::fma(sum, x, next))
}

/// `1 / (1 + exp(-x))`, as a quotient of polynomials of x between -18 and 18.
pub fn sigmoid(x: f32) -> f32 {
    let x = x.clamp(-18.0, 18.0);
    let square = x * x;
    let p = horner(
        square,
        &[
            4.37031012579801e-11,
            1.15627324459942e-7,
            6.08574864600143e-5,
            8.51377133304701e-3,
            2.48287947061529e-1,
        ],
    );
    let q = horner(
        square,
        &[
            6.10247389755681e-13,
            5.76102136993427e-9,
            6.29106785017040e-6,
            1.70198817374094e-3,
            1.16817656904453e-1,
            9.93151921023180e-1,
        ],
    );
    (p * x / q + 0.5).clamp(0.0, 1.0)
}

/// The error function.
pub fn erf(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs().min(3.925);
    let magnitude = if a <= 0.921875 {
        let r = horner(
            a * a,
            &[-5.99104969e-4, 4.99339588e-3, -2.67667342e-2, 1.12818025e-1, -3.76124859e-1, 1.28379151e-1],
        );
        f32::fma(r, a, a)
    } else {
        let r = horner(
            a,
            &[
                1.72948930e-5,
                -3.83208680e-4,
                3.88393435e-3,
                -2.42545605e-2,
                1.06777847e-1,
                6.34846687e-1,
                1.28717512e-1,
            ],
        );
        1.0 - exp_of_negative(-f32::fma(r, a, a))
    };
    magnitude.copysign(x)
}

/// `exp(r)` for r from -20 to 0: a power of two times a polynomial of what is left.
fn exp_of_negative(r: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer.
    const SHIFT: f32 = 12_582_912.0;
    let n = f32::fma(r, 1.44269504, SHIFT) - SHIFT;
    let e = f32::fma(n, -6.93145752e-1, r);
    let e = f32::fma(n, -1.42860677e-6, e);
    let p = horner(e, &[1.38319808e-3, 8.37550033e-3, 4.16689515e-2, 1.66664466e-1, 4.99999851e-1, 1.0, 1.0]);
    // n is from -29 to 0, so this is a normal number.
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`.
pub fn gelu(x: f32) -> f32 {
    (0.5 * x) * (1.0 + erf(x / std::f32::consts::SQRT_2))
}

/// `x * sigmoid(alpha * x)`.
pub fn swish(x: f32, alpha: f32) -> f32 {
    x * sigmoid(alpha * x)
}

/// `x * clip(x / 6 + 1/2, 0, 1)`, the product with f32's 1/6 and the sum rounded apart.
pub fn hard_swish(x: f32) -> f32 {
    x * ((1.0f32 / 6.0) * x + 0.5).clamp(0.0, 1.0)
}

/// x, or `alpha * x` below zero.
pub fn leaky_relu(x: f32, alpha: f32) -> f32 {
    if x < 0.0 { x * alpha } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 2^13th float.
    fn samples() -> impl Iterator<Item = f32> {
        (0..=u32::MAX).step_by(1 << 13).map(f32::from_bits).filter(|x| !x.is_nan())
    }

    #[test]
    fn near_the_functions() {
        for x in samples() {
            let exact = f64::from(x);
            let near = |found: f32, expected: f64, bound: f64| {
                assert!((f64::from(found) - expected).abs() <= bound, "{x:e}: {found:e}, not {expected:e}");
            };
            near(sigmoid(x), 1.0 / (1.0 + libm::exp(-exact)), 2e-7);
            near(erf(x), libm::erf(exact), 2e-7);
            if x.abs() < 100.0 {
                near(gelu(x), exact / 2.0 * (1.0 + libm::erf(exact / 2f64.sqrt())), 1e-5);
                near(swish(x, 1.0), exact / (1.0 + libm::exp(-exact)), 1e-5);
            }
        }
    }

    #[test]
    fn ends() {
        assert_eq!((sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)), (1.0, 0.0));
        assert_eq!((erf(f32::INFINITY), erf(f32::NEG_INFINITY)), (1.0, -1.0));
        assert_eq!((hard_swish(4.0), hard_swish(-4.0), leaky_relu(-2.0, 0.5)), (4.0, -0.0, -1.0));
        for f in [sigmoid, erf, gelu, hard_swish] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
