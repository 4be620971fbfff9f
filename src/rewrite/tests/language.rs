//! The language: what the checker finds, what matches.
