//! Changing single choices as long as the result costs less.
//!
//! A region reaches from one closed class to the next ones below. Readings within it are counted,
//! so that a changed choice takes as much work as what it alone brings and takes away.

use super::Candidate;
use crate::rewrite::cost::Cost;

/// The choices, to be improved region by region, the lowest first.
pub struct Regions<'a> {
    classes: &'a [Vec<Candidate>],
    closed: &'a [bool],
    pub chosen: Vec<Option<usize>>,
    /// Of closed classes, the cost of all below them.
    weight: Vec<Cost>,
    /// The closed class that the region at hand is below, if it is below one.
    head: Option<usize>,
    members: Vec<usize>,
    /// Cost of the region at hand.
    total: Sum,
    /// Readings of each class by the chosen candidates of the region at hand.
    uses: Vec<usize>,
    /// In the region at hand, a class comes after what its chosen candidate reads.
    place: Vec<usize>,
    /// Classes visited by the walk of that number.
    seen: Vec<usize>,
    walks: usize,
    /// Classes looked at, over all.
    pub steps: usize,
}

/// Times that all choices of a region are tried.
const ROUNDS: usize = 4;

impl<'a> Regions<'a> {
    pub fn new(
        classes: &'a [Vec<Candidate>],
        closed: &'a [bool],
        chosen: Vec<Option<usize>>,
        weight: Vec<Cost>,
    ) -> Self {
        let zeros = || vec![0; classes.len()];
        Self {
            classes,
            closed,
            chosen,
            weight,
            head: None,
            members: Vec::new(),
            total: Sum::default(),
            uses: zeros(),
            place: zeros(),
            seen: zeros(),
            walks: 0,
            steps: 0,
        }
    }

    /// Tries other candidates for each class between `heads` and the closed classes below.
    pub fn improve(&mut self, heads: &[usize]) {
        if heads.iter().any(|&head| self.chosen[head].is_none()) {
            return;
        }
        self.head = match heads {
            [head] if self.closed[*head] => Some(*head),
            _ => None,
        };
        self.enter(heads);
        let open: Vec<usize> =
            self.members.iter().copied().filter(|&class| self.classes[class].len() > 1).collect();
        for _ in 0..ROUNDS {
            let mut better = false;
            for &class in &open {
                for at in 0..self.classes[class].len() {
                    better |= self.change(class, at);
                }
            }
            if !better {
                break;
            }
        }
        if let Some(head) = self.head {
            self.weight[head] = self.total.cost();
        }
    }

    fn inner(&self, class: usize) -> bool {
        !self.closed[class] || self.head == Some(class)
    }

    /// Makes the region at hand the one below `heads`: its members are the classes that these reach
    /// by any candidate without going below another closed class.
    fn enter(&mut self, heads: &[usize]) {
        self.walks += 1;
        let classes = self.classes;
        self.members.clear();
        let mut stack: Vec<usize> = heads.iter().rev().copied().collect();
        while let Some(class) = stack.pop() {
            if std::mem::replace(&mut self.seen[class], self.walks) == self.walks {
                continue;
            }
            self.uses[class] = 0;
            if self.inner(class) {
                self.members.push(class);
                stack.extend(classes[class].iter().flat_map(|candidate| &candidate.children));
            }
        }
        self.members.sort_unstable();
        self.steps += self.members.len();
        self.total = Sum::default();
        self.arrange();
        heads.iter().for_each(|&head| self.take(head));
    }

    /// Gives every member its place.
    fn arrange(&mut self) {
        self.walks += 1;
        self.steps += self.members.len();
        let mut next_place = 0;
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for at in 0..self.members.len() {
            stack.push((self.members[at], 0));
            while let Some((class, next)) = stack.pop() {
                if next == 0 && std::mem::replace(&mut self.seen[class], self.walks) == self.walks {
                    continue;
                }
                match self.reads(class).get(next) {
                    Some(&child) => {
                        stack.push((class, next + 1));
                        if self.inner(child) {
                            stack.push((child, 0));
                        }
                    }
                    None => {
                        self.place[class] = next_place;
                        next_place += 1;
                    }
                }
            }
        }
    }

