//! The rows, by what they measure.

pub mod waiting;

use crate::harness::Row;

pub fn all() -> Vec<Row> {
    waiting::rows()
}
