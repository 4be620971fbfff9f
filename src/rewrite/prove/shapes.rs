//! Shapes that operands may have, given those that are there. What of it fits, inference says.

use super::choices::{Choices, Site};
use super::plan::Literals;

/// Ways to come to a shape from others.
const RELATED: usize = 19;

/// The largest size that is drawn where the rule speaks of it.
const MOST: usize = 1 << 12;

/// Sizes for an operand. `known` are the shapes of the operands of the same node that are there,
/// `others` those of all values.
pub fn sizes(
    choices: &mut Choices,
    site: Site,
    known: &[Vec<usize>],
    others: &[Vec<usize>],
    literals: &Literals,
) -> Vec<usize> {
    let Some(x) = known.first() else { return fresh(choices, site, literals) };
    let channels = x.get(1).or(x.first()).copied().unwrap_or(1);
    let last = x.last().copied().unwrap_or(1);
    let small = |choices: &mut Choices| 1 + choices.any(4);
    match choices.pick((site.0, "shape", site.2), RELATED) {
        0 => x.clone(),
        1 => Vec::new(),
        2 => vec![channels],
        3 => (0..x.len()).map(|axis| if axis == 1 { channels } else { 1 }).collect(),
        // Each axis as it is, or stretched.
        4 => x.iter().map(|&size| if choices.any(2) == 0 { size } else { 1 }).collect(),
        5 => {
            let from = choices.any(x.len() + 1);
            x.get(from..).unwrap_or_default().to_vec()
        }
        // Filters, of one group, of one channel each, and of several groups.
        6 => {
            let (k, l) = kernel(choices);
            vec![small(choices), channels, k, l]
        }
        7 => {
            let (k, l) = kernel(choices);
            vec![channels * (1 + choices.any(2)), 1, k, l]
        }
        8 => {
            let groups: Vec<usize> = (1..=channels).filter(|g| channels % g == 0).collect();
            let group = groups.get(choices.any(groups.len().max(1))).copied().unwrap_or(1);
            let filters = group * (1 + choices.any(2));
            vec![filters, channels / group, 1 + choices.any(3), 1 + choices.any(3)]
        }
        9 => vec![small(choices), last],
        10 => vec![last, small(choices)],
        // One for each filter, or each output.
        11 => vec![known.last().and_then(|w| w.first()).copied().unwrap_or(1)],
        12 => {
            let axis = choices.any(x.len().max(1));
            let new = small(choices);
            x.iter().enumerate().map(|(at, &size)| if at == axis { new } else { size }).collect()
        }
        13 => fresh(choices, site, literals),
        14 => vec![1; x.len()],
        15 => x.iter().enumerate().map(|(at, &size)| if at == 0 { 1 } else { size }).collect(),
        16 => vec![1],
        17 => {
            let mut grown = x.clone();
            grown.insert(0, 1 + choices.any(3));
            grown
        }
        _ => others.get(choices.any(others.len().max(1))).cloned().unwrap_or_default(),
    }
}

/// The sizes of a window, square or not.
fn kernel(choices: &mut Choices) -> (usize, usize) {
    let k = 1 + choices.any(3);
    (k, if choices.any(3) > 0 { 1 + choices.any(3) } else { k })
}

/// A shape of its own.
fn fresh(choices: &mut Choices, site: Site, literals: &Literals) -> Vec<usize> {
    let rank = choices.pick((site.0, "rank", site.2), 6);
    let named: Vec<usize> = literals
        .ints
        .iter()
        .filter_map(|&v| usize::try_from(v).ok())
        .filter(|v| (1..=MOST).contains(v))
        .collect();
    // Maps of one size say more than those of two, most of the time.
    let square = choices.any(3) > 0;
    // Sizes of 1 fit best, and hide most.
    let wide = choices.any(4) == 1;
    let mut sizes: Vec<usize> = Vec::with_capacity(rank);
    for axis in 0..rank {
        let size = match wide {
            true => 2 + choices.any(3),
            false => match choices.pick((site.0, "size", site.2 * 8 + axis), 8) {
                7 => named.get(choices.any(named.len().max(1))).copied().unwrap_or(2),
                size => size + 1,
            },
        };
        let size = match sizes.last() {
            Some(&before) if axis == 3 && square => before,
            _ if axis == 0 && rank > 1 => 1 + (size - 1) % 3,
            _ => size,
        };
        sizes.push(size);
    }
    sizes
}
