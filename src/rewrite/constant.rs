//! Constants that are computed when someone looks.

use std::sync::{Arc, OnceLock};

use crate::ir::Attrs;
use crate::ops::{Arithmetic, OpError, Registry};
use crate::tensor::{Tensor, TensorType};

/// A tensor known to the compiler: given, or an operator over such tensors. Evaluated once.
#[derive(Clone, Debug)]
pub struct Constant(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// Longest chain of unevaluated operators below; bounded by [`DEEPEST`].
    depth: u32,
    value: OnceLock<Result<Arc<Tensor>, OpError>>,
}

#[derive(Debug)]
enum Source {
    Given(Arc<Tensor>),
    Computed { op: Arc<str>, attrs: Attrs, operands: Vec<Option<Constant>>, result: usize },
}

/// Deeper chains are evaluated where they arise, so that no recursion depends on the input.
const DEEPEST: u32 = 32;
/// Tensors of at most so many elements are evaluated where they arise: equal contents then meet
/// in one class.
const SMALL: usize = 1024;
/// Larger results (elements) stay operators unless some operand is as large: a broadcast must not
/// allocate what two short vectors merely suggest.
const LARGEST_GROWTH: usize = 1 << 24;

impl Constant {
    pub fn given(tensor: Arc<Tensor>) -> Self {
        Self(Arc::new(Inner { source: Source::Given(tensor), depth: 0, value: OnceLock::new() }))
    }

    /// Each result of `op` over constants, or `None` where it must stay an operator: some operand
    /// is unknown, some grid is not plain, a result is of unknown size or far larger than all
    /// operands, or evaluation fails.
    pub fn computed(
        registry: &Registry,
        op: &Arc<str>,
        attrs: &Attrs,
        operands: &[Option<&Constant>],
        operand_types: &[Option<TensorType>],
        types: &[TensorType],
    ) -> Option<Vec<Self>> {
        let plain = |ty: &TensorType| ty.grid.is_plain();
        if !operand_types.iter().flatten().chain(types).all(plain) {
            return None;
        }
        let largest_operand =
            operand_types.iter().flatten().filter_map(|ty| ty.shape.elements()).max().unwrap_or(0);
        let sizes: Vec<usize> = types.iter().map(|ty| ty.shape.elements()).collect::<Option<_>>()?;
        if sizes.iter().any(|&size| size > LARGEST_GROWTH.max(largest_operand)) {
            return None;
        }
        let operands: Vec<Option<Constant>> = operands.iter().map(|operand| operand.cloned()).collect();
        let depth = 1 + operands.iter().flatten().map(|operand| operand.0.depth).max().unwrap_or(0);
        let eager = depth > DEEPEST || sizes.iter().all(|&size| size <= SMALL);
        (0..types.len())
            .map(|result| {
                let source = Source::Computed {
                    op: op.clone(),
                    attrs: attrs.clone(),
                    operands: operands.clone(),
                    result,
                };
                let lazy = Self(Arc::new(Inner { source, depth, value: OnceLock::new() }));
                if !eager {
                    return Some(lazy);
                }
                let tensor = lazy.tensor(registry).ok()?;
                Some(Self::given(tensor))
            })
            .collect()
    }

    /// Whether the tensor was given, or evaluated where it arose.
    pub fn is_given(&self) -> bool {
        matches!(self.0.source, Source::Given(_))
    }

    /// The tensor; evaluated in f32 or f64 by the operators' own semantics, at most once.
    pub fn tensor(&self, registry: &Registry) -> Result<Arc<Tensor>, OpError> {
        let (op, attrs, operands, result) = match &self.0.source {
            Source::Given(tensor) => return Ok(tensor.clone()),
            Source::Computed { op, attrs, operands, result } => (op, attrs, operands, *result),
        };
        let evaluate = || {
            let tensors = operands
                .iter()
                .map(|operand| match operand {
                    // Sharing the buffer: tensors are cheaply cloned.
                    Some(operand) => operand.tensor(registry).map(|tensor| Some((*tensor).clone())),
                    None => Ok(None),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let results = registry.eval(op, attrs, &tensors, Arithmetic::Exact)?;
            results.into_iter().nth(result).map(Arc::new).ok_or_else(|| OpError::Unsupported {
                op: op.to_string(),
                what: format!("evaluating result {result}"),
                way_out: None,
            })
        };
        self.0.value.get_or_init(evaluate).clone()
    }
}
