//! Random load, faults, stops and restarts for some minutes.
//!
//! All servers run at once. Each runs for half of the time as one process, whose memory, descriptors and
//! threads are compared, and then stops and restarts until the time is over. What happens when is random;
//! a seed repeats the choices, but not the instants.
//!
//! - A request is lost as client.rs says. While a server runs, and while this process holds the listener,
//!   none may be lost or refused. For a plain stop see stop.rs. A forced stop, or one whose deadline has
//!   passed, owes nothing; nor does a server with a thread for each connection that can't start one.
//! - A stop ends by its deadline with exit code 0, or with 1 if it had no descriptors, threads or memory for
//!   the queue of its listener and says so; or soon after the second signal with 1; or soon after the
//!   deadline with 1, if a request outlasts it.

use std::collections::BTreeMap;
use std::env;
use std::iter;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::client::{Connection, Kind, Load, Lost, Plan, Tally};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::proc::{self, Vitals};
use crate::restart::failures;
use crate::server::{Config, End, Server, go_on};
use crate::settings::{Settings, name, number};
use crate::stop::describe;
use crate::unruly::{UNRULY, unruly};

/// The longest request of the clients that behave, in milliseconds.
const LONGEST: u64 = 50;

/// How long the examples may take after their deadline to say that they are late, before they are forced.
const MARGIN: Duration = Duration::from_secs(1);

/// How late a busy machine may be.
const ALLOWANCE: Duration = Duration::from_secs(3);

/// How long connections may take to end after their clients have gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much memory a server may have more of, in KiB: what its allocator keeps of the largest burst.
const GROWTH: u64 = 2048;

/// After so many mistakes of one server there is no point in more.
const MISTAKES: usize = 20;

/// How a stop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Drained,
    /// By a second signal.
    Forced,
    /// Its deadline has passed.
    Late,
}

/// What a server owes its clients.
#[derive(Clone, Copy, PartialEq)]
enum Owed {
    /// An answer to each.
    Answer,
    /// The same to each that the kernel has accepted.
    AnswerOrRefusal,
    /// The same to each that the server has accepted: the kernel resets the rest of the queue.
    AnswerIfAccepted,
    Nothing,
}

pub fn run(settings: &Settings, programs: &[PathBuf]) -> Result<(), String> {
    let time = Duration::from_secs(number("SOAK_SECONDS", 600)?);
    let seed = number("SOAK_SEED", fastrand::u64(..1_000_000))?;
    let faketime = env::var_os("LIBFAKETIME").map(PathBuf::from);
    println!("{time:?} of faults and stops; SOAK_SEED={seed} repeats the choices.");
    if faketime.is_none() {
        println!("The clock is not set, because LIBFAKETIME does not name a library.");
    }
    let clients = settings.clients.div_ceil(programs.len()).max(2);
    let mut soaks = Vec::new();
    for (program, seed) in programs.iter().zip(seed..) {
        soaks.push(Soak::new(program, clients, seed, faketime.as_deref())?);
    }
    thread::scope(|scope| {
        for soak in &mut soaks {
            scope.spawn(|| soak.run(time));
        }
    });
    go_on()?;

    let mut mistakes = 0;
    let mut faults = BTreeMap::new();
    for mut soak in soaks {
        soak.judge();
        soak.print();
        mistakes += soak.mistakes;
        for (fault, count) in soak.counts.faults {
            *faults.entry(fault).or_insert(0) += count;
        }
    }
    let missing = |fault: &Fault| {
        !faults.contains_key(fault) && (*fault != Fault::Clock || faketime.is_some())
    };
    if let Some(fault) = Fault::ALL.into_iter().find(missing) {
        return Err(format!("{fault:?} has never happened"));
    }
    match mistakes {
        0 => Ok(()),
        _ => Err(format!("{mistakes} mistakes with SOAK_SEED={seed}")),
    }
}

/// Draws each card once before one comes again.
struct Deck<T> {
    cards: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    fn new(cards: impl IntoIterator<Item = T>) -> Self {
        let cards = cards.into_iter().collect();
        Self {
            cards,
            left: Vec::new(),
        }
    }

