//! Choosing the cheapest form on the shared graph (DAG): what two readers share is paid once.
//!
//! Optimal choice is NP-hard. Classes are settled in order of total cost, each by the candidate
//! whose set of settled classes costs least (ties: the earlier candidate); a class is settled
//! after everything below it, so the result has no cycle. Sets stay small because a *closed*
//! class, one through which everything below it is reached, stands for all of that as one item:
//! the work is near-linear in the length of a network.
//!
//! A class is settled without knowing what others will need anyway. So within each region, from
//! one closed class to the next, single choices are then changed as long as the region costs less.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::cost::Cost;

/// One form of a class.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Classes it reads.
    pub children: Vec<usize>,
    /// Its own cost, without the children's.
    pub cost: Cost,
}

/// The position of the chosen candidate of every class that `roots` can have in a finite form.
/// Candidates of equal total cost are preferred in their order.
pub fn extract(classes: &[Vec<Candidate>], roots: &[usize]) -> Vec<Option<usize>> {
    let closed = closed(classes, roots);
    let mut state = Settling { classes, closed, settled: vec![None; classes.len()] };
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
    let mut regions = Regions {
        classes,
        closed: &state.closed,
        chosen: state.settled.iter().map(|s| s.as_ref().map(|s| s.candidate)).collect(),
        weight: state.settled.iter().map(|s| s.as_ref().map_or(Cost::default(), |s| s.weight)).collect(),
        seen: vec![0; classes.len()],
        stamp: 0,
    };
    for class in order.into_iter().filter(|&class| state.closed[class]) {
        regions.improve(&[class]);
    }
    regions.improve(roots);
    regions.chosen
}

/// The choices, to be improved region by region, the lowest first.
struct Regions<'a> {
    classes: &'a [Vec<Candidate>],
    closed: &'a [bool],
    chosen: Vec<Option<usize>>,
    /// Of closed classes, the cost of all below them.
    weight: Vec<Cost>,
    /// Classes visited by the walk of that number.
    seen: Vec<u64>,
    stamp: u64,
}

/// Steps that a region may take to be improved; larger ones stay as they were settled.
const PATIENCE: usize = 1 << 24;
/// Times that all choices of a region are tried.
const ROUNDS: usize = 4;

impl Regions<'_> {
    /// Tries other candidates for each class between `heads` and the closed classes below.
    fn improve(&mut self, heads: &[usize]) {
        let members = self.members(heads);
        let open: Vec<usize> =
            members.iter().copied().filter(|&class| self.classes[class].len() > 1).collect();
        let trials: usize = open.iter().map(|&class| self.classes[class].len() - 1).sum();
        let Some(mut best) = self.cost(heads) else { return };
        if trials.saturating_mul(members.len()).saturating_mul(ROUNDS) <= PATIENCE {
            for _ in 0..ROUNDS {
                let before = best;
                for &class in &open {
                    for at in 0..self.classes[class].len() {
                        let old = self.chosen[class];
                        if old == Some(at) || !self.feasible(class, at) {
                            continue;
                        }
                        self.chosen[class] = Some(at);
                        match self.cost(heads) {
                            Some(cost) if cost < best => best = cost,
                            _ => self.chosen[class] = old,
                        }
                    }
                }
                if best == before {
                    break;
                }
            }
        }
        if let [head] = heads
            && self.closed[*head]
        {
            self.weight[*head] = best;
        }
    }

    fn feasible(&self, class: usize, at: usize) -> bool {
        self.classes[class][at].children.iter().all(|&child| self.chosen[child].is_some())
    }

    /// Classes of a region: those that `heads` reach by any candidate without going below another
    /// closed class.
    fn members(&mut self, heads: &[usize]) -> Vec<usize> {
        self.stamp += 1;
        let mut members = Vec::new();
        let mut stack: Vec<usize> = heads.iter().rev().copied().collect();
        while let Some(class) = stack.pop() {
            if std::mem::replace(&mut self.seen[class], self.stamp) == self.stamp {
                continue;
            }
            if self.closed[class] && heads != [class] {
                continue;
            }
            members.push(class);
            stack.extend(self.classes[class].iter().flat_map(|candidate| &candidate.children));
        }
        members.sort_unstable();
        members
    }

    /// What the chosen candidates of a region cost; `None` if they have a cycle, or lack one.
    fn cost(&mut self, heads: &[usize]) -> Option<Cost> {
        // Two stamps: on the path (odd step) and done.
        self.stamp += 2;
        let (path, done) = (self.stamp - 1, self.stamp);
        let mut total = Cost::default();
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for &head in heads {
            if self.seen[head] == done {
                continue;
            }
            stack.push((head, 0));
            while let Some((class, next)) = stack.pop() {
                let inner = !self.closed[class] || heads == [class];
                let candidate = &self.classes[class][self.chosen[class]?];
                if next == 0 {
                    self.seen[class] = path;
                    total = total + if inner { candidate.cost } else { self.weight[class] };
                }
                match candidate.children.get(next).filter(|_| inner) {
                    Some(&child) => {
                        stack.push((class, next + 1));
                        if self.seen[child] == path {
                            return None;
                        }
                        if self.seen[child] != done {
                            stack.push((child, 0));
                        }
                    }
                    None => self.seen[class] = done,
                }
            }
        }
        Some(total)
    }
}

