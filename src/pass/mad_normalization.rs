//! `mad-normalization`: layer normalizations by mean magnitudes, for which there are integers. This loses something.

use crate::diag::{Diagnostic, Diagnostics, WithPlaces};
use crate::ir::{Graph, Kind, ValueId};
use crate::ops::Builder;
use crate::quant::fit_mad;
use crate::tensor::Tensor;

use super::{Calibration, Context, Pass, PassError, Stage};

pub struct MadNormalization;

impl Pass for MadNormalization {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        if !graph.order().into_iter().any(|id| graph.node(id).op() == Some("LayerNormalization")) {
            return Ok(());
        }
        let Calibration::Samples(samples) = &mut cx.calibration else {
            return Err(WithPlaces::new(PassError::NoSamples { pass: "mad-normalization" }).into());
        };
        let fits = fit_mad(graph, cx.registry, &mut **samples, cx.calibrate.batch_size)?;
        samples.rewind();
        for fit in fits {
            let node = graph.node(fit.node).clone();
            let (Kind::Op { .. }, Some(x)) = (&node.kind, node.operand(0)) else { continue };
            let name = node.results[0].name.to_string();
            let [gamma, beta] = [("gamma", fit.gamma), ("beta", fit.beta)].map(|(suffix, values)| {
                graph.add_const(&format!("{}_{suffix}", node.name), Tensor::vector(values), node.loc.clone())
            });
            let mut builder = Builder { graph, registry: cx.registry, loc: node.loc.clone() };
            let new = builder
                .op(
                    "LayerMadNormalization",
                    crate::ir::Attrs::new(),
                    &[x, gamma, beta],
                    &format!("{name}/mad"),
                )
                .map_err(|error| WithPlaces::new(error).at_loc(&node.loc, ""))?;
            graph.replace_uses(ValueId { node: fit.node, result: 0 }, new);
            graph.take_name(new, &name);
            graph.set_node_name(new.node, node.name.clone());
            let message = format!(
                "`{name}` becomes a LayerMadNormalization whose results are {:.1} dB from those of the layer, on the samples",
                fit.ratio
            );
            cx.warnings.push(Diagnostic::warning("Q0722", message).at_loc(&node.loc, ""));
        }
        graph.remove_dead();
        Ok(())
    }
}
