//! Types, grids and ranges as written, and what they mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Grid as GridAst, List, Literal, LiteralKind, Name, Type};
use super::data::wrong;
use super::lower::Lower;
use crate::diag::{Span, WithPlaces, nearest};
use crate::ir::Range;
use crate::syntax::error::SyntaxError;
use crate::syntax::text::Number;
use crate::tensor::{AffineGrid, DType, Dim, Direction, Element, FixedGrid, Grid, Shape, Tensor, TensorType};

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
            GridAst::Quantized { storage, parts, span } => self.quantized(storage, parts, *span),
        }
    }

    /// An affine grid, or one of powers of two where `bits` and `frac` are among the parts. Whether entries, axis and
    /// storage fit each other is for `verify` to say.
    fn quantized(&mut self, storage: &Name, parts: &[(Name, List)], span: Span) -> Option<Grid> {
        const AFFINE: &[&str] = &["axis", "scale", "inv_scale", "zero"];
        const FIXED: &[&str] = &["axis", "bits", "frac", "scale"];
        let storage = self.dtype(storage);
        let is_fixed = parts.iter().any(|(name, _)| matches!(&*name.text, "bits" | "frac"));
        let known = if is_fixed { FIXED } else { AFFINE };
        let mut found: BTreeMap<&str, &List> = BTreeMap::new();
        for (name, list) in parts {
            if !known.contains(&&*name.text) {
                let others = known.join(", ");
                self.no_grid(name.span, format!("this grid has no `{}`: its parts are {others}", name.text));
                return None;
            }
            if found.insert(&name.text, list).is_some() {
                self.no_grid(name.span, format!("a second `{}`", name.text));
            }
        }
        let axis = match found.get("axis") {
            Some(list) => self.one::<usize>(list, "an axis").map(Some),
            None => Some(None),
        };
        if is_fixed {
            let (Some(bits), Some(frac)) = (found.get("bits"), found.get("frac")) else {
                self.no_grid(span, "a grid of powers of two needs `bits` and `frac`".to_owned());
                return None;
            };
            let value_bits = self.one::<u32>(bits, "a number of value bits");
            let frac_bits = self.entries::<i32>(frac, "a whole number", "a list of i32");
            let scales = match found.get("scale") {
                Some(list) => self.entries::<f32>(list, "a number", "a list of f32").map(|v| Some(v.into())),
                None => Some(None),
            };
            return Some(Grid::Fixed(FixedGrid {
                storage: storage?,
                value_bits: value_bits?,
                frac_bits: frac_bits?.into(),
                scales: scales?,
                axis: axis?,
            }));
        }
        let (direction, factors) = match (found.get("scale"), found.get("inv_scale")) {
            (Some(list), None) => (Direction::RealPerInteger, self.reals(list)),
            (None, Some(list)) => (Direction::IntegerPerReal, self.reals(list)),
            _ => {
                self.no_grid(span, "a grid needs `scale` or `inv_scale`".to_owned());
                return None;
            }
        };
        let zeros = match found.get("zero") {
            Some(list) => self.entries::<i64>(list, "a whole number", "a list of i64"),
            None => Some(vec![0]),
        };
        Some(Grid::Affine(AffineGrid {
            storage: storage?,
            direction,
            factors: factors?.into(),
            zeros: zeros?.into(),
            axis: axis?,
        }))
    }

    fn no_grid(&mut self, span: Span, fact: String) {
        self.problems.push(WithPlaces::new(SyntaxError::Grid { fact }).at(span, ""));
    }

    fn one<T: Number>(&mut self, list: &List, wanted: &str) -> Option<T> {
        match list {
            List::One(literal) => self.number::<T>(literal, wanted),
            other => {
                self.no_grid(other.span(), format!("{wanted} is one number"));
                None
            }
        }
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

    /// One number, several, or those of a data entry of their type.
    fn entries<T: Number + Element>(
        &mut self,
        list: &List,
        wanted: &str,
        wanted_data: &str,
    ) -> Option<Vec<T>> {
        match list {
            List::One(literal) => self.number::<T>(literal, wanted).map(|value| vec![value]),
            List::Inline(literals, _) => self.numbers::<T>(literals, wanted),
            List::Data(name) => {
                let tensor = self.datum(name)?;
                let values = tensor.elements::<T>().filter(|_| tensor.sizes().len() == 1);
                if values.is_none() {
                    self.wrong_data(name, &tensor, wanted_data);
                }
                values.map(<[T]>::to_vec)
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
