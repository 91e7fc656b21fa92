//! A load at a pace: `paced-load IP:PORT PATH BODY CLIENTS RATE WARM SECONDS` asks for PATH RATE times a second over CLIENTS
//! connections, and prints as JSON how many µs each answer took, but for the first WARM seconds.
//!
//! Requests are due at even gaps, whatever became of those before them, and go to any connection that waits for nothing. One
//! that finds none waits, and its time counts from when it was due: a proxy that stops does not get fewer requests for
//! that. What is due or under way while the load itself is stopped (the host of a virtual machine does that) is left out
//! and counted: sent all at once, it would be a crowd that no user makes. The load never sleeps, as to be woken by a timer
//! takes a virtual machine up to a millisecond; with a backend on its CPU it gives way each time around.
//!
//! An answer other than 200 with BODY bytes, or a connection that is closed, ends it with an error.

use std::collections::VecDeque;
use std::env;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fleetbal_cluster_tests::bench_client::{BUFFER, Client, Events, Question};
use serde_json::json;

/// For how long an answer may be waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than the load takes for once around, backend included, where it has its CPU: then it was stopped.
const STOPPED: Duration = Duration::from_millis(1);

/// When requests are due, from a beginning.
struct Schedule {
    gap: Duration,
    warm: Duration,
    until: Duration,
    /// How many were due so far.
    due: u32,
}

impl Schedule {
    /// Whether one more is due.
    fn next(&mut self, now: Duration) -> bool {
        let at = self.gap * self.due;
        let is_due = at <= now && at < self.until;
        self.due += u32::from(is_due);
        is_due
    }
}

/// Requests from when they are due to their answers.
struct Load<'a> {
    question: &'a Question,
    /// Each with when its last request was due, unless nobody looked when it was answered.
    clients: Vec<(Client, Option<Duration>)>,
    /// Clients that wait for nothing.
    free: VecDeque<usize>,
    /// Requests that no client was free for, by when they were due.
    waiting: VecDeque<Duration>,
    /// When each was due, and how long it took.
    answers: Vec<(Duration, Duration)>,
    /// Requests that were not sent, or whose answers may have been there before they were seen.
    missed: usize,
}

impl Load<'_> {
    fn send(&mut self) -> Result<()> {
        while !self.waiting.is_empty()
            && let Some(number) = self.free.pop_front()
        {
            let (client, due) = self.clients.get_mut(number).context("no such client")?;
            *due = self.waiting.pop_front();
            client.ask(self.question)?;
        }
        Ok(())
    }

    fn go_on(&mut self, number: usize, buffer: &mut [u8], begun: Instant) -> Result<()> {
        let (client, due) = self.clients.get_mut(number).context("no such client")?;
        if client.go_on(self.question, buffer)? {
            let took = |due: Duration| (due, begun.elapsed().saturating_sub(due));
            self.answers.extend(due.take().map(took));
            self.free.push_back(number);
        }
        Ok(())
    }

    /// Leaves out what was under way, or due, while nobody looked.
    fn was_stopped(&mut self, now: Duration, schedule: &mut Schedule) {
        let counts = now >= schedule.warm;
        while schedule.next(now) {
            self.missed += usize::from(counts);
        }
        let asked = self.clients.iter_mut().filter_map(|(_, due)| due.take());
        let lost = asked.chain(self.waiting.drain(..)).count();
        self.missed += if counts { lost } else { 0 };
    }

    fn report(&self, schedule: &Schedule) -> serde_json::Value {
        let counted = self.answers.iter().filter(|(due, _)| *due >= schedule.warm);
        let took: Vec<_> = counted.map(|(_, took)| took.as_micros()).collect();
        json!({"took": took, "missed": self.missed})
    }
}

