//! [`Answers`]: answers that are to be sent, and the guards of their requests.

use std::mem;
use std::sync::Arc;

use winddown::Guard;

/// Answers that are to be sent, and the guards of their requests.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) count: usize,
    pub(crate) guards: Guards,
}

impl Answers {
    pub(crate) fn append(&mut self, more: Self) {
        self.count += more.count;
        self.guards.append(more.guards);
    }
}

/// The guards of requests. One has a place without an allocation, because most requests have one at most.
#[derive(Default)]
pub(crate) enum Guards {
    #[default]
    None,
    One(Arc<Guard>),
    More(Vec<Arc<Guard>>),
}

impl Guards {
    pub(crate) fn append(&mut self, more: Self) {
        *self = match (mem::take(self), more) {
            (Self::None, guards) | (guards, Self::None) => guards,
            (Self::One(one), Self::One(other)) => Self::More(vec![one, other]),
            (Self::More(mut guards), Self::One(one)) | (Self::One(one), Self::More(mut guards)) => {
                guards.push(one);
                Self::More(guards)
            }
            (Self::More(mut guards), Self::More(mut others)) => {
                guards.append(&mut others);
                Self::More(guards)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use winddown::Shutdown;

    use super::*;

    #[test]
    fn appended_guards_are_all_held() {
        let shutdown = Shutdown::new();
        let guards = |count| {
            let mut guards = Guards::default();
            for _ in 0..count {
                let guard = shutdown.guard().expect("nothing was drained");
                guards.append(Guards::One(Arc::new(guard)));
            }
            guards
        };
        for count in 0..4 {
            for more in 0..4 {
                let mut held = guards(count);
                held.append(guards(more));
                assert_eq!(shutdown.in_flight(), count + more);
                drop(held);
                assert_eq!(shutdown.in_flight(), 0);
            }
        }
    }
}
