//! The numbers, for people and for machines.

use serde_json::{Value, json};

use crate::harness::{Entry, Goal, Measured, OURS};

/// The processor that is measured on, and how many of its threads this process may use.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {threads} threads")
}

/// One line for each row, as Markdown that can be read as it is.
pub fn table(rows: &[Measured]) -> String {
    let header = [
        "row",
        "winddown",
        "best peer",
        "ratio",
        "to reach",
        "met",
        "the others",
    ];
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| line(row, rows)));
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut table = String::new();
    for (i, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let padded = match column {
                1 | 3 => format!("| {cell:>width$} "),
                6 => format!("| {cell} "),
                _ => format!("| {cell:<width$} "),
            };
            table.push_str(&padded);
        }
        table.push_str("|\n");
        if i == 0 {
            table.push_str("|---|--:|---|--:|---|---|---|\n");
        }
    }
    table
}

fn line(row: &Measured, rows: &[Measured]) -> [String; 7] {
    let ours = row.ours();
    let best = row.best();
    let mut others: Vec<&Entry> = row
        .entries
        .iter()
        .filter(|entry| entry.name != OURS && best.is_none_or(|best| best.name != entry.name))
        .collect();
    others.sort_by(|a, b| a.median.total_cmp(&b.median));
    let goals: Vec<(String, Option<bool>)> =
        row.goals.iter().map(|goal| goal.judge(row, rows)).collect();
    [
        row.name.clone(),
        ours.map_or("-".into(), |ours| {
            format!("{} {}", number(ours.median), row.unit)
        }),
        best.map_or("-".into(), |best| {
            format!("{} {}", number(best.median), best.name)
        }),
        ours.zip(best)
            .map_or("-".into(), |(ours, best)| ratio(ours.times(best))),
        join(goals.iter().map(|(text, _)| text.clone())),
        join(goals.iter().map(|(_, met)| met_word(*met).to_owned())),
        join(
            others
                .iter()
                .map(|entry| format!("{} {}", number(entry.median), entry.name)),
        ),
    ]
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn met_word(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
}

/// Three digits that matter.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".into(),
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn ratio(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.2}")
    } else {
        "-".into()
    }
}

impl Goal {
    /// The goal in words, with what was reached where the table's own ratio does not say it; and
    /// whether it was met, if that could be measured.
    fn judge(&self, row: &Measured, rows: &[Measured]) -> (String, Option<bool>) {
        let ours = row.ours();
        let against = |other: Option<&Entry>, limit: f64| {
            Some(ours?.times(other?)).map(|times| (times, times <= limit))
        };
        let say = |text: String, found: Option<(f64, bool)>| match found {
            Some((value, met)) => (format!("{text}: {}", number(value)), Some(met)),
            None => (text, None),
        };
        match self {
            Self::Best(limit) => {
                let met = against(row.best(), *limit).map(|(_, met)| met);
                (format!("{limit:.2}x best"), met)
            }
            Self::Times(name, limit) => say(
                format!("{limit:.2}x {name}"),
                against(row.entry(name), *limit),
            ),
            Self::Over(name, limit) => {
                let found = ours.zip(row.entry(name)).map(|(ours, other)| {
                    let over = ours.over(other);
                    (over, over <= *limit)
                });
                say(format!("{name} + {limit} {}", row.unit), found)
            }
            Self::Below(limit) => {
                let met = ours.map(|ours| ours.median <= *limit);
                (format!("{limit} {}", row.unit), met)
            }
            Self::Flat(name, limit) => {
                let level = |row: &Measured| {
                    let yardstick = row.entries.iter().find(|entry| entry.yardstick);
                    Some(row.ours()?.median / yardstick.map_or(1.0, |entry| entry.median))
                };
                let base = rows.iter().find(|row| row.name == *name).and_then(level);
                let found = level(row).zip(base).map(|(level, base)| {
                    let times = level / base;
                    (times, times <= *limit)
                });
                say(format!("{limit:.2}x '{name}'"), found)
            }
        }
    }
}

pub fn json(rows: &[Measured]) -> Value {
    rows.iter()
        .map(|row| {
            let entries: Vec<Value> = row
                .entries
                .iter()
                .map(|entry| {
                    let ours = row.ours().map(|ours| ours.times(entry));
                    json!({
                        "name": entry.name,
                        "yardstick": entry.yardstick,
                        "median": entry.median,
                        "fastest": entry.fastest(),
                        "winddown_ratio": ours.filter(|ratio| ratio.is_finite()),
                    })
                })
                .collect();
            let goals: Vec<Value> = row
                .goals
                .iter()
                .map(|goal| {
                    let (goal, met) = goal.judge(row, rows);
                    json!({ "goal": goal, "met": met })
                })
                .collect();
            json!({
                "row": row.name,
                "what": row.what,
                "unit": row.unit,
                "best_peer": row.best().map(|best| best.name),
                "contenders": entries,
                "goals": goals,
            })
        })
        .collect()
}
