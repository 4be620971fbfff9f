//! Texts in and out: `.qir` graphs, `.qrules` rule files, pipelines.
//!
//! Guarantees: what is printed reads back as the same thing; all errors of a text come out of one
//! run, each at its exact place; no text makes a reader panic, or allocate more than a small
//! multiple of its size; files are read only through the function that the caller passes.

pub mod error;
pub mod findings;
mod layout;
mod lexing;
pub mod pipeline;
pub mod qir;
mod recover;
pub mod rules;
pub mod text;
