//! Choices on a tape: what one instance was made from, so that it can be made again, and smaller.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::refused::Refused;

/// What a choice is about: the step of the left side, the kind of thing, and which of them.
pub type Site = (usize, &'static str, usize);

type Key = (Site, usize, usize);

/// How often an option was taken, and how often the left side then fitted.
#[derive(Clone, Copy, Default)]
struct Score {
    tries: f32,
    hits: f32,
}

/// A source of choices that learns which options lead to instances. Option 0 is the simplest.
pub struct Choices {
    rng: ChaCha8Rng,
    /// By site, number of options and context.
    learned: BTreeMap<Key, Vec<Score>>,
    tape: Vec<u32>,
    /// How many options there were for each.
    limits: Vec<u32>,
    /// Choices on the tape that are learned from, by position.
    sites: Vec<(usize, Key)>,
    /// What was decided beforehand, and makes other options fit.
    pub context: usize,
    /// The tape to follow instead of choosing.
    replay: Option<Vec<u32>>,
    /// Whether what lies beyond its end is chosen; it is 0 otherwise.
    open: bool,
    pub refused: Refused,
}

impl Choices {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            learned: BTreeMap::new(),
            tape: Vec::new(),
            limits: Vec::new(),
            sites: Vec::new(),
            context: 0,
            replay: None,
            open: false,
            refused: Refused::default(),
        }
    }

    /// Begins an instance: a new one, or that of a tape.
    pub fn begin(&mut self, replay: Option<Vec<u32>>) {
        self.tape.clear();
        self.limits.clear();
        self.sites.clear();
        self.context = 0;
        self.replay = replay;
        self.open = false;
    }

    /// Begins an instance that is much like an earlier one: of a few choices that were made one after
    /// the other, about half are made anew, as freely as can be.
    pub fn vary(&mut self, (tape, limits): &(Vec<u32>, Vec<u32>)) {
        let mut tape = tape.clone();
        let mut below = |n: usize| self.rng.next_u32() as usize % n.max(1);
        let open: Vec<_> = tape.iter_mut().zip(limits).filter(|(_, limit)| **limit > 1).collect();
        let (start, length) = (below(open.len()), 1 << below(5));
        let some = length > 2;
        for (chosen, limit) in open.into_iter().skip(start).take(length) {
            if !some || below(2) == 0 {
                *chosen = below(*limit as usize) as u32;
            }
        }
        self.begin(Some(tape));
        self.open = true;
    }

    /// One of those that were made before, if any was.
    pub fn one_of<'m, T>(&mut self, made: &'m [T]) -> Option<&'m T> {
        made.get(self.rng.next_u32() as usize % made.len().max(1))
    }

    /// What the instance was made from, to vary it.
    pub fn made(&self) -> (Vec<u32>, Vec<u32>) {
        (self.tape.clone(), self.limits.clone())
    }

    pub fn tape(&self) -> &[u32] {
        &self.tape
    }

    /// How often a part may be tried: a replay has one way.
    pub fn tries(&self, tries: usize) -> usize {
        if self.replay.is_some() { 1 } else { tries }
    }

    /// One of `n > 0` options, those that led to instances more often.
    pub fn pick(&mut self, site: Site, n: usize) -> usize {
        let key = (site, n, self.context);
        let chosen = match self.replayed(n) {
            Some(chosen) => chosen,
            None => {
                let scores = self.learned.entry(key).or_insert_with(|| vec![Score::default(); n]);
                // Flatter than the rates: what works is not all that is to be tested.
                let rates: Vec<f32> =
                    scores.iter().map(|score| ((score.hits + 1.0) / (score.tries + 2.0)).sqrt()).collect();
                // No option dies out: what failed here may be what finds a fault.
                let least = rates.iter().fold(0.0f32, |most, &rate| most.max(rate)) * 0.1;
                let total: f32 = rates.iter().map(|rate| rate.max(least)).sum();
                let mut left = total * (self.rng.next_u32() as f32 / u32::MAX as f32);
                let at = rates.iter().position(|rate| {
                    left -= rate.max(least);
                    left <= 0.0
                });
                at.unwrap_or(n - 1)
            }
        };
        self.sites.push((self.tape.len(), key));
        self.push(chosen, n);
        chosen
    }

    fn push(&mut self, chosen: usize, n: usize) {
        self.tape.push(chosen as u32);
        self.limits.push(n as u32);
    }

    /// One of `n > 0` options, all alike.
    pub fn any(&mut self, n: usize) -> usize {
        let drawn = self.rng.next_u32() as usize % n;
        let chosen = self.replayed(n).unwrap_or(drawn);
        self.push(chosen, n);
        chosen
    }

    /// Fills up what was chosen since `mark` to so many choices, so that what follows keeps its place
    /// whatever was chosen here.
    pub fn pad(&mut self, mark: usize, count: usize) {
        while self.tape.len() < mark + count {
            self.push(0, 1);
        }
    }

    /// A source of numbers for one tensor.
    pub fn numbers(&mut self) -> ChaCha8Rng {
        let seed = self.any(1 << 16);
        ChaCha8Rng::seed_from_u64(seed as u64)
    }

    fn replayed(&self, n: usize) -> Option<usize> {
        let tape = self.replay.as_ref()?;
        match tape.get(self.tape.len()) {
            Some(&chosen) => Some((chosen as usize).min(n - 1)),
            None => (!self.open).then_some(0),
        }
    }

    pub fn mark(&self) -> usize {
        self.tape.len()
    }

    /// Takes back the choices since `mark`, which led nowhere.
    pub fn undo(&mut self, mark: usize) {
        while let Some(&(at, key)) = self.sites.last()
            && at >= mark
        {
            if self.replay.is_none() {
                self.score(at, key, 1.0, 0.0);
            }
            self.sites.pop();
        }
        self.tape.truncate(mark);
        self.limits.truncate(mark);
    }

    /// Learns that the choices since `mark` made a node, whatever becomes of it.
    pub fn keep(&mut self, mark: usize) {
        if self.replay.is_some() {
            return;
        }
        let kept: Vec<_> = self.sites.iter().filter(|(at, ..)| *at >= mark).copied().collect();
        for (at, key) in kept {
            self.score(at, key, 0.5, 0.5);
        }
    }

    /// Learns from the instance as a whole.
    pub fn end(&mut self, fits: bool) {
        if self.replay.is_some() {
            return;
        }
        for (at, key) in std::mem::take(&mut self.sites) {
            match fits {
                true => self.score(at, key, 1.0, 1.0),
                false => self.score(at, key, 0.2, 0.0),
            }
        }
    }

    fn score(&mut self, at: usize, key: Key, tries: f32, hits: f32) {
        let Some(&chosen) = self.tape.get(at) else { return };
        let scores = self.learned.get_mut(&key);
        if let Some(score) = scores.and_then(|scores| scores.get_mut(chosen as usize)) {
            score.tries += tries;
            score.hits += hits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_gives_the_same_choices_again_and_what_works_is_chosen_more_often() {
        let mut choices = Choices::new(5);
        let site = (0, "test", 0);
        for _ in 0..200 {
            choices.begin(None);
            let good = choices.pick(site, 10) == 7;
            choices.end(good);
        }
        let mut hits = 0;
        for _ in 0..100 {
            choices.begin(None);
            hits += usize::from(choices.pick(site, 10) == 7);
        }
        assert!(hits > 25, "{hits}");
        choices.begin(None);
        let first = (choices.pick(site, 10), choices.any(100), choices.any(3));
        let tape = choices.tape().to_vec();
        choices.begin(Some(tape));
        assert_eq!((choices.pick(site, 10), choices.any(100), choices.any(3)), first);
        assert_eq!(choices.any(9), 0, "beyond the end everything is simple");
    }
}
