//! How much is measured.

use std::env;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub struct Settings {
    pub stops: usize,
    pub clients: usize,
    pub restarts: usize,
    pub requests: u64,
    pub activate: Option<PathBuf>,
}

impl Settings {
    pub fn from_env() -> Result<Self, String> {
        Ok(Self {
            stops: number("STOPS", 20)?,
            clients: number("CLIENTS", 24)?,
            restarts: number("RESTARTS", 10)?,
            requests: number("REQUESTS", 50_000)?,
            activate: env::var_os("ACTIVATE").map(PathBuf::from),
        })
    }
}

/// Returns a number from the environment.
pub fn number<N: FromStr>(name: &str, default: N) -> Result<N, String> {
    match env::var(name) {
        Ok(value) => value
            .parse()
            .map_err(|_| format!("{name} is not a number: '{value}'")),
        Err(_) => Ok(default),
    }
}

/// Returns the name of a server in the tables.
pub fn name(program: &Path) -> String {
    let stem = program.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Returns the path of the server that loses connections: cargo builds it beside this program.
pub fn old_wiring() -> Result<PathBuf, String> {
    let this = env::current_exe().map_err(|error| error.to_string())?;
    Ok(this.with_file_name("old_wiring"))
}
