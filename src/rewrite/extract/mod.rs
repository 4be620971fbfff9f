//! Choosing the cheapest form on the shared graph (DAG): what two readers share is paid once.
//!
//! Optimal choice is NP-hard. Classes are settled in order of total cost, each by the candidate
//! whose set of settled classes costs least (ties: the earlier candidate); a class is settled
//! after everything below it, so the result has no cycle. Sets share their parts, and a *closed*
//! class, one through which everything below it is reached, stands for all of that as one item:
//! the work is near-linear in the length of a network, whatever is read again further on.
//!
//! A class is settled without knowing what others will need anyway. So within each region, from
//! one closed class to the next, single choices are then changed as long as the region costs less.

mod closed;
mod items;
mod regions;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use self::closed::closed;
use self::items::{Items, Sets};
use self::regions::Regions;
use super::cost::Cost;

/// One form of a class.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Classes it reads.
    pub children: Vec<usize>,
    /// Its own cost, without the children's.
    pub cost: Cost,
}

pub struct Extracted {
    /// The position of the chosen candidate of every class that the roots can have in a finite form.
    pub chosen: Vec<Option<usize>>,
    /// The work that it took: classes and parts of sets that were looked at.
    pub steps: usize,
}

/// The cheapest candidates for `roots`. Those of equal total cost are preferred in their order.
pub fn extract(classes: &[Vec<Candidate>], roots: &[usize]) -> Extracted {
    let closed = closed(classes, roots);
    let settled = vec![None; classes.len()];
    let mut state = Settling { classes, closed, settled, sets: Sets::new(classes.len()) };
    let mut order = Vec::with_capacity(classes.len());
    // Candidates that wait for a class, and how many classes each waits for.
    let mut readers: Vec<Vec<(usize, usize)>> = vec![Vec::new(); classes.len()];
    let mut waiting: Vec<Vec<usize>> = Vec::with_capacity(classes.len());
    let mut ready = BinaryHeap::new();
    for (class, candidates) in classes.iter().enumerate() {
        let mut counts = Vec::with_capacity(candidates.len());
        for (at, candidate) in candidates.iter().enumerate() {
            let mut children = candidate.children.clone();
            children.sort_unstable();
            children.dedup();
            counts.push(children.len());
            for &child in &children {
                readers[child].push((class, at));
            }
            if children.is_empty() {
                ready.push(Reverse((candidate.cost, at, class)));
            }
        }
        waiting.push(counts);
    }
    while let Some(Reverse((_, at, class))) = ready.pop() {
        if state.settled[class].is_some() {
            continue;
        }
        state.settle(class, at);
        order.push(class);
        for &(reader, at) in &readers[class] {
            waiting[reader][at] -= 1;
            if waiting[reader][at] == 0 && state.settled[reader].is_none() {
                let (total, _) = state.total(reader, at);
                ready.push(Reverse((total, at, reader)));
            }
        }
    }
    let chosen = state.settled.iter().map(|s| s.as_ref().map(|s| s.candidate)).collect();
    let weight = state.settled.iter().map(|s| s.as_ref().map_or(Cost::default(), |s| s.weight)).collect();
    let mut regions = Regions::new(classes, &state.closed, chosen, weight);
    for class in order.into_iter().filter(|&class| state.closed[class]) {
        regions.improve(&[class]);
    }
    regions.improve(roots);
    Extracted { chosen: regions.chosen, steps: state.sets.steps + regions.steps }
}

#[derive(Clone)]
struct Settled {
    candidate: usize,
    /// Classes that a reader pays for.
    items: Items,
    /// What this class weighs as an item: its own cost, or all below it where it is closed.
    weight: Cost,
}

struct Settling<'a> {
    classes: &'a [Vec<Candidate>],
    closed: Vec<bool>,
    settled: Vec<Option<Settled>>,
    sets: Sets,
}

