//! Sets of classes that share their parts, so that the union of large sets that differ little is cheap.

use std::collections::HashMap;

use crate::rewrite::cost::Cost;

/// A set of one [`Sets`]; equal sets are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items(u32);

impl Items {
    pub const NONE: Self = Self(0);
}

/// Binary tries over the numbers of the classes: every set is a node, equal nodes are one. A class
/// weighs the same in every set.
pub struct Sets {
    nodes: Vec<Node>,
    known: HashMap<(u32, u32), u32>,
    /// Bits of a class number.
    bits: u32,
    /// Nodes looked at, over all.
    pub steps: usize,
}

#[derive(Clone, Copy)]
struct Node {
    /// Without and with the bit of this level; the leaf of a class has neither.
    parts: (u32, u32),
    weight: Cost,
}

impl Sets {
    /// For classes below `count`.
    pub fn new(count: usize) -> Self {
        let none = Node { parts: (0, 0), weight: Cost::default() };
        Self { nodes: vec![none], known: HashMap::new(), bits: usize::BITS - count.leading_zeros(), steps: 0 }
    }

    pub fn weight(&self, items: Items) -> Cost {
        self.nodes[items.0 as usize].weight
    }

    /// The set of one class, which was in no set before.
    pub fn single(&mut self, class: usize, weight: Cost) -> Items {
        let mut node = self.push((0, 0), weight);
        for level in 0..self.bits {
            node = self.node(if class >> level & 1 == 0 { (node, 0) } else { (0, node) });
        }
        Items(node)
    }

    /// The work is as large as what is in one set and not in the other, and in the same parts.
    pub fn union(&mut self, a: Items, b: Items) -> Items {
        Items(self.join(a.0, b.0))
    }

    // As deep as a class number has bits.
    fn join(&mut self, a: u32, b: u32) -> u32 {
        self.steps += 1;
        if a == b || b == 0 {
            return a;
        }
        if a == 0 {
            return b;
        }
        let ((a0, a1), (b0, b1)) = (self.nodes[a as usize].parts, self.nodes[b as usize].parts);
        let parts = (self.join(a0, b0), self.join(a1, b1));
        self.node(parts)
    }

    fn node(&mut self, parts: (u32, u32)) -> u32 {
        if let Some(&node) = self.known.get(&parts) {
            return node;
        }
        let weight = self.nodes[parts.0 as usize].weight + self.nodes[parts.1 as usize].weight;
        let node = self.push(parts, weight);
        self.known.insert(parts, node);
        node
    }

    fn push(&mut self, parts: (u32, u32), weight: Cost) -> u32 {
        self.nodes.push(Node { parts, weight });
        // 2^32 nodes do not fit in memory.
        (self.nodes.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_one_and_classes_weigh_once() {
        let mut sets = Sets::new(100);
        let cost = |float| Cost { float, ..Cost::default() };
        let singles: Vec<Items> = (0..100).map(|class| sets.single(class, cost(class as u64))).collect();
        let up = singles.iter().fold(Items::NONE, |all, &one| sets.union(all, one));
        let down = singles.iter().rev().fold(Items::NONE, |all, &one| sets.union(all, one));
        assert_eq!(up, down);
        assert_eq!(sets.weight(up), cost(99 * 100 / 2));
        assert_eq!(sets.union(up, singles[7]), up);
        assert_eq!(sets.weight(Items::NONE), Cost::default());
    }
}