    fn draw(&mut self, random: &mut Rng) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.cards);
            random.shuffle(&mut self.left);
        }
        self.left.pop().expect("a deck has cards")
    }
}

#[derive(Default)]
struct Counts {
    endings: BTreeMap<Ending, usize>,
    restarts: usize,
    faults: BTreeMap<Fault, usize>,
    answered: u64,
    refused: u64,
    lost: usize,
    /// Requests that were owed no answer.
    cut: usize,
    raced: u64,
    /// The longest time of a stop.
    slowest: BTreeMap<Ending, Duration>,
    /// Of the long-lived process, after it has warmed up and in the end.
    vitals: Option<[Vitals; 2]>,
}

/// What one server goes through.
struct Soak<'a> {
    program: &'a Path,
    clients: usize,
    clock: Option<Clock>,
    random: Rng,
    faults: Deck<Option<Fault>>,
    unruly: Deck<Option<&'static [u8]>>,
    /// `None` are restarts.
    rounds: Deck<Option<Ending>>,
    counts: Counts,
    mistakes: usize,
}

impl<'a> Soak<'a> {
    fn new(
        program: &'a Path,
        clients: usize,
        seed: u64,
        faketime: Option<&Path>,
    ) -> Result<Self, String> {
        let clock = faketime.map(|library| Clock::new(library, &name(program)));
        let clock = clock.transpose()?;
        let faults = Fault::ALL.map(Some).into_iter().chain([None; 2]);
        let faults = faults.filter(|fault| *fault != Some(Fault::Clock) || faketime.is_some());
        let unruly = UNRULY
            .map(|(_, sent)| Some(sent))
            .into_iter()
            .chain([None; 2]);
        let drained = [Some(Ending::Drained); 2];
        let rounds = [Some(Ending::Forced), Some(Ending::Late), None]
            .into_iter()
            .chain(drained);
        Ok(Self {
            program,
            clients,
            clock,
            random: Rng::with_seed(seed),
            faults: Deck::new(faults),
            unruly: Deck::new(unruly),
            rounds: Deck::new(rounds),
            counts: Counts::default(),
            mistakes: 0,
        })
    }

    fn run(&mut self, time: Duration) {
        let begun = Instant::now();
        if let Err(error) = self.long_life(time / 2) {
            self.report("long life", &error);
        }
        let mut rounds = 0;
        // In a short run too, each kind of round comes once.
        while (begun.elapsed() < time || rounds < self.rounds.cards.len())
            && self.mistakes < MISTAKES
            && go_on().is_ok()
        {
            rounds += 1;
            let round = self.rounds.draw(&mut self.random);
            let ran = match round {
                Some(ending) => self.stop(ending),
                None => self.restarts(),
            };
            if let Err(error) = ran {
                self.report("a round", &error);
            }
        }
    }

    /// Runs one process, and compares what it has after a quarter of the time with what it has in the end.
    fn long_life(&mut self, time: Duration) -> Result<(), String> {
        let config = self.config();
        let server = Server::bind(self.program, &config)?;
        let address = server.wait_until_ready()?;
        let idle = settled(&server)?.descriptors;
        let begun = Instant::now();
        let mut warm = None;
        while begun.elapsed() < time && self.mistakes < MISTAKES {
            go_on()?;
            self.live(&server, address, idle)?;
            if warm.is_none() && begun.elapsed() > time / 4 {
                warm = Some(settled(&server)?);
            }
        }
        let warm = warm.ok_or("the time is too short")?;
        let mut last = settled(&server)?;
        let waited = Instant::now();
        while (last.descriptors > warm.descriptors || last.threads > warm.threads)
            && waited.elapsed() < PATIENCE
        {
            last = settled(&server)?;
        }
        self.counts.vitals = Some([warm, last]);
        if last.memory > warm.memory + GROWTH
            || last.descriptors > warm.descriptors
            || last.threads > warm.threads
        {
            self.report("long life", &format!("it has grown: {warm} -> {last}"));
        }
        let asked = self.ask(&server, None)?.1;
        let end = server.wait(asked)?;
        self.check_end("long life", (Ending::Drained, None), &config, &end);
        Ok(())
    }

