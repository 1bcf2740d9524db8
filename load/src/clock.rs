//! A clock that servers see, and that can be set.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use fastrand::Rng;
use nix::unistd::Pid;

/// Set by libfaketime.
pub struct Clock {
    library: PathBuf,
    /// Holds the difference to the time of the system.
    file: PathBuf,
}

impl Clock {
    pub fn new(library: &Path, name: &str) -> Result<Self, String> {
        let file = env::temp_dir().join(format!("winddown-soak-{}-{name}", process::id()));
        let clock = Self {
            library: library.to_owned(),
            file,
        };
        clock.write("+0").map_err(|error| error.to_string())?;
        Ok(clock)
    }

    pub fn env(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            // In seconds. After that it reads the file again.
            ("FAKETIME_CACHE_DURATION", "1".into()),
            // As the kernel: a set clock does not change that one.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    pub fn set(&self, random: &mut Rng) -> io::Result<()> {
        let steps = ["-400d", "-1h", "-2s", "+0", "+2s", "+1h", "+400d"];
        self.write(steps[random.usize(..steps.len())])
    }

    /// At once, because a server may read it meanwhile.
    fn write(&self, difference: &str) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, difference)?;
        fs::rename(new, &self.file)
    }

    /// Removes what libfaketime leaves behind if a process ends by `_exit`.
    pub fn forget(pid: Pid) {
        for kind in ["faketime_shm", "sem.faketime_sem"] {
            let _ = fs::remove_file(format!("/dev/shm/{kind}_{pid}"));
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}
