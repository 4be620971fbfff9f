//! What is new in an e-graph, so that a search looks only where a rule may match as it did not
//! before.
//!
//! A match is new if its root is, or if something that its pattern looks at is: a class below the
//! root got a form of the operator that the pattern has there, more is known of it, or two classes
//! became one. What is new in a class is a set of bits; it spreads to the classes above, by distance.
//! Operators share bits, so more may be searched than need be, never less.

use super::rule::Rule;

/// Another constant, or that the class is constant, or an input.
pub const FACTS: u64 = 1 << 63;
/// Two classes, both with readers, became one.
pub const MERGED: u64 = 1 << 62;

/// One of several results of a node.
pub const RESULT: u64 = 1 << 61;

/// The bit of an operator.
pub fn bit(op: usize) -> u64 {
    1 << (op % 61)
}

/// What a rule looks at, by distance from its root.
pub fn wanted(rule: &Rule, op: impl Fn(&str) -> Option<usize>) -> Vec<u64> {
    let always = FACTS | if rule.joins() { MERGED } else { 0 };
    let mut wanted = vec![always; rule.depth() + 1];
    for (step, level) in rule.steps.iter().zip(rule.levels()).skip(1) {
        // An operator that no node has makes no match.
        wanted[level] |= op(&step.op).map_or(0, bit);
        if step.results.len() != 1 {
            wanted[level - 1] |= RESULT;
        }
    }
    wanted
}

/// A node at which a rule may match as it did not before.
pub struct Fresh {
    pub number: usize,
    new: bool,
    /// What is new at each distance.
    below: Box<[u64]>,
}

impl Fresh {
    pub fn concerns(&self, wanted: &[u64]) -> bool {
        self.new || self.below.iter().zip(wanted).any(|(new, wanted)| new & wanted != 0)
    }
}

/// What is new in each class, and in the classes below it.
pub struct News {
    /// By distance, then by class.
    gained: Vec<Vec<u64>>,
    /// By distance, the classes that have something new there.
    at: Vec<Vec<usize>>,
}

impl News {
    /// For classes below `count`, and for rules that look `reach` readings below their root.
    pub fn new(count: usize, reach: usize) -> Self {
        Self { gained: vec![vec![0; count]; reach + 1], at: vec![Vec::new(); reach + 1] }
    }

    pub fn add(&mut self, distance: usize, class: usize, gained: u64) {
        if gained != 0 {
            let place = &mut self.gained[distance][class];
            if *place == 0 {
                self.at[distance].push(class);
            }
            *place |= gained;
        }
    }

    /// Hands on what is new to the classes above; `above` lists those that read a class.
    pub fn spread(&mut self, mut above: impl FnMut(usize, &mut Vec<usize>)) {
        let mut readers = Vec::new();
        for distance in 1..self.at.len() {
            for class in std::mem::take(&mut self.at[distance - 1]) {
                above(class, &mut readers);
                let gained = self.gained[distance - 1][class];
                readers.drain(..).for_each(|reader| self.add(distance, reader, gained));
                self.at[distance - 1].push(class);
            }
        }
    }

    /// The classes that have something new, and `others`; ascending.
    pub fn reached(&self, others: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut all: Vec<usize> = self.at.iter().flatten().copied().chain(others).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What is new for one node of a class, if anything is; `below` gives the classes it reads.
    pub fn of<I: Iterator<Item = usize>>(
        &self,
        number: usize,
        new: bool,
        class: usize,
        below: impl Fn() -> I,
    ) -> Option<Fresh> {
        if new {
            return Some(Fresh { number, new, below: Box::default() });
        }
        let of = |distance: usize| match distance.checked_sub(1) {
            None => self.gained[0][class],
            Some(next) => below().fold(0, |all, child| all | self.gained[next][child]),
        };
        let below: Box<[u64]> = (0..self.gained.len()).map(of).collect();
        below.iter().any(|new| *new != 0).then_some(Fresh { number, new, below })
    }
}
