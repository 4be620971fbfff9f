//! A form as a list of operators: what its body says for operands of known types.

use super::{Clause, Form, Given, Section, Term};
use crate::ir::Attrs;
use crate::ops::layer::{Source, Step, standard};
use crate::ops::{Call, OpError};
use crate::rewrite::constant::Constant;
use crate::rewrite::expr::{Data, Expr, Fact, Scope};
use crate::rewrite::matcher::{coerce, tensor_of};
use crate::rewrite::rule::{OpTemplate, Slot, Template};
use crate::tensor::TensorType;

/// The operators of a form, the last of which makes the result.
pub struct Unrolled {
    pub steps: Vec<Step>,
    /// The type of each step's result.
    pub types: Vec<TensorType>,
}

/// The operators that `form` consists of in this call. Types are taken without their grids.
///
/// # Errors
/// A condition that does not hold, an expression without a value, and what the operators say.
pub fn unroll(form: &Form, call: &Call) -> Result<Unrolled, OpError> {
    let mut walk = Walk::new(&form.section, call);
    walk.clauses(&form.section)?;
    let result = walk.value(&form.result)?;
    walk.finish(result)
}

/// The value of an expression of a section that has no clauses.
pub fn number(section: &Section, expr: &Expr, call: &Call) -> Option<Data> {
    expr.eval(&Walk::new(section, call), standard())
}

#[derive(Clone)]
enum Bound {
    Value(Source),
    Absent,
    Data(Data),
}

struct Walk<'a> {
    call: &'a Call<'a>,
    bindings: Vec<Option<Bound>>,
    steps: Vec<Step>,
    types: Vec<TensorType>,
}

impl Scope for Walk<'_> {
    fn get(&self, slot: Slot) -> Option<Data> {
        Some(match self.bindings.get(slot)?.as_ref()? {
            Bound::Value(source) => {
                let constant = match source {
                    Source::Constant(tensor) => Some(Constant::given(tensor.clone())),
                    _ => None,
                };
                Data::Value(Some(Fact { ty: self.ty(source)?, constant, entry: false }))
            }
            Bound::Absent => Data::Value(None),
            Bound::Data(data) => data.clone(),
        })
    }
}

impl<'a> Walk<'a> {
    fn new(section: &Section, call: &'a Call<'a>) -> Self {
        let mut bindings: Vec<Option<Bound>> = section
            .given
            .iter()
            .map(|given| match given {
                Given::Operand(position) => Some(match call.opt_ty(*position) {
                    Some(_) => Bound::Value(Source::Operand(*position)),
                    None => Bound::Absent,
                }),
                Given::Attr(name) => call.attrs.get(name).map(|attr| Bound::Data(attr.clone().into())),
                Given::Range | Given::FeedsAdd => None,
            })
            .collect();
        bindings.resize(section.slots, None);
        Self { call, bindings, steps: Vec::new(), types: Vec::new() }
    }

    fn ty(&self, source: &Source) -> Option<TensorType> {
        Some(match source {
            Source::Operand(position) => {
                let ty = self.call.opt_ty(*position)?;
                TensorType::new(ty.storage(), ty.shape.clone())
            }
            Source::Previous => self.types.last()?.clone(),
            Source::Step(position) => self.types.get(*position)?.clone(),
            Source::Constant(tensor) => tensor.tensor_type(),
            Source::Absent => return None,
        })
    }

    fn clauses(&mut self, section: &Section) -> Result<(), OpError> {
        for clause in &section.clauses {
            match clause {
                Clause::Holds(condition, text) => {
                    if condition.holds(self, standard()) != Some(true) {
                        let (op, condition) = (self.call.op(), text.to_string());
                        return Err(OpError::Condition { op, condition });
                    }
                }
                Clause::Let(slot, term) => {
                    let bound = match term {
                        Term::Data(expr) => Bound::Data(self.eval(expr)?),
                        Term::Made(template) => self.value(template)?.map_or(Bound::Absent, Bound::Value),
                    };
                    if let Some(place) = self.bindings.get_mut(*slot) {
                        *place = Some(bound);
                    }
                }
            }
        }
        Ok(())
    }

