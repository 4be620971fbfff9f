//! What the arguments ask of the scheme fixed-point.

use std::fs;
use std::path::Path;

use super::args::{NumberArgs, PrepareArgs, Scheme};
use super::files::io_fault;
use super::session::{End, Session};
use crate::diag::WithPlaces;
use crate::quant::{FixedPointOptions, QuantError};

/// Refuses for the scheme akida what it has no choice of.
pub fn fixed_point(session: &mut Session, args: &PrepareArgs) -> Result<FixedPointOptions, End> {
    if args.scheme == Scheme::Akida {
        expect_akida(args)?;
    }
    let defaults = FixedPointOptions::default();
    let NumberArgs {
        weight_bits,
        input_weight_bits,
        activation_bits,
        output_bits,
        scale_bits,
        buffer_bits,
        epochs,
        momentum,
        config,
    } = &args.numbers;
    let weight_bits = weight_bits.unwrap_or(defaults.weight_bits);
    let momentum = momentum.unwrap_or(defaults.momentum);
    if !(0.0..=1.0).contains(&momentum) {
        return Err(End::Usage(format!("--momentum is a share, from 0 to 1, not {momentum}")));
    }
    Ok(FixedPointOptions {
        activation_bits: activation_bits.unwrap_or(defaults.activation_bits),
        output_bits: output_bits.unwrap_or(defaults.output_bits),
        weight_bits,
        input_weight_bits: input_weight_bits.unwrap_or(weight_bits),
        scale_bits: scale_bits.or(defaults.scale_bits),
        buffer_bits: buffer_bits.unwrap_or(defaults.buffer_bits),
        per_tensor_activations: args.per_tensor_activations,
        input_dtype: args.input_dtype.into(),
        last_output_bits: args.last_output_bits,
        config: match config {
            Some(path) => read_config(session, path)?,
            None => defaults.config,
        },
        momentum,
        epochs: epochs.map_or(defaults.epochs, std::num::NonZeroUsize::get),
    })
}

fn read_config(
    session: &mut Session,
    path: &Path,
) -> Result<std::collections::BTreeMap<String, crate::ops::fixed::LayerConfig>, End> {
    session.reads(path);
    let text = fs::read_to_string(path).map_err(|error| io_fault(path, error))?;
    let config = serde_json::from_str(&text).map_err(|error| {
        let (file, error) = (path.display().to_string(), error.to_string());
        crate::diag::Diagnostics::from(WithPlaces::new(QuantError::Config { file, error }))
    });
    Ok(config?)
}

fn expect_akida(args: &PrepareArgs) -> Result<(), End> {
    let numbers = &args.numbers;
    let bits = [
        ("--weight-bits", numbers.weight_bits, 8),
        ("--input-weight-bits", numbers.input_weight_bits, 8),
        ("--activation-bits", numbers.activation_bits, 8),
        ("--output-bits", numbers.output_bits, 8),
        ("--scale-bits", numbers.scale_bits, 8),
        ("--last-output-bits", args.last_output_bits, 8),
        ("--buffer-bits", numbers.buffer_bits, 32),
    ];
    let other = bits.iter().find(|(_, given, only)| given.is_some_and(|given| given != *only));
    if let Some((flag, Some(given), only)) = other {
        return Err(End::Usage(format!(
            "{flag} {given}: the scheme akida has {only} bits there; others are of --scheme fixed-point"
        )));
    }
    let given = [
        ("--epochs", numbers.epochs.is_some_and(|epochs| epochs.get() != 1)),
        ("--momentum", numbers.momentum.is_some()),
        ("--config", numbers.config.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(End::Usage(format!("{flag}: the scheme akida has no such choice; use --scheme fixed-point")))
        }
    }
}
