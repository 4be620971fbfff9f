//! Operands of different sizes as one: which elements meet.

use super::{Element, Tensor, dispatch};

/// A result whose operands are broadcast, in rows: along a row, each operand goes on by one element or
/// stays where it is.
pub struct Rows<const N: usize> {
    /// Results in a row.
    pub length: usize,
    /// By how much each operand goes on along a row: 1 or 0.
    pub steps: [usize; N],
    /// The axes outside a row, the innermost first: sizes, and how far apart the elements of each operand lie.
    outer: Vec<(usize, [usize; N])>,
}

impl<const N: usize> Rows<N> {
    /// The rows of a result of `sizes`; `None` where an operand does not stretch to them.
    pub fn new(sizes: &[usize], operands: [&[usize]; N]) -> Option<Self> {
        let mut axes: Vec<(usize, [usize; N])> = Vec::new();
        let mut apart = [1; N];
        let empty = sizes.contains(&0);
        for (from_end, &size) in (1..).zip(sizes.iter().rev()) {
            let mut steps = [0; N];
            for ((step, apart), operand) in steps.iter_mut().zip(&mut apart).zip(operands) {
                match operand.len().checked_sub(from_end).map(|axis| operand[axis]) {
                    Some(own) if own == size => {
                        *step = *apart;
                        *apart *= size;
                    }
                    None | Some(1) => {}
                    Some(_) => return None,
                }
            }
            match axes.last_mut() {
                _ if size == 1 || empty => {}
                // An axis that goes on where the one within it ends is one with it.
                Some((inner, within)) if within.map(|step| step * *inner) == steps => {
                    *inner = inner.saturating_mul(size);
                }
                _ => axes.push((size, steps)),
            }
        }
        if operands.iter().any(|operand| operand.len() > sizes.len()) {
            return None;
        }
        let (length, steps) = match axes.is_empty() {
            true => (usize::from(!empty), [0; N]),
            false => axes.remove(0),
        };
        Some(Self { length, steps, outer: axes })
    }

    /// Where each operand begins, row by row.
    pub fn each(&self, row: &mut dyn FnMut([usize; N])) {
        let count = self.outer.iter().map(|(size, _)| size).product::<usize>();
        let mut at = [0; N];
        let mut index = vec![0; self.outer.len()];
        for _ in 0..if self.length == 0 { 0 } else { count } {
            row(at);
            for (index, (size, steps)) in index.iter_mut().zip(&self.outer) {
                *index += 1;
                at = std::array::from_fn(|n| at[n] + steps[n]);
                if *index < *size {
                    break;
                }
                *index = 0;
                at = std::array::from_fn(|n| at[n] - steps[n] * size);
            }
        }
    }
}

impl Tensor {
    /// The tensor stretched to `sizes` by broadcasting; `None` if they are not what it stretches to, or
    /// more than memory holds.
    pub fn stretched(&self, sizes: &[usize]) -> Option<Tensor> {
        fn go<T: Element>(x: &[T], rows: &Rows<1>, sizes: &[usize], count: usize) -> Option<Tensor> {
            let mut y = Vec::new();
            y.try_reserve_exact(count).ok()?;
            rows.each(&mut |[at]| match rows.steps {
                [0] => y.resize(y.len() + rows.length, x[at]),
                _ => y.extend_from_slice(&x[at..at + rows.length]),
            });
            Tensor::new(sizes, y)
        }
        let count = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
        let rows = Rows::new(sizes, [self.sizes()])?;
        dispatch!(self, array => go(array.as_slice()?, &rows, sizes, count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_that_do_not_stretch_have_no_rows() {
        for (sizes, operand) in [(&[2, 3][..], &[2][..]), (&[3], &[1, 3]), (&[0], &[2]), (&[2], &[0])] {
            assert!(Rows::new(sizes, [operand]).is_none(), "{operand:?} to {sizes:?}");
        }
        assert_eq!(Tensor::scalar(1u8).stretched(&[2, 0]), Tensor::new::<u8>(&[2, 0], vec![]));
        assert_eq!(Tensor::scalar(1u8).stretched(&[usize::MAX, 2]), None);
        assert_eq!(Tensor::scalar(1u8).stretched(&[]), Some(Tensor::scalar(1u8)));
    }

    #[test]
    fn axes_that_follow_each_other_are_one_row() {
        let rows = Rows::new(&[2, 3, 4, 1, 5], [&[2, 3, 4, 1, 5], &[1, 4, 1, 5]]).unwrap();
        assert_eq!((rows.length, rows.steps), (20, [1, 1]));
        let rows = Rows::new(&[2, 3, 4, 5], [&[2, 3, 4, 5], &[3, 1, 1]]).unwrap();
        assert_eq!((rows.length, rows.steps), (20, [1, 0]));
    }

    proptest! {
        /// An operand is read at the index taken modulo its sizes, the axes being aligned at the end.
        #[test]
        fn rows_read_what_the_indices_say(
            sizes in prop::collection::vec(0usize..4, 0..5),
            stretched in prop::collection::vec(any::<bool>(), 5),
            missing in 0usize..5,
        ) {
            let mut own: Vec<usize> =
                sizes.iter().zip(&stretched).map(|(&size, &one)| if one { 1 } else { size }).collect();
            own.drain(..missing.min(own.len()));
            let x: Vec<u32> = (0..own.iter().product::<usize>() as u32).collect();
            let y = Tensor::new(&own, x).unwrap().stretched(&sizes).unwrap();
            prop_assert_eq!(y.sizes(), &sizes[..]);
            for (at, &found) in y.elements::<u32>().unwrap().iter().enumerate() {
                let (mut rest, mut from, mut step) = (at, 0, 1);
                for (&size, &own) in sizes.iter().rev().zip(own.iter().rev()) {
                    from += rest % size % own * step;
                    rest /= size;
                    step *= own;
                }
                prop_assert_eq!(found as usize, from);
            }
        }
    }
}