    fn eval(&self, expr: &Expr) -> Result<Data, OpError> {
        expr.eval(self, standard()).ok_or_else(|| no_value(self.call))
    }

    fn value(&mut self, template: &Template) -> Result<Option<Source>, OpError> {
        let constant = |data: Data, call: &Call| {
            tensor_of(data).map(|tensor| Some(Source::Constant(tensor))).ok_or_else(|| no_value(call))
        };
        match template {
            Template::Absent => Ok(None),
            Template::Slot(slot) => match self.bindings.get(*slot).cloned().flatten() {
                Some(Bound::Value(source)) => Ok(Some(source)),
                Some(Bound::Absent) => Ok(None),
                Some(Bound::Data(data)) => constant(data, self.call),
                None => Err(no_value(self.call)),
            },
            Template::Tensor(expr) => constant(self.eval(expr)?, self.call),
            Template::Op(template) => self.op(template).map(Some),
            // Only patterns bind a rest of operands.
            Template::More(_) => Err(no_value(self.call)),
        }
    }

    fn op(&mut self, template: &OpTemplate) -> Result<Source, OpError> {
        let mut operands: Vec<Option<Source>> =
            template.operands.iter().map(|operand| self.value(operand)).collect::<Result<_, _>>()?;
        while operands.last() == Some(&None) {
            operands.pop();
        }
        let attrs = attrs(template, self).ok_or_else(|| no_value(self.call))?;
        let attrs = complete(template, attrs)?;
        let types: Vec<Option<TensorType>> =
            operands.iter().map(|source| source.as_ref().and_then(|source| self.ty(source))).collect();
        // The checker saw to it that there is one result.
        let results = standard().infer(&template.op, &attrs, &types)?;
        self.types.extend(results.into_iter().take(1));
        let operands = operands.into_iter().map(|source| source.unwrap_or(Source::Absent)).collect();
        self.steps.push(Step { op: template.op.to_string().into(), attrs, operands });
        Ok(Source::Step(self.steps.len() - 1))
    }

    /// Only what the result needs, so that the step that makes it is the last. Positions are those of
    /// steps that were made, each of which reads earlier ones.
    fn finish(self, result: Option<Source>) -> Result<Unrolled, OpError> {
        let Some(Source::Step(last)) = result else {
            return Err(self.call.unsupported("a body that computes nothing"));
        };
        let mut needed = vec![false; self.steps.len()];
        needed[last] = true;
        for at in (0..=last).rev() {
            if needed[at] {
                for source in &self.steps[at].operands {
                    if let Source::Step(position) = source {
                        needed[*position] = true;
                    }
                }
            }
        }
        let mut new = vec![0; self.steps.len()];
        let mut unrolled = Unrolled { steps: Vec::new(), types: Vec::new() };
        let all = self.steps.into_iter().zip(self.types).zip(needed).enumerate();
        for (at, ((mut step, ty), _)) in all.filter(|(_, (_, needed))| *needed) {
            new[at] = unrolled.steps.len();
            for source in &mut step.operands {
                if let Source::Step(position) = source {
                    *position = new[*position];
                }
            }
            unrolled.steps.push(step);
            unrolled.types.push(ty);
        }
        Ok(unrolled)
    }
}

/// The attributes that a template gives; `None` where one has no value.
pub fn attrs(template: &OpTemplate, scope: &impl Scope) -> Option<Attrs> {
    let mut attrs = Attrs::new();
    for (name, expr) in &template.attrs {
        let Data::Attr(attr) = expr.eval(scope, standard())? else { return None };
        attrs.set(name, attr);
    }
    Some(attrs)
}

pub fn complete(template: &OpTemplate, attrs: Attrs) -> Result<Attrs, OpError> {
    let entry = standard().get(&template.op)?;
    standard().complete(&template.op, coerce(&entry.schema, attrs))
}

fn no_value(call: &Call) -> OpError {
    OpError::Unsupported {
        op: call.op(),
        what: "an expression of its declaration that has no value here".to_owned(),
        way_out: Some("sizes must be known, and the elements of operands are not known in a form".to_owned()),
    }
}
