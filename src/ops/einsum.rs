//! ONNX's Einsum, read as the operators that it stands for: transposes, and a matrix product where there is one
//! row, one column and one sum axis, or else a product of all operands, stretched, and a sum.

use super::{Lift, LiftCx, OpError, Version};
use crate::ir::{Attrs, ValueId};

pub fn lifts() -> Vec<Lift> {
    vec![Lift::standard("Einsum", [Version::new(12, Version::ANY, &["equation"])], lift_einsum)]
}

/// The axis of a value: a letter of the equation, or a place in its ellipsis, counted from the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Label {
    Letter(char),
    Rest(usize),
}

/// The labels of one term, whose ellipsis stands for `rest` axes.
fn labels(term: &str, rest: usize) -> Option<Vec<Label>> {
    let letters =
        |text: &str| text.chars().map(|c| c.is_ascii_alphabetic().then_some(Label::Letter(c))).collect();
    let Some((before, after)) = term.split_once("...") else { return letters(term) };
    let (before, after): (Option<Vec<Label>>, Option<Vec<Label>>) = (letters(before), letters(after));
    let rest = (0..rest).rev().map(Label::Rest);
    Some(before?.into_iter().chain(rest).chain(after?).collect())
}

struct Equation {
    operands: Vec<Vec<Label>>,
    result: Vec<Label>,
}

impl Equation {
    /// `None` where it is none, or does not fit the ranks of the operands.
    fn of(text: &str, ranks: &[usize]) -> Option<Self> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = text.split_once("->").map_or((&*text, None), |(left, right)| (left, Some(right)));
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return None;
        }
        let mut operands = Vec::new();
        let mut most = 0;
        for (term, &rank) in terms.iter().zip(ranks) {
            let rest = if term.contains("...") { (rank + 3).checked_sub(term.len())? } else { 0 };
            most = most.max(rest);
            operands.push(labels(term, rest).filter(|labels| labels.len() == rank)?);
        }
        let result = match right {
            Some(right) => labels(right, most)?,
            // The ellipsis, then the letters that are there once, in the order of the alphabet.
            None => {
                let all: Vec<Label> = operands.iter().flatten().copied().collect();
                let once =
                    |letter: char| all.iter().filter(|&&label| label == Label::Letter(letter)).count() == 1;
                let letters = ('A'..='Z').chain('a'..='z').filter(|&letter| once(letter)).map(Label::Letter);
                (0..most).rev().map(Label::Rest).chain(letters).collect()
            }
        };
        let twice = |labels: &[Label]| (1..labels.len()).any(|at| labels[..at].contains(&labels[at]));
        let made = result.iter().all(|label| operands.iter().any(|operand| operand.contains(label)));
        (made && !twice(&result)).then_some(Self { operands, result })
    }
}

/// The value with its axes in the order of `to`, which has all of them; an axis that it lacks gets size 1.
fn arranged(
    cx: &mut LiftCx,
    suffix: &str,
    value: ValueId,
    from: &[Label],
    to: &[Label],
) -> Result<ValueId, OpError> {
    // Ranks are small: they count the entries of a list in memory.
    let perm: Vec<i64> =
        to.iter().filter_map(|label| from.iter().position(|own| own == label)).map(|at| at as i64).collect();
    let missing: Vec<i64> =
        (0i64..).zip(to).filter(|(_, label)| !from.contains(label)).map(|(at, _)| at).collect();
    let mut y = value;
    if !perm.is_sorted() {
        y = cx.step(&format!("{suffix}_moved"), "transpose", Attrs::new().with("perm", perm), &[y])?;
    }
    if !missing.is_empty() {
        y = cx.step(&format!("{suffix}_wide"), "unsqueeze", Attrs::new().with("axes", missing), &[y])?;
    }
    Ok(y)
}

fn lift_einsum(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let text = cx.opt_text("equation")?.ok_or_else(|| cx.invalid("needs an equation"))?.to_owned();
    let operands: Vec<ValueId> = (0..cx.operands.len()).map(|at| cx.operand(at)).collect::<Result<_, _>>()?;
    let ranks: Vec<usize> =
        (0..operands.len()).map(|at| Ok(cx.ty(at)?.shape.rank())).collect::<Result<_, OpError>>()?;
    let equation = Equation::of(&text, &ranks)
        .ok_or_else(|| cx.invalid(format!("`{text}` is no equation of operands of {ranks:?} axes")))?;
    let Equation { operands: terms, result } = &equation;
    for term in terms {
        if (1..term.len()).any(|at| term[..at].contains(&term[at])) {
            return Err(cx.unsupported("an equation with a diagonal"));
        }
    }
    if let ([a, b], [x, y]) = (&terms[..], &operands[..])
        && cx.ty(0)?.storage().is_float()
        && let Some(product) = matrix_product(cx, [a, b], result, [*x, *y])?
    {
        return Ok(vec![product]);
    }
    let mut summed: Vec<Label> = Vec::new();
    for label in terms.iter().flatten() {
        if !result.contains(label) && !summed.contains(label) {
            summed.push(*label);
        }
    }
    let all = [&result[..], &summed].concat();
    let mut y = arranged(cx, "x0", operands[0], &terms[0], &all)?;
    for (at, (&operand, term)) in operands.iter().zip(terms).enumerate().skip(1) {
        let factor = arranged(cx, &format!("x{at}"), operand, term, &all)?;
        y = cx.step(&format!("product_{at}"), "mul", Attrs::new(), &[y, factor])?;
    }
    // Ranks are small: they count the entries of a list in memory.
    let axes: Vec<i64> = (result.len() as i64..all.len() as i64).collect();
    if axes.is_empty() {
        return Ok(vec![cx.op("identity", Attrs::new(), &[y])?]);
    }
    Ok(vec![cx.op("reduce_sum", Attrs::new().with("axes", axes).with("keepdims", false), &[y])?])
}