/// All of it: response times in µs, and how many are missed.
fn run(question: &Question, clients: usize, mut schedule: Schedule) -> Result<serde_json::Value> {
    let mut events = Events::new()?;
    let connect = |number| Ok((Client::connect(question, &events, number)?, None));
    let mut load = Load {
        question,
        clients: (0..clients).map(connect).collect::<Result<_>>()?,
        free: (0..clients).collect(),
        waiting: VecDeque::new(),
        answers: Vec::new(),
        missed: 0,
    };
    let mut buffer = vec![0; BUFFER];
    let begun = Instant::now();
    let mut looked = Duration::ZERO;
    loop {
        let now = begun.elapsed();
        if now.saturating_sub(looked) > STOPPED {
            load.was_stopped(now, &mut schedule);
        }
        looked = now;
        while schedule.next(now) {
            load.waiting.push_back(now);
        }
        load.send()?;
        let is_over = now >= schedule.until && load.waiting.is_empty() && load.free.len() == clients;
        if is_over {
            return Ok(load.report(&schedule));
        }
        ensure!(now < schedule.until + PATIENCE, "no answer for {PATIENCE:?}");
        for number in events.wait(Duration::ZERO)? {
            load.go_on(number, &mut buffer, begun)?;
        }
        thread::yield_now();
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, path, body, clients, rate, warm, seconds] = &arguments[..] else {
        bail!("usage: paced-load IP:PORT PATH BODY CLIENTS RATE WARM SECONDS");
    };
    let question = Question::new(
        address.parse().context("IP:PORT")?,
        path,
        body.parse().context("BODY")?,
    );
    let rate: f64 = rate.parse().context("RATE")?;
    let schedule = Schedule {
        gap: Duration::try_from_secs_f64(1.0 / rate).context("RATE")?,
        warm: Duration::try_from_secs_f64(warm.parse()?).context("WARM")?,
        until: Duration::try_from_secs_f64(seconds.parse()?).context("SECONDS")?,
        due: 0,
    };
    ensure!(schedule.warm < schedule.until, "WARM is less than SECONDS");
    println!(
        "{}",
        run(&question, clients.parse().context("CLIENTS")?, schedule)?
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn schedule(gap: Duration, until: Duration) -> Schedule {
        let warm = Duration::ZERO;
        Schedule {
            gap,
            warm,
            until,
            due: 0,
        }
    }

    /// A listener, and what is asked there.
    fn listen() -> (TcpListener, Question) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("it listens on IPv4")
        };
        (listener, Question::new(address, "/", 3))
    }

    /// Times in µs, and how many are missed, with a server that answers one request at a time, after so long.
    fn times(schedule: Schedule, pause: Duration) -> (Vec<u64>, u64) {
        let (listener, question) = listen();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let heard = BufReader::new(client.try_clone().unwrap()).lines();
            let lines = heard.map_while(Result::ok);
            for _ in lines.filter(String::is_empty) {
                thread::sleep(pause);
                client
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc")
                    .unwrap();
            }
        });
        let found = run(&question, 1, schedule).unwrap();
        server.join().unwrap();
        let took = found["took"].as_array().unwrap();
        let took = took.iter().map(|took| took.as_u64().unwrap()).collect();
        (took, found["missed"].as_u64().unwrap())
    }

    #[test]
    fn each_gap_one_is_due_until_the_end() {
        let mut schedule = schedule(MILLISECOND * 2, MILLISECOND * 7);
        let mut due = |at| std::iter::from_fn(|| schedule.next(MILLISECOND * at).then_some(())).count();
        assert_eq!([due(0), due(1), due(5), due(9), due(100)], [1, 0, 2, 1, 0]);
    }

    #[test]
    fn who_waits_for_a_connection_is_counted_from_when_it_was_due() {
        let pause = MILLISECOND * 30;
        let (took, missed) = times(schedule(MILLISECOND * 10, MILLISECOND * 35), pause);
        // Those that the load was stopped for are not in it.
        assert_eq!(took.len() as u64 + missed, 4);
        for (number, took) in (1..).zip(&took).filter(|_| missed == 0) {
            let waited = Duration::from_micros(*took) + MILLISECOND * 10 * (number - 1);
            assert!(waited + MILLISECOND >= pause * number, "{number}: {waited:?}");
        }
    }

    #[test]
    fn what_nobody_looked_at_is_missed() {
        let (_listener, question) = listen();
        let events = Events::new().unwrap();
        let client = |number| Client::connect(&question, &events, number).unwrap();
        let mut load = Load {
            question: &question,
            clients: vec![(client(0), Some(MILLISECOND)), (client(1), None)],
            free: VecDeque::from([1]),
            waiting: VecDeque::from([MILLISECOND]),
            answers: Vec::new(),
            missed: 0,
        };
        let mut schedule = schedule(MILLISECOND, MILLISECOND * 100);
        load.was_stopped(MILLISECOND * 9, &mut schedule);
        assert_eq!((load.missed, schedule.due), (12, 10));
        assert!(load.waiting.is_empty() && load.clients.iter().all(|(_, due)| due.is_none()));
    }
}
