//! Calibration and quantization.
//!
//! Guarantees: ranges depend on the samples alone, not on how they are batched; a quantized
//! graph holds exactly the integers of the specification; what stays float is said, with the
//! reason.

mod activations;
mod akida;
mod arrays;
mod calibrate;
mod check;
mod device;
mod error;
mod fixed_point;
mod mad;
mod measure;
mod ranges;
mod report;
mod samples;

pub use activations::keep_activation_ranges;
pub use akida::{
    AkidaOptions, Unquantized, already_quantized, device_values, quantize_akida, quantized_elsewhere,
    refused_layers,
};
pub use arrays::read_arrays;
pub use calibrate::{CalibrateOptions, Calibrated, Seen, calibrate};
pub use check::{LayerBounds, bounds_table, check_layers};
pub use device::device_limits;
pub use error::QuantError;
pub use fixed_point::{
    FixedPointOptions, Quantized, calibrate_fixed_point, check_fixed_point, quantize_fixed_point,
    write_config,
};
pub use mad::{MadFit, fit_mad};
pub use measure::errors;
pub use ranges::{apply_ranges, ranges_of, read_ranges, write_ranges};
pub use report::{LayerNote, QuantizeReport, StayCause, StayNote, WhyNote};
pub use samples::{RandomSamples, SampleFiles, Samples, as_frames};
