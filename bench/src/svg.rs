//! A bar chart of some rows, each with its own scale.

use std::fmt::Write;

use crate::harness::{Entry, Measured, OURS};
use crate::report::number;

const WIDTH: usize = 760;
const NAMES: usize = 210;
const BAR: usize = 16;
const STEP: usize = 20;
const TITLE: usize = 34;

/// The rows that say most, of those that were measured.
const SHOWN: [&str; 5] = [
    "first, 2 threads",
    "re-poll, 1 thread",
    "broadcast, 100,000",
    "guard, 1 thread",
    "adapter, stream",
];

pub fn chart(rows: &[Measured]) -> String {
    let mut body = String::new();
    let mut y = 0;
    for row in rows.iter().filter(|row| SHOWN.contains(&row.name.as_str())) {
        y += TITLE;
        let baseline = y - 8;
        let (name, what, unit) = (&row.name, row.what, row.unit);
        _ = writeln!(
            body,
            r#"<text x="8" y="{baseline}" class="title">{name}: {what} ({unit})</text>"#
        );
        let mut entries: Vec<&Entry> = row.entries.iter().collect();
        entries.sort_by(|a, b| a.median.total_cmp(&b.median));
        let longest = entries.last().map_or(1.0, |entry| entry.median);
        for entry in entries {
            bar(&mut body, entry, longest, y);
            y += STEP;
        }
    }
    let height = y + 10;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<style>.title {{ font-weight: bold; font-size: 13px }} .peer {{ fill: #9aa7b4 }} .ours {{ fill: #2a7de1 }} .yardstick {{ fill: #d5dbe1 }}</style>
<rect width="100%" height="100%" fill="#ffffff"/>
{body}</svg>
"##
    )
}

fn bar(body: &mut String, entry: &Entry, longest: f64, y: usize) {
    let class = match entry.name {
        OURS => "ours",
        _ if entry.yardstick => "yardstick",
        _ => "peer",
    };
    let room = (WIDTH - NAMES - 60) as f64;
    let length = (entry.median / longest * room).max(1.0);
    let (right, text) = (NAMES - 6, y + 12);
    let end = NAMES as f64 + length + 5.0;
    let (name, value) = (entry.name, number(entry.median));
    _ = writeln!(
        body,
        r#"<text x="{right}" y="{text}" text-anchor="end">{name}</text><rect x="{NAMES}" y="{y}" width="{length:.0}" height="{BAR}" class="{class}"/><text x="{end:.0}" y="{text}">{value}</text>"#
    );
}