#[derive(Clone)]
struct Settled {
    candidate: usize,
    /// Items that a reader pays for: classes, ascending.
    items: Vec<usize>,
    /// What this class weighs as an item: its own cost, or all below it where it is closed.
    weight: Cost,
}

struct Settling<'a> {
    classes: &'a [Vec<Candidate>],
    closed: Vec<bool>,
    settled: Vec<Option<Settled>>,
}

impl Settling<'_> {
    /// Total cost of a candidate whose children are settled, and the items below it.
    fn total(&self, class: usize, at: usize) -> (Cost, Vec<usize>) {
        let candidate = &self.classes[class][at];
        let mut items: Vec<usize> = Vec::new();
        for &child in &candidate.children {
            if let Some(settled) = &self.settled[child] {
                items = union(&items, &settled.items);
            }
        }
        let weights = items.iter().filter_map(|&item| self.settled[item].as_ref()).map(|item| item.weight);
        (weights.fold(candidate.cost, |sum, weight| sum + weight), items)
    }

    fn settle(&mut self, class: usize, candidate: usize) {
        let (total, mut items) = self.total(class, candidate);
        let own = self.classes[class][candidate].cost;
        let settled = if self.closed[class] {
            Settled { candidate, items: vec![class], weight: total }
        } else {
            if own != Cost::default() {
                items = union(&items, &[class]);
            }
            Settled { candidate, items, weight: own }
        };
        self.settled[class] = Some(settled);
    }
}

/// The union of two ascending lists.
fn union(a: &[usize], b: &[usize]) -> Vec<usize> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        out.push(a[i].min(b[j]));
        let (x, y) = (a[i], b[j]);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    out.extend_from_slice(&a[i..]);
    out.extend_from_slice(&b[j..]);
    out
}

/// Which classes are closed: every path from a root to something below the class goes through it.
/// Classes that cost nothing and read nothing (constants, inputs) do not count as something.
fn closed(classes: &[Vec<Candidate>], roots: &[usize]) -> Vec<bool> {
    let n = classes.len();
    let free = |class: usize| {
        classes[class].iter().any(|form| form.children.is_empty() && form.cost == Cost::default())
    };
    let free: Vec<bool> = (0..n).map(free).collect();
    // Node n is the root of all roots.
    let mut children: Vec<Vec<usize>> = classes
        .iter()
        .map(|forms| {
            let mut all: Vec<usize> =
                forms.iter().flat_map(|form| &form.children).copied().filter(|&c| !free[c]).collect();
            all.sort_unstable();
            all.dedup();
            all
        })
        .collect();
    children.push(roots.iter().copied().filter(|&c| !free[c]).collect());

    let order = postorder(&children, n);
    let idom = dominators(&children, &order, n);
    let mut depth = vec![0usize; n + 1];
    for &class in order.iter().rev().skip(1) {
        depth[class] = depth[idom[class]] + 1;
    }
    // The least depth of a dominator of anything that is read from below a class: were it above
    // the class, there would be a path that avoids it.
    let mut least = vec![usize::MAX; n + 1];
    for &class in &order {
        for &child in &children[class] {
            least[class] = least[class].min(depth[idom[child]]);
        }
    }
    let mut result = vec![false; n];
    let mut by_depth: Vec<usize> = order.iter().copied().filter(|&class| class != n).collect();
    by_depth.sort_by_key(|&class| Reverse(depth[class]));
    for class in by_depth {
        result[class] = least[class] >= depth[class];
        let parent = idom[class];
        least[parent] = least[parent].min(least[class]);
    }
    result
}

