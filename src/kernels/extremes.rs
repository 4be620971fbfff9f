//! Smallest and largest elements.

use super::isa::{Isa, in_vectors};
use super::team;

/// Smallest and largest element of each run of `length`, NaN passed over: infinity and negative infinity where there is
/// none. A zero has no sign.
pub fn extremes(elements: &[f32], length: usize) -> Vec<(f32, f32)> {
    /// Fewer elements are not worth another thread.
    const TOGETHER: usize = 1 << 14;
    let isa = Isa::best();
    let mut found = vec![(0.0, 0.0); elements.len().checked_div(length).unwrap_or(0)];
    team::for_each_chunk(&mut found, 1, TOGETHER.div_ceil(length.max(1)), |run, found| {
        found[0] = of_run(isa, &elements[run * length..(run + 1) * length]);
    });
    found
}

fn of_run(isa: Isa, elements: &[f32]) -> (f32, f32) {
    /// Elements that are looked at side by side; which of two equal ones is kept does not show.
    const LANES: usize = 64;
    in_vectors!(
        isa,
        fn each(elements: &[f32]) -> (f32, f32) {
            let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
            let mut chunks = elements.chunks_exact(LANES);
            // Comparisons with NaN are false, so NaN is passed over.
            let less = |l: f32, v: f32| if v < l { v } else { l };
            let more = |h: f32, v: f32| if v > h { v } else { h };
            for chunk in &mut chunks {
                for i in 0..LANES {
                    low[i] = less(low[i], chunk[i]);
                    high[i] = more(high[i], chunk[i]);
                }
            }
            let rest = chunks.remainder().iter();
            let low = rest.clone().chain(&low).fold(f32::INFINITY, |l, &v| less(l, v));
            let high = rest.chain(&high).fold(f32::NEG_INFINITY, |h, &v| more(h, v));
            (low + 0.0, high + 0.0)
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_passed_over_and_zero_has_no_sign() {
        for isa in Isa::available() {
            assert_eq!(of_run(isa, &[]), (f32::INFINITY, f32::NEG_INFINITY));
            assert_eq!(of_run(isa, &[f32::NAN; 70]), (f32::INFINITY, f32::NEG_INFINITY));
            for at in 0..200 {
                let mut elements: Vec<f32> = (0..200).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
                elements[at] = f32::NAN;
                elements[(at + 7) % 200] = -1000.0;
                elements[(at + 131) % 200] = 1000.0;
                assert_eq!(of_run(isa, &elements), (-1000.0, 1000.0), "{isa:?} {at}");
            }
            let (low, high) = of_run(isa, &[-0.0, -0.0]);
            assert!(low.is_sign_positive() && high.is_sign_positive());
        }
        assert_eq!(extremes(&[1.0, -2.0, 5.0, 3.0], 2), [(-2.0, 1.0), (3.0, 5.0)]);
        assert_eq!(extremes(&[], 0), []);
    }
}
