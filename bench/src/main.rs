//! winddown beside its peers: one table.
//!
//! `cargo run --release -p winddown-bench -- [--json] [--svg FILE] [ROW...]`

mod harness;
mod peers;
#[cfg(unix)]
mod process;
mod report;
mod rows;
#[cfg(target_os = "linux")]
mod stopped;
mod svg;

use std::process::ExitCode;

use harness::{Measured, uncounted};

const USAGE: &str = "usage: winddown-bench [--json] [--svg FILE] [ROW...]
  ROW           measure only rows whose name contains one of these; all of them otherwise
  --json        print the numbers for machines
  --svg FILE    also write a bar chart";

struct Options {
    json: bool,
    svg: Option<std::path::PathBuf>,
    wanted: Vec<String>,
}

fn main() -> ExitCode {
    if let Some(role) = role() {
        uncounted(|| rows::play(&role));
        return ExitCode::SUCCESS;
    }
    match Options::from_args().and_then(|options| uncounted(|| run(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// What this process is to do if it is the child of a row.
fn role() -> Option<String> {
    let mut args = std::env::args().skip(1);
    args.next()
        .filter(|first| first == "--role")
        .and_then(|_| args.next())
}

impl Options {
    fn from_args() -> Result<Self, String> {
        use lexopt::prelude::*;

        let mut options = Self {
            json: false,
            svg: None,
            wanted: Vec::new(),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            match arg {
                Long("json") => options.json = true,
                Long("svg") => {
                    options.svg = Some(parser.value().map_err(|error| error.to_string())?.into())
                }
                Value(row) => options.wanted.push(row.to_string_lossy().into_owned()),
                other => return Err(other.unexpected().to_string()),
            }
        }
        Ok(options)
    }
}

fn run(options: Options) -> Result<(), String> {
    let rows: Vec<_> = rows::all()
        .into_iter()
        .filter(|row| {
            options.wanted.is_empty()
                || options
                    .wanted
                    .iter()
                    .any(|wanted| row.name.contains(wanted))
        })
        .collect();
    if rows.is_empty() {
        return Err("no such row".into());
    }
    let count = rows.len();
    let measured: Vec<Measured> = rows
        .into_iter()
        .enumerate()
        .map(|(i, row)| {
            eprint!("\r\x1b[K{}/{count} {}", i + 1, row.name);
            row.measure()
        })
        .collect();
    eprint!("\r\x1b[K");
    if let Some(file) = options.svg {
        std::fs::write(&file, svg::chart(&measured))
            .map_err(|error| format!("can't write {}: {error}", file.display()))?;
    }
    if options.json {
        println!("{}", report::json(&measured));
    } else {
        println!("Measured on {}.\n", report::processor());
        print!("{}", report::table(&measured));
        if let Some(note) = rows::note(&measured) {
            println!("\n{note}");
        }
    }
    Ok(())
}