    /// Runs a server for some seconds more.
    fn live(&mut self, server: &Server, address: SocketAddr, idle: u64) -> Result<(), String> {
        let begun = Instant::now();
        let load = self.load(address);
        self.sleep(200, 800);
        let fault = self.begin_fault(server, idle)?;
        let unruly = self.misbehave(address, None)?;
        // These do nothing to a process that does not handle them.
        for signal in [Signal::SIGWINCH, Signal::SIGURG, Signal::SIGCHLD] {
            if self.random.bool() {
                server.signal(signal)?;
            }
        }
        self.sleep(300, 2000);
        if let Some(fault) = fault {
            fault.end(server)?;
        }
        leave(unruly, self.random.bool())?;
        self.sleep(200, 800);
        let owed = self.owed(fault, Owed::Answer);
        self.count(&format!("running, {fault:?}"), load.end(), owed, begun);
        Ok(())
    }

    /// Starts a server, and stops it under load.
    fn stop(&mut self, ending: Ending) -> Result<(), String> {
        let mut config = self.config();
        if ending == Ending::Late {
            config.deadline = Duration::from_millis(self.random.u64(1000..2500));
        }
        config.lame_duck = Duration::from_millis([0, 0, 300][self.random.usize(..3)]);
        let server = Server::bind(self.program, &config)?;
        let address = server.wait_until_ready()?;
        let mut idle = settled(&server)?.descriptors;
        let mut held = None;
        if ending != Ending::Drained {
            let connection = Connection::hold(address);
            held = Some(connection.map_err(|error| format!("a request in flight: {error}"))?);
            idle += 1;
        }
        let load = self.load(address);
        self.sleep(100, 600);
        let fault = self.begin_fault(&server, idle)?;
        let unruly = self.misbehave(address, fault)?;
        self.sleep(0, 200);

        let title = format!("{ending:?}, {fault:?}");
        let (first, asked) = self.ask(&server, fault)?;
        let mut since = asked;
        if ending == Ending::Forced {
            // The kernel merges two signals of one number while the first is pending.
            while proc::is_pending(server.pid(), first).map_err(|error| error.to_string())? {
                thread::sleep(Duration::from_millis(1));
            }
            self.sleep(0, 700);
            since = self.ask(&server, None)?.1;
        }
        let end = server
            .wait(since)
            .map_err(|error| format!("{title}: {error}"))?;
        drop((held, unruly));
        let owed = match ending {
            Ending::Drained => self.owed(fault, Owed::AnswerOrRefusal),
            Ending::Forced | Ending::Late => Owed::Nothing,
        };
        self.count(&title, load.end(), owed, asked);
        self.check_end(&title, (ending, fault), &config, &end);
        Ok(())
    }

    /// Restarts a server some times under load, while this process holds the listener.
    fn restarts(&mut self) -> Result<(), String> {
        let config = self.config();
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let program = self.program;
        let start = || {
            let listener = listener.try_clone().map_err(|error| error.to_string())?;
            let server = Server::inherit(program, listener, None, &config)?;
            server.wait_until_ready()?;
            Ok::<_, String>(server)
        };
        let mut server = start()?;
        let idle = settled(&server)?.descriptors;
        let load = self.load(address);
        let begun = Instant::now();
        let mut owed = Owed::Answer;
        let mut faults = Vec::new();
        for _ in 0..self.random.u8(1..=3) {
            self.sleep(100, 600);
            let fault = self.begin_fault(&server, idle)?;
            let unruly = self.misbehave(address, fault)?;
            faults.push(fault);
            owed = self.owed(fault, owed);
            let title = format!("restart, {fault:?}");
            let new = self.random.bool().then(&start).transpose()?;
            let asked = self.ask(&server, fault)?.1;
            let end = server
                .wait(asked)
                .map_err(|error| format!("{title}: {error}"))?;
            self.check_end(&title, (Ending::Drained, fault), &config, &end);
            server = new.map_or_else(&start, Ok)?;
            self.counts.restarts += 1;
            drop(unruly);
        }
        self.count(&format!("restarts, {faults:?}"), load.end(), owed, begun);
        let asked = self.ask(&server, None)?.1;
        let end = server.wait(asked)?;
        self.check_end("after restarts", (Ending::Drained, None), &config, &end);
        Ok(())
    }

