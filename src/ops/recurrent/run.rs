//! What recurrent layers compute.

use super::activation::Scalar;
use super::{B, INITIAL_C, INITIAL_H, LENGTHS, P, Plan, R, Recurrent, W, X};
use crate::kernels;
use crate::ops::product::at;
use crate::ops::{Call, Inputs, OpError};
use crate::tensor::{DType, Tensor};

/// One direction of a layer.
struct Direction<'a, T> {
    kind: Recurrent,
    plan: &'a Plan,
    batch: usize,
    r: &'a [T],
    /// The products of all steps with w.
    projected: Vec<T>,
    /// Behind the products with w, and with r; zeros where there is none.
    biases: [Vec<T>; 2],
    peepholes: Option<&'a [T]>,
    /// What is handed from step to step, for each sequence.
    h: Vec<T>,
    c: Vec<T>,
}

/// The steps of each sequence.
fn lengths(inputs: &Inputs, steps: usize, batch: usize) -> Result<Vec<usize>, OpError> {
    let Some(tensor) = inputs.opt(LENGTHS) else { return Ok(vec![steps; batch]) };
    let least = usize::from([INITIAL_H, INITIAL_C].into_iter().any(|at| inputs.opt(at).is_some()));
    let wide = tensor.cast(DType::I64);
    let elements = wide.elements::<i64>().unwrap_or_default();
    let length = |(position, &length): (usize, &i64)| {
        let fits = usize::try_from(length).ok().filter(|length| (least..=steps).contains(length));
        fits.ok_or_else(|| {
            let place = at("sequence_lens", position, tensor.sizes());
            inputs.call.broken("C6", format!("{place} is {length}, not from {least} to {steps}"))
        })
    };
    elements.iter().enumerate().map(length).collect()
}

/// The results of a layer, stored as T.
pub fn run<T: Scalar>(kind: Recurrent, plan: &Plan, inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
    let call = &inputs.call;
    let &[steps, batch, features] = inputs.get(X)?.sizes() else {
        return Err(call.broken("C2", "x has 3 axes"));
    };
    let (hidden, directions) = (plan.hidden, plan.reversed.len());
    let lengths = lengths(inputs, steps, batch)?;
    let state = [directions, batch, hidden];
    let y_sizes = [steps, directions, batch, hidden];
    let filled = |sizes: &[usize]| Ok(call.filled(sizes, T::default())?.into_raw_vec_and_offset().0);
    let (mut y, mut last_h, mut last_c) = (filled(&y_sizes)?, filled(&state)?, filled(&state)?);
    if !last_h.is_empty() {
        let (x, w, r) = (inputs.elements::<T>(X)?, inputs.elements::<T>(W)?, inputs.elements::<T>(R)?);
        let rest = |at: usize| inputs.opt_elements::<T>(at);
        let (b, h, c, p) = (rest(B)?, rest(INITIAL_H)?, rest(INITIAL_C)?, rest(P)?);
        // The part of an operand that belongs to one direction.
        let part = |all: &'_ [T], at: usize| -> std::ops::Range<usize> {
            let size = all.len() / directions;
            at * size..(at + 1) * size
        };
        for (direction, &reversed) in plan.reversed.iter().enumerate() {
            let of = |all: Option<&[T]>| all.map(|all| all[part(all, direction)].to_vec());
            let gates = kind.gates() * hidden;
            let bias = of(b).unwrap_or_else(|| vec![T::default(); 2 * gates]);
            let zeros = || vec![T::default(); batch * hidden];
            let w = &w[part(w, direction)];
            let mut one = Direction {
                kind,
                plan,
                batch,
                r: &r[part(r, direction)],
                // As many as y has elements, or a few times that.
                projected: call.kernel(kernels::dense(steps * batch, features, gates, x, w, None))?,
                biases: [bias[..gates].to_vec(), bias[gates..].to_vec()],
                peepholes: p.map(|p| &p[part(p, direction)]),
                h: of(h).unwrap_or_else(zeros),
                c: of(c).unwrap_or_else(zeros),
            };
            for step in 0..steps {
                let time = |&length: &usize| {
                    (step < length).then(|| if reversed { length - 1 - step } else { step })
                };
                let times: Vec<Option<usize>> = lengths.iter().map(time).collect();
                one.step(call, &times)?;
                for (row, time) in times.iter().enumerate() {
                    let Some(time) = time else { continue };
                    let start = ((time * directions + direction) * batch + row) * hidden;
                    y[start..start + hidden].copy_from_slice(&one.h[row * hidden..(row + 1) * hidden]);
                }
            }
            let last = direction * batch * hidden..(direction + 1) * batch * hidden;
            last_h[last.clone()].copy_from_slice(&one.h);
            last_c[last].copy_from_slice(&one.c);
        }
    }
    let mut results = call.result(&y_sizes, y)?;
    results.extend(call.result(&state, last_h)?);
    if kind == Recurrent::Lstm {
        results.extend(call.result(&state, last_c)?);
    }
    Ok(results)
}

