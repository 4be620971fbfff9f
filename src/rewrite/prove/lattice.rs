//! Rules over single elements, on every combination of values.

use super::choices::Choices;
use super::compare::Ran;
use super::instance::Instance;
use super::numbers::{lattice, tensor};
use super::search::Search;
use super::shrink::Found;
use super::trial::{Outcome, trial};
use super::{Prover, numbers};
use crate::diag::Severity;
use crate::tensor::{DType, Tensor};

/// Attempts for each storage, and instances (other attributes) that are enough.
const ATTEMPTS: usize = 40;
const INSTANCES: usize = 8;

const STORAGES: [DType; 7] =
    [DType::Bool, DType::F32, DType::F64, DType::I8, DType::U8, DType::I32, DType::I64];

/// Elements of all nodes that may be drawn for one storage.
const ELEMENTS: usize = 1 << 22;

/// What came of all combinations in one row.
enum Row {
    Sound,
    Faulty(Box<Found>),
    /// Elements do not go their own way: a row says no more than other inputs.
    Together,
}

impl Prover<'_> {
    /// Instances whose inputs are one long row, on all values of 8 bits, or on all corners of other
    /// storages: with two inputs, on all pairs. They count where both sides work on each element by
    /// itself.
    pub(super) fn lattices(&mut self, seed: u64) {
        'storages: for dtype in STORAGES.into_iter().filter(|&dtype| self.plan.takes(dtype)) {
            for inputs in (1..=2u32).filter(|&inputs| self.inputs.contains(&(inputs as usize))) {
                let values = lattice(dtype, &self.literals());
                let Some(count) = values.len().checked_pow(inputs).filter(|&count| count <= 1 << 16) else {
                    continue;
                };
                let mut choices = Choices::new(seed ^ u64::from(inputs));
                // Long rows take their time where they lead nowhere.
                choices.refused.most = (ELEMENTS / count).max(INSTANCES);
                let mut done = 0;
                for _ in 0..ATTEMPTS {
                    if done == INSTANCES {
                        break;
                    }
                    let mut search = Search {
                        plan: &self.plan,
                        registry: self.registry,
                        choices: &mut choices,
                        storages: &[dtype],
                        corners: true,
                        wide: Some(vec![count]),
                    };
                    let instance = search.instance(None);
                    let fits = instance.filter(|instance| {
                        let storages = instance.storages();
                        storages.len() == inputs as usize && storages.iter().all(|&storage| storage == dtype)
                    });
                    let tested = fits.and_then(|instance| self.row(instance, &values));
                    choices.end(tested.is_some());
                    match tested {
                        Some(Row::Faulty(found)) => {
                            let found = self.case().narrow(*found);
                            return self.fault(&found, Severity::Error);
                        }
                        Some(Row::Sound) => done += 1,
                        Some(Row::Together) => break 'storages,
                        None => {}
                    }
                }
                if done > 0 && !self.report.lattices.contains(&dtype) {
                    self.report.lattices.push(dtype);
                }
            }
        }
    }

    fn literals(&self) -> Vec<f64> {
        self.plan.literals.floats.iter().map(|&v| f64::from(v)).collect()
    }

    /// Runs the instance on all combinations; `None` if it cannot be run.
    fn row(&self, mut instance: Instance, values: &[f64]) -> Option<Row> {
        let inputs: Vec<usize> = instance.inputs().collect();
        let mut every = 1;
        for &input in &inputs {
            let (dtype, sizes) = {
                let tensor = instance.tensor(input)?;
                (tensor.dtype(), tensor.sizes().to_vec())
            };
            let value = |at: usize| values.get(at / every % values.len()).copied().unwrap_or(0.0);
            let row = tensor(dtype, &sizes, value)?;
            instance.set_tensor(input, row);
            every *= values.len();
        }
        let rule = self.plan.rule;
        let Outcome::Applies(trial) = trial(rule, self.set.contract, self.rounds, &instance, self.registry)
        else {
            return None;
        };
        let sides = trial.sides.as_ref().ok()?;
        match sides.run(&trial.feeds, self.registry) {
            Ran::Differs(difference) => {
                let fault = super::Fault::Differs(difference);
                Some(Row::Faulty(Box::new(Found { instance, trial: *trial, fault })))
            }
            // Each element by itself: what is turned round before is turned round after.
            Ran::Equal(_) => {
                let turned = trial.feeds.iter().map(|(name, row)| Some((name.clone(), turned(row)?)));
                let turned = turned.collect::<Option<_>>()?;
                let (left, other) =
                    (sides.outputs(&trial.feeds, self.registry)?, sides.outputs(&turned, self.registry)?);
                let alike = left.iter().zip(&other).all(|(a, b)| turned_alike(a, b));
                Some(if alike { Row::Sound } else { Row::Together })
            }
            Ran::Undefined | Ran::Fails(_) => None,
        }
    }
}

fn turned(row: &Tensor) -> Option<Tensor> {
    let elements = numbers::floats(row);
    let last = elements.len().saturating_sub(1);
    tensor(row.dtype(), row.sizes(), |at| elements.get(last.saturating_sub(at)).copied().unwrap_or(0.0))
}

fn turned_alike(a: &Tensor, b: &Tensor) -> bool {
    let (a, b) = (numbers::floats(a), numbers::floats(b));
    a.len() == b.len()
        && a.iter()
            .zip(b.iter().rev())
            .all(|(a, b)| a.to_bits() == b.to_bits() || a == b || (a.is_nan() && b.is_nan()))
}
