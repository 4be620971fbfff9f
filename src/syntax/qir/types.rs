//! Types, grids and ranges as written, and what they mean.

use std::sync::Arc;

use super::ast::{Grid as GridAst, List, Literal, LiteralKind, Name, Type};
use super::data::wrong;
use super::lower::Lower;
use crate::diag::{Span, WithPlaces, nearest};
use crate::ir::Range;
use crate::syntax::error::SyntaxError;
use crate::syntax::text::Number;
use crate::tensor::{AffineGrid, DType, Dim, Direction, Grid, Shape, Tensor, TensorType};

impl Lower<'_, '_> {
    pub fn ty(&mut self, ty: &Type) -> Option<TensorType> {
        let grid = self.grid(&ty.grid);
        let shape = self.shape(&ty.dims);
        Some(TensorType { shape: shape?, grid: grid? })
    }

    pub fn shape(&mut self, dims: &[Literal]) -> Option<Shape> {
        let dims: Vec<Option<Dim>> = dims
            .iter()
            .map(|dim| match dim.kind {
                LiteralKind::Word | LiteralKind::Str => Some(Dim::Symbol(Arc::from(&*dim.text))),
                LiteralKind::Number => self.number::<usize>(dim, "a size or a symbol").map(Dim::Fixed),
            })
            .collect();
        dims.into_iter().collect::<Option<Vec<_>>>().map(Shape::from)
    }

    pub fn dtype(&mut self, name: &Name) -> Option<DType> {
        let dtype = name.text.parse().ok();
        if dtype.is_none() {
            let error = SyntaxError::UnknownType { name: name.text.to_string() };
            self.problems.push(WithPlaces::new(error).at(name.span, ""));
        }
        dtype
    }

    pub fn grid(&mut self, grid: &GridAst) -> Option<Grid> {
        match grid {
            GridAst::Plain(name) => self.dtype(name).map(Grid::Plain),
            GridAst::Alias(name) => match self.aliases.get(&*name.text) {
                Some((grid, _)) => grid.clone(),
                None => {
                    let similar = nearest(&name.text, self.aliases.keys().map(|key| &**key));
                    let similar = similar.map(|similar| format!("!{similar}"));
                    let error = SyntaxError::UnknownAlias { name: format!("!{}", name.text), similar };
                    self.problems.push(WithPlaces::new(error).at(name.span, ""));
                    None
                }
            },
            GridAst::Affine { storage, fields, span } => self.affine(storage, fields, *span),
        }
    }

    /// Whether entries, axis and storage fit each other is for `verify` to say.
    fn affine(&mut self, storage: &Name, fields: &[(Name, List)], span: Span) -> Option<Grid> {
        let dtype = self.dtype(storage);
        let mut scale: Option<(Direction, Option<Vec<f64>>)> = None;
        let mut zeros: Option<Option<Vec<i64>>> = None;
        let mut axis: Option<Option<usize>> = None;
        for (name, list) in fields {
            let twice = match &*name.text {
                "scale" => {
                    let factors = self.reals(list);
                    scale.replace((Direction::RealPerInteger, factors)).is_some()
                }
                "inv_scale" => {
                    let factors = self.reals(list);
                    scale.replace((Direction::IntegerPerReal, factors)).is_some()
                }
                "zero" => zeros.replace(self.integers(list)).is_some(),
                "axis" => {
                    let one = match list {
                        List::One(literal) => self.number::<usize>(literal, "an axis"),
                        other => {
                            let fact = "an axis is one number".to_owned();
                            self.problems
                                .push(WithPlaces::new(SyntaxError::Grid { fact }).at(other.span(), ""));
                            None
                        }
                    };
                    axis.replace(one).is_some()
                }
                other => {
                    let fact =
                        format!("a grid has no `{other}`: its parts are scale or inv_scale, zero, axis");
                    self.problems.push(WithPlaces::new(SyntaxError::Grid { fact }).at(name.span, ""));
                    return None;
                }
            };
            if twice {
                let fact = format!("a second `{}`", name.text);
                self.problems.push(WithPlaces::new(SyntaxError::Grid { fact }).at(name.span, ""));
            }
        }
        let Some((direction, factors)) = scale else {
            let fact = "a grid needs `scale` or `inv_scale`".to_owned();
            self.problems.push(WithPlaces::new(SyntaxError::Grid { fact }).at(span, ""));
            return None;
        };
        Some(Grid::Affine(AffineGrid {
            storage: dtype?,
            direction,
            factors: factors?.into(),
            zeros: zeros.unwrap_or_else(|| Some(vec![0]))?.into(),
            axis: match axis {
                Some(axis) => Some(axis?),
                None => None,
            },
        }))
    }

