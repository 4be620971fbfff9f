//! Calibration and quantization.
//!
//! Guarantees: ranges depend on the samples alone, not on how they are batched; a quantized
//! graph holds exactly the integers of the specification; what stays float is said, with the
//! reason.

mod akida;
mod calibrate;
mod error;
mod ranges;
mod samples;

pub use akida::{AkidaOptions, LayerNote, QuantizeReport, StayNote, quantize_akida};
pub use calibrate::{CalibrateOptions, calibrate};
pub use error::QuantError;
pub use ranges::{apply_ranges, ranges_of, read_ranges, write_ranges};
pub use samples::{RandomSamples, SampleFiles, Samples};