impl Settling<'_> {
    /// Total cost of a candidate whose children are settled, and the items below it.
    fn total(&mut self, class: usize, at: usize) -> (Cost, Items) {
        let candidate = &self.classes[class][at];
        let mut items = Items::NONE;
        for &child in &candidate.children {
            if let Some(settled) = &self.settled[child] {
                items = self.sets.union(items, settled.items);
            }
        }
        (candidate.cost + self.sets.weight(items), items)
    }

    fn settle(&mut self, class: usize, candidate: usize) {
        let (total, items) = self.total(class, candidate);
        let own = self.classes[class][candidate].cost;
        let settled = if self.closed[class] {
            Settled { candidate, items: self.sets.single(class, total), weight: total }
        } else if own == Cost::default() {
            Settled { candidate, items, weight: own }
        } else {
            let single = self.sets.single(class, own);
            Settled { candidate, items: self.sets.union(items, single), weight: own }
        };
        self.settled[class] = Some(settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(children: &[usize], float: u64) -> Candidate {
        Candidate { children: children.to_vec(), cost: Cost { float, ..Cost::default() } }
    }

    #[test]
    fn what_two_readers_share_is_paid_once() {
        // 0: input; 1: shared, dear; 2 and 3 read it, or pay a little less than it for their own.
        let classes = vec![
            vec![form(&[], 0)],
            vec![form(&[0], 10)],
            vec![form(&[1], 1)],
            vec![form(&[1], 1), form(&[0], 10)],
            vec![form(&[2, 3], 1)],
        ];
        assert_eq!(extract(&classes, &[4]).chosen, [Some(0); 5]);
    }

    #[test]
    fn what_is_needed_anyway_is_used() {
        // 1 is a root; 2 is cheaper without it, but it is there.
        let classes = vec![
            vec![form(&[], 0)],
            vec![form(&[0], 10)],
            vec![form(&[1], 2), form(&[0], 11)],
            vec![form(&[1, 2], 1)],
        ];
        assert_eq!(extract(&classes, &[3]).chosen, [Some(0), Some(0), Some(0), Some(0)]);
        assert_eq!(extract(&classes, &[1, 2]).chosen, [Some(0), Some(0), Some(0), Some(0)]);
        assert_eq!(extract(&classes, &[2]).chosen[2], Some(1));
    }

    #[test]
    fn equal_costs_take_the_first_and_cycles_are_never_taken() {
        let classes = vec![
            vec![form(&[], 0)],
            // x = f(x) for nothing, or g(input) either way.
            vec![form(&[1], 0), form(&[0], 3), form(&[0], 3)],
        ];
        assert_eq!(extract(&classes, &[1]).chosen, [Some(0), Some(1)]);
    }

    #[test]
    fn a_class_without_finite_form_has_none() {
        assert_eq!(extract(&[vec![form(&[0], 1)]], &[0]).chosen, [None]);
    }

    #[test]
    fn articulation_classes_are_closed_and_bypassed_ones_are_not() {
        // input 0 <- 1 <- 2 <- 4, 1 <- 3 <- 4 <- 5: a block with a shortcut.
        let classes = vec![
            vec![form(&[], 0)],
            vec![form(&[0], 1)],
            vec![form(&[1], 1)],
            vec![form(&[1], 1)],
            vec![form(&[2, 3], 1)],
            vec![form(&[4], 1)],
        ];
        assert_eq!(closed(&classes, &[5]), [false, true, false, false, true, true]);
    }

    #[test]
    fn a_long_chain_of_blocks_takes_linear_work() {
        let mut classes = vec![vec![form(&[], 0)], vec![form(&[0], 1)]];
        for _ in 0..20_000 {
            let last = classes.len() - 1;
            classes.push(vec![form(&[last], 2), form(&[last], 1)]);
            classes.push(vec![form(&[last + 1, last], 1)]);
        }
        let extracted = extract(&classes, &[classes.len() - 1]);
        assert_eq!(extracted.chosen.iter().filter(|at| **at == Some(1)).count(), 20_000);
        assert!(extracted.steps < 100 * classes.len(), "{}", extracted.steps);
    }

    #[test]
    fn what_is_read_again_at_the_end_takes_near_linear_work() {
        // A way down whose every class is read again on the way back: no class is closed.
        let mut classes = vec![vec![form(&[], 0)], vec![form(&[0], 1)]];
        let mut down = vec![1];
        let mut last = 1;
        let mut push = |children: &[usize]| {
            let at = classes.len();
            classes.push(vec![form(children, 3)]);
            classes.push(vec![form(&[at], 2), form(children, 1)]);
            at + 1
        };
        for _ in 0..10_000 {
            last = push(&[last]);
            down.push(last);
        }
        for beside in down.into_iter().rev().skip(1) {
            last = push(&[last, beside]);
        }
        let extracted = extract(&classes, &[last]);
        assert_eq!(extracted.chosen.iter().filter(|at| **at == Some(1)).count(), 20_000);
        assert!(extracted.steps < 200 * classes.len(), "{}", extracted.steps);
    }
}