    /// One number, several, or those of a data entry of f64 or f32.
    fn reals(&mut self, list: &List) -> Option<Vec<f64>> {
        match list {
            List::One(literal) => self.number::<f64>(literal, "a number").map(|value| vec![value]),
            List::Inline(literals, _) => self.numbers::<f64>(literals, "a number"),
            List::Data(name) => {
                let tensor = self.datum(name)?;
                let values = tensor.elements::<f64>().map(<[f64]>::to_vec);
                let widened = || tensor.elements::<f32>().map(|v| v.iter().map(|&v| f64::from(v)).collect());
                let values = values.or_else(widened).filter(|_| tensor.sizes().len() == 1);
                if values.is_none() {
                    self.wrong_data(name, &tensor, "a list of f64 or f32");
                }
                values
            }
        }
    }

    fn integers(&mut self, list: &List) -> Option<Vec<i64>> {
        match list {
            List::One(literal) => self.number::<i64>(literal, "a whole number").map(|value| vec![value]),
            List::Inline(literals, _) => self.numbers::<i64>(literals, "a whole number"),
            List::Data(name) => {
                let tensor = self.datum(name)?;
                let values = tensor.elements::<i64>().filter(|_| tensor.sizes().len() == 1);
                if values.is_none() {
                    self.wrong_data(name, &tensor, "a list of i64");
                }
                values.map(<[i64]>::to_vec)
            }
        }
    }

    /// Whether lowest and highest make intervals is for `verify` to say.
    pub fn range(&mut self, list: &List) -> Option<Range> {
        match list {
            List::Inline(literals, span) => {
                let numbers = self.numbers::<f32>(literals, "a number")?;
                let [lowest, highest] = numbers[..] else {
                    let fact = "a range is its lowest and its highest value".to_owned();
                    self.problems.push(WithPlaces::new(SyntaxError::Range { fact }).at(*span, ""));
                    return None;
                };
                Some(Range { lowest: [lowest].into(), highest: [highest].into() })
            }
            List::Data(name) => {
                let tensor = self.datum(name)?;
                let range = match (tensor.elements::<f32>(), tensor.sizes()) {
                    (Some(values), &[2, channels]) => {
                        let (lowest, highest) = values.split_at_checked(channels)?;
                        Some(Range { lowest: lowest.into(), highest: highest.into() })
                    }
                    _ => None,
                };
                if range.is_none() {
                    self.wrong_data(name, &tensor, "f32[2, channels]: lowest, then highest values");
                }
                range
            }
            List::One(literal) => {
                let fact = "a range is its lowest and its highest value".to_owned();
                self.problems.push(WithPlaces::new(SyntaxError::Range { fact }).at(literal.span, ""));
                None
            }
        }
    }

    fn wrong_data(&mut self, name: &Name, tensor: &Tensor, wanted: &str) {
        let fact = format!("`@{}` is {}{:?}, not {wanted}", name.text, tensor.dtype(), tensor.sizes());
        self.problems.push(WithPlaces::new(SyntaxError::DataType { fact }).at(name.span, ""));
    }

    pub fn numbers<T: Number>(&mut self, literals: &[Literal], wanted: &str) -> Option<Vec<T>> {
        let numbers: Vec<Option<T>> = literals.iter().map(|literal| self.number(literal, wanted)).collect();
        numbers.into_iter().collect()
    }

    /// A number of the text as the type that its place asks for.
    pub fn number<T: Number>(&mut self, literal: &Literal, wanted: &str) -> Option<T> {
        let value = Some(literal).filter(|l| l.kind != LiteralKind::Str).and_then(|l| T::read(&l.text));
        if value.is_none() {
            self.problems.push(wrong(literal, wanted, None));
        }
        value
    }
}
