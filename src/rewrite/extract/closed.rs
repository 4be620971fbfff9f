//! Which classes everything below them is reached through.

use std::cmp::Reverse;

use super::Candidate;
use crate::rewrite::cost::Cost;

/// Which classes are closed: every path from a root to something below the class goes through it.
/// Classes that cost nothing and read nothing (constants, inputs) do not count as something.
pub fn closed(classes: &[Vec<Candidate>], roots: &[usize]) -> Vec<bool> {
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
