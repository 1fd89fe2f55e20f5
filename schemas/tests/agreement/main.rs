//! Code, golden vectors, CDDL and JSON schemas say the same.

mod cddl;
mod json;
mod sample;
mod vectors;
