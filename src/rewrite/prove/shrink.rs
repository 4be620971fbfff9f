//! Smaller instances with the same fault.

use super::super::rule::{Contract, Rule};
use super::instance::Instance;
use super::numbers;
use super::search::Search;
use super::trial::{Fault, Outcome, Trial, trial};
use crate::ops::Registry;

/// Trials that shrinking may take, of the choices and of the numbers.
const TRIALS: usize = 2000;

/// Elements of the instances of all these trials.
const ELEMENTS: usize = 1 << 24;

/// Choices that may follow from a larger one only.
const GONE: usize = 3;

/// Choices beyond this are those of sources of numbers.
const SEEDS: u32 = 64;

/// What a fault is looked for in.
pub struct Case<'a> {
    pub rule: &'a Rule,
    pub contract: Contract,
    pub rounds: bool,
    pub registry: &'a Registry,
}

/// A faulty instance.
pub struct Found {
    pub instance: Instance,
    pub trial: Trial,
    pub fault: Fault,
}

impl Case<'_> {
    /// The fault of an instance on the inputs that it holds.
    pub fn fault(&self, instance: &Instance) -> Option<(Trial, Fault)> {
        let Outcome::Applies(trial) = trial(self.rule, self.contract, self.rounds, instance, self.registry)
        else {
            return None;
        };
        let fault = trial.fault(&trial.feeds, self.registry).err()?;
        Some((*trial, fault))
    }

    /// First other choices of the search, then other numbers; each kept if the same kind of fault is
    /// still there.
    pub fn shrink(
        &self,
        search: &mut Search,
        found: Found,
        mut tape: Vec<u32>,
        feeds: &dyn Fn(&Instance) -> Vec<Instance>,
    ) -> Found {
        let kind = std::mem::discriminant(&found.fault);
        // With most numbers plain, those that matter can be carried into smaller tensors.
        let mut best = self.plainer(found);
        let mut left = trials(&best.instance);
        let mut changed = true;
        while changed && left > 0 {
            changed = false;
            for at in 0..tape.len() {
                let Some(&chosen) = tape.get(at) else { break };
                // What numbers are drawn from is not smaller for being less.
                let smaller = [0, chosen / 2, chosen.saturating_sub(1)];
                let count = if chosen > SEEDS { 1 } else { smaller.len() };
                // Fewer axes need fewer sizes: what follows moves up.
                let ways =
                    smaller.into_iter().take(count).flat_map(|new| (0..=GONE).map(move |gone| (new, gone)));
                for (new, gone) in ways.filter(|(new, _)| *new < chosen) {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                    let mut other = tape.clone();
                    other[at] = new;
                    other.drain(at + 1..(at + 1 + gone).min(tape.len()));
                    let Some(instance) = search.instance(Some(other)) else { continue };
                    let tried = search.choices.tape().to_vec();
                    // What makes nothing smaller would go on for ever.
                    if instance.size().0 > best.instance.size().0 || tried >= tape {
                        continue;
                    }
                    let fed = [instance.clone(), carried(&instance, &best.instance)];
                    let faulty = fed.into_iter().chain(feeds(&instance)).find_map(|instance| {
                        let (trial, fault) = self.fault(&instance)?;
                        let same = std::mem::discriminant(&fault) == kind;
                        same.then_some(Found { instance, trial, fault })
                    });
                    if let Some(found) = faulty {
                        best = found;
                        tape = tried;
                        changed = true;
                        break;
                    }
                }
            }
        }
        self.plainer(best)
    }

    /// The same over f32, where it is wrong there too.
    pub fn over_f32(&self, found: Found) -> Found {
        let single = found.instance.over_f32(self.registry);
        let faulty = single.and_then(|instance| {
            let (trial, fault) = self.fault(&instance)?;
            Some(Found { instance, trial, fault })
        });
        faulty.unwrap_or(found)
    }

    /// One element of each input that still shows the fault, of long rows.
    pub fn narrow(&self, found: Found) -> Found {
        self.element(&found).unwrap_or(found)
    }

    fn element(&self, found: &Found) -> Option<Found> {
        let Fault::Differs(difference) = &found.fault else { return None };
        let mut instance = found.instance.clone();
        instance.shorten()?;
        for at in found.instance.inputs() {
            let row = found.instance.tensor(at)?;
            let element = numbers::floats(row).get(difference.at.1).copied()?;
            instance.set_tensor(at, numbers::tensor(row.dtype(), &[1], |_| element)?);
        }
        let (trial, fault) = self.fault(&instance)?;
        Some(Found { instance, trial, fault })
    }

    /// Plainer numbers in constants and inputs.
    fn plainer(&self, mut best: Found) -> Found {
        let kind = std::mem::discriminant(&best.fault);
        let mut left = trials(&best.instance);
        for at in 0..best.instance.values.len() {
            let Some(tensor) = best.instance.tensor(at).cloned() else { continue };
            let (dtype, sizes) = (tensor.dtype(), tensor.sizes().to_vec());
            let mut accept = |best: &mut Found, elements: &[f64]| {
                if left == 0 {
                    return false;
                }
                left -= 1;
                let number = |at: usize| elements.get(at).copied().unwrap_or(0.0);
                let Some(new) = numbers::tensor(dtype, &sizes, number) else { return false };
                let mut instance = best.instance.clone();
                instance.set_tensor(at, new);
                match self.fault(&instance) {
                    Some((trial, fault)) if std::mem::discriminant(&fault) == kind => {
                        *best = Found { instance, trial, fault };
                        true
                    }
                    _ => false,
                }
            };
            let mut elements = numbers::floats(&tensor);
            let same = |v: f64| vec![v; elements.len()];
            if accept(&mut best, &same(0.0)) || accept(&mut best, &same(1.0)) {
                continue;
            }
            // Few elements matter: the others go in large parts.
            let mut part = elements.len() / 2;
            while part > 1 {
                for start in (0..elements.len()).step_by(part) {
                    let end = (start + part).min(elements.len());
                    let old = elements[start..end].to_vec();
                    if old.iter().all(|&v| v == 0.0 && v.is_sign_positive()) {
                        continue;
                    }
                    elements[start..end].fill(0.0);
                    if !accept(&mut best, &elements) {
                        elements[start..end].copy_from_slice(&old);
                    }
                }
                part /= 2;
            }
            for position in 0..elements.len() {
                let Some(&old) = elements.get(position) else { break };
                for new in [0.0, 1.0, old.trunc()] {
                    if new.to_bits() == old.to_bits() {
                        break;
                    }
                    elements[position] = new;
                    if accept(&mut best, &elements) {
                        break;
                    }
                    elements[position] = old;
                }
            }
        }
        best
    }
}

/// Fewer of large instances.
fn trials(instance: &Instance) -> usize {
    TRIALS.min(ELEMENTS / instance.size().0.max(1))
}

/// The instance with the inputs of another one, as far as they go: first the elements where some input
/// is not zero, alike in all inputs that are equally long.
fn carried(instance: &Instance, from: &Instance) -> Instance {
    let rows: Vec<Vec<f64>> = from
        .inputs()
        .map(|at| from.tensor(at).map(|tensor| numbers::floats(tensor)).unwrap_or_default())
        .collect();
    let mut new = instance.clone();
    for (at, row) in instance.inputs().zip(&rows) {
        let matters = |position: usize| {
            rows.iter().filter(|other| other.len() == row.len()).any(|other| other[position] != 0.0)
        };
        let mut positions: Vec<usize> = (0..row.len()).collect();
        positions.sort_by_key(|&position| !matters(position));
        let number = |at: usize| positions.get(at).map_or(0.0, |&position| row[position]);
        let Some(tensor) = instance.tensor(at) else { continue };
        let (dtype, sizes) = (tensor.dtype(), tensor.sizes().to_vec());
        if let Some(tensor) = numbers::tensor(dtype, &sizes, number) {
            new.set_tensor(at, tensor);
        }
    }
    new
}