    /// What the chosen candidate of a class of the region reads.
    fn reads(&self, class: usize) -> &'a [usize] {
        let classes = self.classes;
        match self.chosen[class] {
            Some(at) if self.inner(class) => &classes[class][at].children,
            _ => &[],
        }
    }

    /// Takes another candidate for a class if the region then costs less; whether it does.
    fn change(&mut self, class: usize, at: usize) -> bool {
        let Some(old) = self.chosen[class] else { return false };
        let classes = self.classes;
        let (new, before) = (&classes[class][at], &classes[class][old]);
        let feasible = new.children.iter().all(|&child| self.chosen[child].is_some());
        if old == at || self.uses[class] == 0 || !feasible {
            return false;
        }
        let late = |&child: &usize| self.inner(child) && self.place[child] >= self.place[class];
        let late = new.children.iter().any(late);
        if late && self.reaches(&new.children, class) {
            return false;
        }
        let total = self.total;
        self.swap(before, new);
        if self.total >= total {
            self.swap(new, before);
            return false;
        }
        self.chosen[class] = Some(at);
        if late {
            self.arrange();
        }
        true
    }

    /// Whether a class is among `from`, or below them by the chosen candidates.
    fn reaches(&mut self, from: &[usize], class: usize) -> bool {
        self.walks += 1;
        let mut stack = from.to_vec();
        while let Some(at) = stack.pop() {
            if at == class {
                return true;
            }
            let before = !self.inner(at) || self.place[at] < self.place[class];
            if before || std::mem::replace(&mut self.seen[at], self.walks) == self.walks {
                continue;
            }
            self.steps += 1;
            stack.extend_from_slice(self.reads(at));
        }
        false
    }

    fn swap(&mut self, old: &Candidate, new: &Candidate) {
        // In this order, what both read is not given up in between.
        self.total.add(new.cost, 1);
        new.children.iter().for_each(|&child| self.take(child));
        self.total.add(old.cost, -1);
        old.children.iter().for_each(|&child| self.give(child));
    }

    fn own(&self, class: usize) -> Cost {
        match self.chosen[class] {
            Some(at) if self.inner(class) => self.classes[class][at].cost,
            _ => self.weight[class],
        }
    }

    /// One more reading of a class.
    fn take(&mut self, class: usize) {
        let mut stack = vec![class];
        while let Some(class) = stack.pop() {
            self.steps += 1;
            self.uses[class] += 1;
            if self.uses[class] == 1 {
                self.total.add(self.own(class), 1);
                stack.extend_from_slice(self.reads(class));
            }
        }
    }

    /// One reading of a class less.
    fn give(&mut self, class: usize) {
        let mut stack = vec![class];
        while let Some(class) = stack.pop() {
            self.steps += 1;
            self.uses[class] -= 1;
            if self.uses[class] == 0 {
                self.total.add(self.own(class), -1);
                stack.extend_from_slice(self.reads(class));
            }
        }
    }
}

/// Costs added up, exactly: as many costs as fit in memory stay within an i128.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Sum {
    float: i128,
    layers: i128,
    macs: i128,
    bytes: i128,
}

impl Sum {
    fn add(&mut self, cost: Cost, times: i128) {
        self.float += times * i128::from(cost.float);
        self.layers += times * i128::from(cost.layers);
        self.macs += times * i128::from(cost.macs);
        self.bytes += times * i128::from(cost.bytes);
    }

    fn cost(self) -> Cost {
        let part = |sum: i128| u64::try_from(sum).unwrap_or(u64::MAX);
        Cost {
            float: part(self.float),
            layers: part(self.layers),
            macs: part(self.macs),
            bytes: part(self.bytes),
        }
    }
}
