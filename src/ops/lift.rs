//! Which ONNX operators are read, and what their versions take.

use std::borrow::Cow;
use std::sync::Arc;

use super::{BRAINCHIP, BRAINCHIP_OPSET, LiftCx, OnnxNode, OpError};
use crate::ir::ValueId;

/// What one version of an ONNX operator takes: nothing else may be given, so that a misspelt
/// attribute is not one that is left out.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// The opset of the domain that brought it.
    pub since: i64,
    /// Most operands; [`Version::ANY`] where the operator itself counts them.
    pub inputs: usize,
    /// Names of all attributes, those without effect on results too.
    pub attrs: &'static [&'static str],
}

impl Version {
    pub const ANY: usize = usize::MAX;

    pub const fn new(since: i64, inputs: usize, attrs: &'static [&'static str]) -> Self {
        Self { since, inputs, attrs }
    }
}

/// [`Version`], with names that may come from a file.
#[derive(Clone)]
struct Known {
    since: i64,
    inputs: usize,
    attrs: Vec<Cow<'static, str>>,
}

impl From<Version> for Known {
    fn from(version: Version) -> Self {
        let attrs = version.attrs.iter().map(|&name| name.into()).collect();
        Self { since: version.since, inputs: version.inputs, attrs }
    }
}

type Read = dyn Fn(&mut LiftCx) -> Result<Vec<ValueId>, OpError> + Send + Sync;

/// How an ONNX operator is read.
#[derive(Clone)]
pub struct Lift {
    pub domain: Cow<'static, str>,
    pub op_type: Cow<'static, str>,
    /// The versions that are understood, oldest first; at least one.
    versions: Vec<Known>,
    /// Adds the nodes and gives the value of each output. Takes what its versions differ in
    /// from [`LiftCx::opset`].
    read: Arc<Read>,
}

impl Lift {
    /// An operator of ONNX itself, with its versions, oldest first.
    pub fn standard<const N: usize>(
        op_type: &'static str,
        versions: [Version; N],
        read: impl Fn(&mut LiftCx) -> Result<Vec<ValueId>, OpError> + Send + Sync + 'static,
    ) -> Self {
        const { assert!(N > 0) };
        let versions = versions.into_iter().map(Known::from).collect();
        Self { domain: "".into(), op_type: op_type.into(), versions, read: Arc::new(read) }
    }

    /// An operator of the hardware domain.
    pub fn hardware(
        op_type: impl Into<Cow<'static, str>>,
        inputs: usize,
        attrs: &'static [&'static str],
        read: impl Fn(&mut LiftCx) -> Result<Vec<ValueId>, OpError> + Send + Sync + 'static,
    ) -> Self {
        let versions = vec![Version::new(BRAINCHIP_OPSET, inputs, attrs).into()];
        Self { domain: BRAINCHIP.into(), op_type: op_type.into(), versions, read: Arc::new(read) }
    }

    /// An operator of another domain, which has it from opset `since` on.
    pub fn of_domain(
        domain: String,
        op_type: String,
        since: i64,
        inputs: usize,
        attrs: impl IntoIterator<Item = String>,
        read: impl Fn(&mut LiftCx) -> Result<Vec<ValueId>, OpError> + Send + Sync + 'static,
    ) -> Self {
        let attrs = attrs.into_iter().map(Cow::from).collect();
        let versions = vec![Known { since, inputs, attrs }];
        Self { domain: domain.into(), op_type: op_type.into(), versions, read: Arc::new(read) }
    }

    /// The oldest opset of the domain whose version of the operator is understood.
    pub fn since(&self) -> i64 {
        self.versions.first().map_or(1, |version| version.since)
    }

    /// Reads a node of an opset from [`Lift::since`] on: adds the nodes that it stands for and gives
    /// the value of each output.
    ///
    /// # Errors
    /// An attribute or operand that its version does not take, and what the operator finds.
    pub fn read(&self, cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
        self.check(cx.node, cx.opset)?;
        (self.read)(cx)
    }

    fn check(&self, node: &OnnxNode, opset: i64) -> Result<(), OpError> {
        let Some(version) = self.versions.iter().rfind(|version| version.since <= opset) else {
            return Ok(());
        };
        let op = || node.op_type.clone();
        if let Some(attr) = node.attrs.keys().find(|attr| !version.attrs.iter().any(|name| *name == **attr)) {
            return Err(
                if self.versions.iter().any(|other| other.attrs.iter().any(|name| *name == **attr)) {
                    OpError::AttrOfOtherVersion { op: op(), attr: attr.clone(), opset }
                } else {
                    let known = version.attrs.iter().map(|name| name.to_string()).collect();
                    OpError::UnknownAttr { op: op(), attr: attr.clone(), known }
                },
            );
        }
        // Absent operands at the end are as good as none.
        let found = node.inputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        if found > version.inputs {
            let expected = format!("at most {}", version.inputs);
            return Err(OpError::Arity { op: op(), expected, found });
        }
        Ok(())
    }
}