    fn config(&self) -> Config {
        Config {
            env: self.clock.as_ref().map(Clock::env).unwrap_or_default(),
            ..Config::default()
        }
    }

    fn load(&self, address: SocketAddr) -> Load {
        let plan = Plan {
            address,
            longest: LONGEST,
        };
        let kinds = iter::repeat([Kind::New, Kind::Kept]).flatten();
        Load::start(plan, kinds.take(self.clients))
    }

    /// Waits for a random time, in milliseconds.
    fn sleep(&mut self, least: u64, most: u64) {
        thread::sleep(Duration::from_millis(self.random.u64(least..=most)));
    }

    fn begin_fault(&mut self, server: &Server, idle: u64) -> Result<Option<Fault>, String> {
        let fault = self.faults.draw(&mut self.random);
        if let Some(fault) = fault {
            fault.begin(server, idle, self.clock.as_ref(), &mut self.random)?;
            *self.counts.faults.entry(fault).or_insert(0) += 1;
        }
        Ok(fault)
    }

    /// Lets clients misbehave, but for a stop with few descriptors: they would hold all of them.
    fn misbehave(
        &mut self,
        address: SocketAddr,
        fault: Option<Fault>,
    ) -> Result<Vec<TcpStream>, String> {
        if fault == Some(Fault::Descriptors) {
            return Ok(Vec::new());
        }
        match self.unruly.draw(&mut self.random) {
            Some(sent) => unruly(address, sent),
            None => Ok(Vec::new()),
        }
    }

    /// Sends a signal that asks the server to stop. Returns it, and when that was.
    fn ask(&mut self, server: &Server, fault: Option<Fault>) -> Result<(Signal, Instant), String> {
        let signal = [Signal::SIGTERM, Signal::SIGINT][self.random.usize(..2)];
        let asked = Instant::now();
        server.signal(signal)?;
        if fault == Some(Fault::Paused) {
            self.sleep(0, 300);
            Fault::Paused.end(server)?;
        }
        Ok((signal, asked))
    }

    /// Returns what is owed under a fault.
    fn owed(&self, fault: Option<Fault>, otherwise: Owed) -> Owed {
        match fault {
            Some(Fault::Threads | Fault::Memory) if name(self.program) == "threads" => {
                Owed::Nothing
            }
            Some(Fault::Descriptors) if otherwise == Owed::AnswerOrRefusal => {
                Owed::AnswerIfAccepted
            }
            _ => otherwise,
        }
    }

    /// Counts what became of requests.
    fn count(&mut self, title: &str, tally: Tally, owed: Owed, asked: Instant) {
        let failed = failures(&tally);
        self.counts.answered += tally.answered;
        self.counts.refused += tally.refused;
        self.counts.raced += tally.raced;
        let failed = match owed {
            Owed::Answer => failed,
            Owed::AnswerOrRefusal => failed - tally.refused as usize,
            Owed::AnswerIfAccepted => {
                let is_reset = |lost: &&Lost| lost.answered == 0 && lost.reset;
                let reset = tally.lost.iter().filter(is_reset).count();
                self.counts.cut += reset;
                failed - tally.refused as usize - reset
            }
            Owed::Nothing => {
                self.counts.cut += tally.lost.len() + tally.wrong.len();
                0
            }
        };
        if failed > 0 {
            self.counts.lost += failed;
            let lost = tally.lost.iter().map(|lost| describe(lost, asked));
            let mut shown: Vec<_> = lost.chain(tally.wrong).take(5).collect();
            shown.insert(0, format!("{failed} failed, {} refused", tally.refused));
            self.report(title, &shown.join("\n    "));
        }
    }