impl<T: Scalar> Direction<'_, T> {
    /// Sums of products of a state `[batch, hidden]` with the parts of r from `first` on.
    fn recurrent(&self, call: &Call, state: &[T], first: usize, count: usize) -> Result<Vec<T>, OpError> {
        let hidden = self.plan.hidden;
        let r = &self.r[first * hidden * hidden..(first + count) * hidden * hidden];
        call.kernel(kernels::dense(self.batch, hidden, count * hidden, state, r, None))
    }

    /// The product of the input at a time with part `gate` of w.
    fn x(&self, time: usize, row: usize, gate: usize, unit: usize) -> T {
        let gates = self.kind.gates() * self.plan.hidden;
        self.projected[(time * self.batch + row) * gates + gate * self.plan.hidden + unit]
    }

    /// Both biases of a gate.
    fn bias(&self, gate: usize, unit: usize) -> T {
        let at = gate * self.plan.hidden + unit;
        self.biases[0][at] + self.biases[1][at]
    }

    /// Function `at` of what is clipped.
    fn function(&self, at: usize, a: T) -> T {
        let bounded = match self.plan.clip.map(T::from) {
            Some(clip) if a > clip => clip,
            Some(clip) if a < -clip => -clip,
            _ => a,
        };
        self.plan.functions.get(at).map_or(bounded, |function| function.apply(bounded))
    }

    /// One step of every sequence that has one, at its time.
    fn step(&mut self, call: &Call, times: &[Option<usize>]) -> Result<(), OpError> {
        match self.kind {
            Recurrent::Gru => self.gru(call, times),
            Recurrent::Lstm => self.lstm(call, times),
            Recurrent::Rnn => self.rnn(call, times),
        }
    }

    fn rnn(&mut self, call: &Call, times: &[Option<usize>]) -> Result<(), OpError> {
        let hidden = self.plan.hidden;
        let products = self.recurrent(call, &self.h, 0, 1)?;
        for (row, time) in times.iter().enumerate() {
            let Some(time) = *time else { continue };
            for unit in 0..hidden {
                let at = row * hidden + unit;
                let a = (self.x(time, row, 0, unit) + products[at]) + self.bias(0, unit);
                self.h[at] = self.function(0, a);
            }
        }
        Ok(())
    }

    fn lstm(&mut self, call: &Call, times: &[Option<usize>]) -> Result<(), OpError> {
        let hidden = self.plan.hidden;
        let products = self.recurrent(call, &self.h, 0, 4)?;
        let one = T::from(1.0);
        for (row, time) in times.iter().enumerate() {
            let Some(time) = *time else { continue };
            for unit in 0..hidden {
                let at = row * hidden + unit;
                let sum = |gate: usize| {
                    let product = products[(row * 4 + gate) * hidden + unit];
                    (self.x(time, row, gate, unit) + product) + self.bias(gate, unit)
                };
                let peephole =
                    |a: T, gate: usize, c: T| self.peepholes.map_or(a, |p| a + p[gate * hidden + unit] * c);
                let before = self.c[at];
                let i = self.function(0, peephole(sum(0), 0, before));
                let forget =
                    if self.plan.flag { one - i } else { self.function(0, peephole(sum(2), 2, before)) };
                let c = (forget * before + i * self.function(1, sum(3))).canonical();
                let o = self.function(0, peephole(sum(1), 1, c));
                let h = self.plan.functions.get(2).map_or(c, |function| function.apply(c));
                (self.c[at], self.h[at]) = (c, (o * h).canonical());
            }
        }
        Ok(())
    }

    fn gru(&mut self, call: &Call, times: &[Option<usize>]) -> Result<(), OpError> {
        let hidden = self.plan.hidden;
        let linear = self.plan.flag;
        let count = if linear { 3 } else { 2 };
        let products = self.recurrent(call, &self.h, 0, count)?;
        let product = |row: usize, gate: usize, unit: usize| products[(row * count + gate) * hidden + unit];
        let mut update = vec![T::default(); self.h.len()];
        let mut reset = update.clone();
        for (row, time) in times.iter().enumerate() {
            let Some(time) = *time else { continue };
            for unit in 0..hidden {
                let sum = |gate: usize| {
                    (self.x(time, row, gate, unit) + product(row, gate, unit)) + self.bias(gate, unit)
                };
                let at = row * hidden + unit;
                (update[at], reset[at]) = (self.function(0, sum(0)), self.function(0, sum(1)));
            }
        }
        let kept: Vec<T> = reset.iter().zip(&self.h).map(|(&reset, &h)| reset * h).collect();
        let inner = if linear { Vec::new() } else { self.recurrent(call, &kept, 2, 1)? };
        let one = T::from(1.0);
        for (row, time) in times.iter().enumerate() {
            let Some(time) = *time else { continue };
            for unit in 0..hidden {
                let at = row * hidden + unit;
                let x = self.x(time, row, 2, unit);
                let [after_w, after_r] = [0, 1].map(|side| self.biases[side][2 * hidden + unit]);
                let a = if linear {
                    (x + reset[at] * (product(row, 2, unit) + after_r)) + after_w
                } else {
                    (x + inner[at]) + self.bias(2, unit)
                };
                let z = update[at];
                self.h[at] = ((one - z) * self.function(1, a) + z * self.h[at]).canonical();
            }
        }
        Ok(())
    }
}