/// The equation as one matrix product, where it is one.
fn matrix_product(
    cx: &mut LiftCx,
    [a, b]: [&[Label]; 2],
    result: &[Label],
    [x, y]: [ValueId; 2],
) -> Result<Option<ValueId>, OpError> {
    let only = |mine: &[Label], other: &[Label]| -> Vec<Label> {
        mine.iter().filter(|label| !other.contains(label)).copied().collect()
    };
    let shared: Vec<Label> = a.iter().filter(|label| b.contains(label)).copied().collect();
    let (rows, columns) = (only(a, b), only(b, a));
    let batch: Vec<Label> = shared.iter().filter(|label| result.contains(label)).copied().collect();
    let sums = only(&shared, result);
    let ([row], [column], [sum]) = (&rows[..], &columns[..], &sums[..]) else { return Ok(None) };
    if !result.contains(row) || !result.contains(column) {
        return Ok(None);
    }
    let of = |last: [Label; 2]| [&batch[..], &last].concat();
    let x = arranged(cx, "x0", x, a, &of([*row, *sum]))?;
    let y = arranged(cx, "x1", y, b, &of([*sum, *column]))?;
    let made = of([*row, *column]);
    if made == result {
        return Ok(Some(cx.op("matmul", Attrs::new(), &[x, y])?));
    }
    let product = cx.step("product", "matmul", Attrs::new(), &[x, y])?;
    let perm: Vec<i64> = result
        .iter()
        .filter_map(|label| made.iter().position(|own| own == label))
        .map(|at| at as i64)
        .collect();
    Ok(Some(cx.op("transpose", Attrs::new().with("perm", perm), &[product])?))
}

#[cfg(test)]
mod tests {
    use super::super::OnnxAttr;
    use super::super::testing::*;
    use super::*;
    use crate::tensor::Tensor;

    fn einsum(equation: &str, operands: &[Tensor]) -> Result<Tensor, OpError> {
        let node = onnx("Einsum", &[("equation", OnnxAttr::Str(equation.to_owned()))]);
        let operands: Vec<Operand> = operands.iter().cloned().map(Operand::Input).collect();
        lift_and_eval(&node, 12, &operands)
    }

    #[test]
    fn by_hand() {
        let a = || tensor(&[2, 2], [1.0f32, 2.0, 3.0, 4.0]);
        let b = || tensor(&[2, 2], [5.0f32, 6.0, 7.0, 8.0]);
        assert_eq!(einsum("ij->ji", &[a()]), Ok(tensor(&[2, 2], [1.0f32, 3.0, 2.0, 4.0])));
        assert_eq!(einsum("ij->i", &[a()]), Ok(tensor(&[2], [3.0f32, 7.0])));
        assert_eq!(einsum("ij,ij", &[a(), b()]), Ok(Tensor::scalar(70.0f32)));
        assert_eq!(einsum("ij,jk", &[a(), b()]), Ok(tensor(&[2, 2], [19.0f32, 22.0, 43.0, 50.0])));
        assert_eq!(einsum("ij,kj->ki", &[a(), b()]), Ok(tensor(&[2, 2], [17.0f32, 39.0, 23.0, 53.0])));
        assert_eq!(
            einsum("i,j->ij", &[tensor(&[2], [1.0f32, 2.0]), tensor(&[2], [3.0f32, 4.0])]),
            Ok(tensor(&[2, 2], [3.0f32, 4.0, 6.0, 8.0]))
        );
        let batch = tensor(&[1, 2, 2], [1.0f32, 2.0, 3.0, 4.0]);
        assert_eq!(
            einsum("... i j, ...jk -> ...ik", &[batch, b()]),
            Ok(tensor(&[1, 2, 2], [19.0f32, 22.0, 43.0, 50.0]))
        );
        assert!(matches!(einsum("ii->i", &[a()]), Err(OpError::Unsupported { .. })));
        for wrong in ["i->i", "ij,jk", "ij->ik", "ij->ii", "i1->i", ""] {
            assert!(matches!(einsum(wrong, &[a()]), Err(OpError::Invalid { .. })), "{wrong}");
        }
    }
}
