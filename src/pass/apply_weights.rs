//! `apply-weights`: other numbers for the constants of a network (quantizers §8).

use std::path::PathBuf;

use crate::diag::{Diagnostic, Diagnostics, WithPlaces};
use crate::ir::{Graph, ValueId};
use crate::quant::read_arrays;

use super::{Context, Pass, Stage};

/// Names that a warning shows.
const SHOWN: usize = 8;

pub struct ApplyWeights {
    pub file: PathBuf,
}

impl Pass for ApplyWeights {
    fn requires(&self) -> Stage {
        Stage::Float
    }

    fn ensures(&self) -> Stage {
        Stage::Float
    }

    fn run(&self, graph: &mut Graph, cx: &mut Context) -> Result<(), Diagnostics> {
        let mut arrays = read_arrays(&self.file).map_err(WithPlaces::new)?;
        let file = self.file.display().to_string();
        let constants: Vec<ValueId> =
            graph.values().filter(|&value| graph.constant(value).is_some()).collect();
        let (mut kept, mut unlike) = (Vec::new(), Vec::new());
        for value in constants {
            let (name, ty) = (graph.value(value).name.to_string(), graph.ty(value).clone());
            let Some(array) = arrays.remove(&name) else {
                kept.push(name);
                continue;
            };
            if ty.shape.sizes().as_deref() != Some(array.sizes()) || ty.storage() != array.dtype() {
                unlike.push(format!(
                    "{name} is {}{}, there {}{:?}",
                    ty.storage(),
                    ty.shape,
                    array.dtype(),
                    array.sizes()
                ));
                continue;
            }
            let loc = graph.node(value.node).loc.clone();
            let new = graph.add_const(&name, array, loc);
            graph.set_type(new, ty);
            graph.replace_uses(value, new);
            graph.take_name(new, &name);
        }
        graph.remove_dead();
        let foreign: Vec<String> = arrays.into_keys().collect();
        for (what, names) in [
            ("constants of the network are not in it and stay as they are", kept),
            ("arrays of it are no constants of the network", foreign),
            ("constants have another type there and stay as they are", unlike),
        ] {
            if names.is_empty() {
                continue;
            }
            let mut warning = Diagnostic::warning("Q0721", format!("{file}: {} {what}", names.len()));
            for name in names.iter().take(SHOWN) {
                warning = warning.note(name.clone());
            }
            if names.len() > SHOWN {
                warning = warning.note(format!("and {} more", names.len() - SHOWN));
            }
            cx.warnings.push(warning);
        }
        Ok(())
    }
}