    fn check_end(
        &mut self,
        title: &str,
        (ending, fault): (Ending, Option<Fault>),
        config: &Config,
        end: &End,
    ) {
        *self.counts.endings.entry(ending).or_insert(0) += 1;
        let says = [
            "left in the queue of the listener",
            "error: can't accept connections",
        ];
        let short = [Fault::Descriptors, Fault::Threads, Fault::Memory];
        let left = fault.is_some_and(|fault| short.contains(&fault))
            && says.iter().any(|line| end.last.contains(line));
        let (code, least, most) = match ending {
            // What it had accepted was answered, and it says that this was not all. It gave up after half of its
            // time, and what it accepted last had as long for a request head.
            Ending::Drained if left => (1, Duration::ZERO, config.grace() + MARGIN + ALLOWANCE),
            Ending::Drained => (0, Duration::ZERO, config.grace()),
            Ending::Forced => (1, Duration::ZERO, ALLOWANCE),
            // SIGINT skips the lame duck.
            Ending::Late => (1, config.deadline, config.grace() + MARGIN + ALLOWANCE),
        };
        let slowest = self.counts.slowest.entry(ending).or_default();
        *slowest = end
            .time
            .saturating_sub(match ending {
                Ending::Late => config.grace(),
                Ending::Drained | Ending::Forced => Duration::ZERO,
            })
            .max(*slowest);
        if end.status.code() != Some(code) {
            self.report(
                title,
                &format!(
                    "{} after {:?}; its last lines:\n{}",
                    end.status, end.time, end.last
                ),
            );
        } else if !(least..=most).contains(&end.time) {
            self.report(
                title,
                &format!("it took {:?}, not {least:?} to {most:?}", end.time),
            );
        }
    }

    fn report(&mut self, title: &str, mistake: &str) {
        self.mistakes += 1;
        eprintln!("{}, {title}: {mistake}", name(self.program));
    }

    /// Judges the whole.
    fn judge(&mut self) {
        let counts = &self.counts;
        if counts.endings.len() < 3 || counts.restarts == 0 || counts.answered == 0 {
            self.report("in all", "too little has run to show anything");
        }
    }

    fn print(&self) {
        let counts = &self.counts;
        let of = |ending| counts.endings.get(&ending).copied().unwrap_or(0);
        let slowest = |ending| {
            counts
                .slowest
                .get(&ending)
                .copied()
                .unwrap_or_default()
                .as_millis()
        };
        println!("\n{}", name(self.program));
        println!(
            "  stops: {} drained, within {} ms; {} forced, within {} ms; {} late, by up to {} ms; {} restarts",
            of(Ending::Drained),
            slowest(Ending::Drained),
            of(Ending::Forced),
            slowest(Ending::Forced),
            of(Ending::Late),
            slowest(Ending::Late),
            counts.restarts,
        );
        println!(
            "  requests: {} answered, {} refused, {} lost, {} cut by a force or a fault, {} raced",
            counts.answered, counts.refused, counts.lost, counts.cut, counts.raced
        );
        println!("  faults: {:?}", counts.faults);
        if let Some([warm, last]) = counts.vitals {
            println!("  long life: {warm} -> {last}");
        }
    }
}

/// Waits until the descriptors and threads of a server have not changed for a while.
fn settled(server: &Server) -> Result<Vitals, String> {
    let read = || Vitals::read(server.pid()).map_err(|error| error.to_string());
    let begun = Instant::now();
    let mut last = read()?;
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = read()?;
        if (now.descriptors, now.threads) == (last.descriptors, last.threads)
            || begun.elapsed() > PATIENCE
        {
            return Ok(now);
        }
        last = now;
    }
}

/// Closes connections, or resets them.
fn leave(connections: Vec<TcpStream>, reset: bool) -> Result<(), String> {
    for connection in connections {
        if reset {
            let set = SockRef::from(&connection).set_linger(Some(Duration::ZERO));
            set.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
