//! Tables as the terminal shows them, a row as soon as it is measured.

use std::time::Duration;

pub struct Table(Vec<usize>);

impl Table {
    /// Prints the head. The first column is for names; each of the others is as wide as its head.
    pub fn new(head: &[&str]) -> Self {
        let mut widths: Vec<_> = head.iter().map(|title| title.len().max(7)).collect();
        widths[0] = 12;
        let table = Self(widths);
        table.row(&head.iter().map(ToString::to_string).collect::<Vec<_>>());
        table
    }

    pub fn row(&self, cells: &[String]) {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(&self.0).enumerate() {
            match index {
                0 => line += &format!("{cell:<width$}"),
                _ => line += &format!("  {cell:>width$}"),
            }
        }
        println!("{}", line.trim_end());
    }
}

/// Returns the median and the maximum in milliseconds, as `510/540`.
pub fn median_and_max(times: &mut [Duration]) -> String {
    times.sort();
    match times.last() {
        Some(max) => format!("{}/{}", times[times.len() / 2].as_millis(), max.as_millis()),
        None => "-".into(),
    }
}
