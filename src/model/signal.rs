//! [`Signal`]: a signal of the operating system.

use std::fmt;

/// A signal, by its number on this system.
///
/// Its `Display` is the conventional name: `SIGTERM`; on Windows `Ctrl-C` and `termination`, after the
/// console events that stand for them. There, and without the feature `signals`, only the constants here have
/// a name, and others are shown as `signal 10`.
///
/// ```
/// use winddown::Signal;
///
/// assert_eq!(Signal::TERM.as_raw(), 15);
/// assert_eq!(Signal::from_raw(2), Signal::INT);
/// # #[cfg(unix)]
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// `SIGHUP`: the terminal is gone; many daemons reload their settings on it.
    pub const HUP: Self = Self(1);
    /// `SIGINT`, the interrupt: Ctrl-C in a terminal. On Windows, Ctrl-C and Ctrl-Break.
    pub const INT: Self = Self(2);
    /// `SIGQUIT`: Ctrl-\ in a terminal.
    pub const QUIT: Self = Self(3);
    /// `SIGTERM`, the termination that supervisors send. On Windows, a closed console, a logoff and the
    /// end of the system.
    pub const TERM: Self = Self(15);
    /// `SIGUSR1`, for the program's own use.
    #[cfg(all(unix, feature = "signals"))]
    #[cfg_attr(docsrs, doc(cfg(all(unix, feature = "signals"))))]
    pub const USR1: Self = Self(signal_hook::consts::SIGUSR1);
    /// `SIGUSR2`, for the program's own use.
    #[cfg(all(unix, feature = "signals"))]
    #[cfg_attr(docsrs, doc(cfg(all(unix, feature = "signals"))))]
    pub const USR2: Self = Self(signal_hook::consts::SIGUSR2);

    /// Returns the signal with this number, whether or not the system knows one.
    ///
    /// ```
    /// use winddown::Signal;
    ///
    /// assert_eq!(Signal::from_raw(15), Signal::TERM);
    /// ```
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Returns the number of the signal.
    ///
    /// ```
    /// use winddown::Signal;
    ///
    /// assert_eq!(Signal::INT.as_raw(), 2);
    /// ```
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// Returns the exit code by which shells report a death by this signal: 128 + n; or 255, for a number that no
    /// system knows.
    pub(crate) fn exit_code(self) -> u8 {
        u8::try_from(self.0.saturating_add(128)).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(*self) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

fn name(signal: Signal) -> Option<&'static str> {
    #[cfg(all(unix, feature = "signals"))]
    {
        signal_hook::low_level::signal_name(signal.0)
    }
    #[cfg(not(all(unix, feature = "signals")))]
    {
        Some(match signal {
            Signal::INT if cfg!(windows) => "Ctrl-C",
            Signal::TERM if cfg!(windows) => "termination",
            Signal::HUP => "SIGHUP",
            Signal::INT => "SIGINT",
            Signal::QUIT => "SIGQUIT",
            Signal::TERM => "SIGTERM",
            _ => return None,
        })
    }
}
