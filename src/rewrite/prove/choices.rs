//! Choices on a tape: what one instance was made from, so that it can be made again, and smaller.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

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
    /// Choices on the tape that are learned from, by position.
    sites: Vec<(usize, Key)>,
    /// What was decided beforehand, and makes other options fit.
    pub context: usize,
    /// The tape to follow instead of choosing; beyond its end everything is 0.
    replay: Option<Vec<u32>>,
}

impl Choices {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            learned: BTreeMap::new(),
            tape: Vec::new(),
            sites: Vec::new(),
            context: 0,
            replay: None,
        }
    }

    /// Begins an instance: a new one, or that of a tape.
    pub fn begin(&mut self, replay: Option<Vec<u32>>) {
        self.tape.clear();
        self.sites.clear();
        self.context = 0;
        self.replay = replay;
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
        self.tape.push(chosen as u32);
        chosen
    }

    /// One of `n > 0` options, all alike.
    pub fn any(&mut self, n: usize) -> usize {
        let drawn = self.rng.next_u32() as usize % n;
        let chosen = self.replayed(n).unwrap_or(drawn);
        self.tape.push(chosen as u32);
        chosen
    }

    /// A source of numbers for one tensor.
    pub fn numbers(&mut self) -> ChaCha8Rng {
        let seed = self.any(1 << 16);
        ChaCha8Rng::seed_from_u64(seed as u64)
    }

    fn replayed(&self, n: usize) -> Option<usize> {
        let tape = self.replay.as_ref()?;
        Some(tape.get(self.tape.len()).map_or(0, |&chosen| (chosen as usize).min(n - 1)))
    }

    pub fn mark(&self) -> usize {
        self.tape.len()
    }

    /// Takes back the choices since `mark`, which led nowhere.
    pub fn undo(&mut self, mark: usize) {
        while let Some(&(at, key)) = self.sites.last()
            && at >= mark
        {
            self.score(at, key, 1.0, 0.0);
            self.sites.pop();
        }
        self.tape.truncate(mark);
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