/// Everything reachable from `root`, children before their readers where there is no cycle.
fn postorder(children: &[Vec<usize>], root: usize) -> Vec<usize> {
    let mut seen = vec![false; children.len()];
    let mut order = Vec::new();
    let mut stack = vec![(root, 0)];
    seen[root] = true;
    while let Some((class, next)) = stack.pop() {
        match children[class].get(next) {
            Some(&child) => {
                stack.push((class, next + 1));
                if !std::mem::replace(&mut seen[child], true) {
                    stack.push((child, 0));
                }
            }
            None => order.push(class),
        }
    }
    order
}

/// The immediate dominator of each reachable class (Cooper, Harvey and Kennedy, "A simple, fast
/// dominance algorithm"); of the root, itself.
fn dominators(children: &[Vec<usize>], order: &[usize], root: usize) -> Vec<usize> {
    let mut number = vec![usize::MAX; children.len()];
    let mut parents: Vec<Vec<usize>> = vec![Vec::new(); children.len()];
    for (at, &class) in order.iter().enumerate() {
        number[class] = at;
        for &child in &children[class] {
            parents[child].push(class);
        }
    }
    const NONE: usize = usize::MAX;
    let mut idom = vec![NONE; children.len()];
    idom[root] = root;
    let mut changed = true;
    while changed {
        changed = false;
        for &class in order.iter().rev().skip(1) {
            let mut new = NONE;
            for &parent in parents[class].iter().filter(|&&parent| idom[parent] != NONE) {
                new = if new == NONE { parent } else { meet(&idom, &number, new, parent) };
            }
            // Reverse postorder has a parent of every class before it, so `new` is set.
            if idom[class] != new {
                idom[class] = new;
                changed = true;
            }
        }
    }
    return idom;

    fn meet(idom: &[usize], number: &[usize], mut a: usize, mut b: usize) -> usize {
        while a != b {
            while number[a] < number[b] {
                a = idom[a];
            }
            while number[b] < number[a] {
                b = idom[b];
            }
        }
        a
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
        assert_eq!(extract(&classes, &[4]), [Some(0); 5]);
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
        assert_eq!(extract(&classes, &[3]), [Some(0), Some(0), Some(0), Some(0)]);
        assert_eq!(extract(&classes, &[1, 2]), [Some(0), Some(0), Some(0), Some(0)]);
        assert_eq!(extract(&classes, &[2])[2], Some(1));
    }

    #[test]
    fn equal_costs_take_the_first_and_cycles_are_never_taken() {
        let classes = vec![
            vec![form(&[], 0)],
            // x = f(x) for nothing, or g(input) either way.
            vec![form(&[1], 0), form(&[0], 3), form(&[0], 3)],
        ];
        assert_eq!(extract(&classes, &[1]), [Some(0), Some(1)]);
    }

    #[test]
    fn a_class_without_finite_form_has_none() {
        assert_eq!(extract(&[vec![form(&[0], 1)]], &[0]), [None]);
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
        let start = std::time::Instant::now();
        let chosen = extract(&classes, &[classes.len() - 1]);
        assert_eq!(chosen.iter().filter(|at| **at == Some(1)).count(), 20_000);
        // Quadratic work would take minutes.
        assert!(start.elapsed().as_secs() < 20);
    }
}
