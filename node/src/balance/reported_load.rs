//! `reported_load`: of two drawn backends, the one that says it has less to do.
//!
//! A backend says so in the header of any answer: `endpoint-load-metrics` of ORCA (Open Request Cost Aggregation), as
//! `TEXT cpu_utilization=0.3, …` or `JSON {"cpu_utilization": 0.3, …}`, or in the pool's own `load_header`, there also
//! as a plain number. Any unit will do, as long as all backends of the pool use the same.
//!
//! A report is of a moment. As it ages, the difference that it makes shrinks, and what is in flight decides; so a
//! backend that was loaded is asked again, and one that stopped reporting is neither shunned nor overrun.

use rand::Rng;
use serde_json::Value;

use super::stamped::{Aged, Stamped};
use super::two_choices;
use super::weights::Weights;

/// ORCA's header.
const ORCA: &str = "endpoint-load-metrics";

/// After this time a report makes a third (1/e) of the difference that it did, in milliseconds.
const DECAY: f64 = 10_000.0;

/// Larger than any load in any unit; what says more is no number to reckon with.
const LARGEST: f64 = 1e12;

/// The last report of a backend. One word; written by all workers without a lock.
#[derive(Debug, Default)]
pub struct LastReport(Stamped);

impl LastReport {
    /// It said so at `now` (milliseconds).
    pub fn record(&self, now: u32, load: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "seven digits of a load are enough, and LARGEST is in reach"
        )]
        self.0.write(now, load as f32);
    }

    /// What it said, and how long ago.
    pub fn read(&self, now: u32) -> Option<Aged> {
        self.0.read(now)
    }
}

/// What is known of a backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Requests in flight.
    pub in_flight: u32,
    /// Its last report.
    pub report: Option<Aged>,
}

/// Picks one of the usable backends.
pub fn pick(
    weights: &Weights,
    load: impl Fn(usize) -> Load,
    usable: impl Fn(usize) -> bool,
    rng: &mut impl Rng,
) -> Option<usize> {
    two_choices::pick(weights, usable, rng, |one, other| {
        let waiting = [one, other].map(|at| f64::from(load(at).in_flight) / weights.share(at));
        is_less([load(one).report, load(other).report], waiting)
    })
}

/// Whether the first of two has less to do. Both are taken for the average of the two, and each differs from it by
/// what is left of its report; one without a report is average.
fn is_less(reports: [Option<Aged>; 2], waiting: [f64; 2]) -> bool {
    let known: Vec<f64> = reports
        .iter()
        .flatten()
        .map(|report| f64::from(report.figure))
        .collect();
    let average = known.iter().sum::<f64>() / f64::from(u32::try_from(known.len()).unwrap_or(1).max(1));
    let [one, other] = reports.map(|report| {
        report.map_or(average, |report| {
            average + (f64::from(report.figure) - average) * (-f64::from(report.age) / DECAY).exp()
        })
    });
    let [one_waits, other_waits] = waiting;
    let (one, other) = (one * (one_waits + 1.0), other * (other_waits + 1.0));
    // Two that have nothing to do by their own account may still differ in what was sent to them since.
    one < other || (one <= other && one_waits < other_waits)
}

/// The load that the head of an answer reports, in `header`, or else in ORCA's. What cannot be read is no report.
pub fn read(head: &[u8], header: Option<&str>) -> Option<f64> {
    let name = header.unwrap_or(ORCA).as_bytes();
    let mut lines = head.split(|byte| *byte == b'\n').skip(1);
    lines.find_map(|line| {
        let (field, rest) = line.split_at_checked(name.len())?;
        let value = rest
            .strip_prefix(b":")
            .filter(|_| field.eq_ignore_ascii_case(name))?;
        parse(std::str::from_utf8(value).ok()?.trim())
    })
}

fn parse(value: &str) -> Option<f64> {
    let load = match value.split_once(' ') {
        Some((form, pairs)) if form.eq_ignore_ascii_case("text") => {
            let pairs = pairs.split(',').filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                Some((name.trim(), value.trim().parse().ok()?))
            });
            utilization(pairs)
        }
        Some((form, object)) if form.eq_ignore_ascii_case("json") => {
            let object: Value = serde_json::from_str(object).ok()?;
            let pairs = object.as_object()?.iter();
            let named = object.get("utilization").and_then(Value::as_object);
            let named = named
                .into_iter()
                .flatten()
                .map(|(_, value)| ("utilization.", value));
            let pairs = pairs.map(|(name, value)| (name.as_str(), value)).chain(named);
            utilization(pairs.filter_map(|(name, value)| Some((name, value.as_f64()?))))
        }
        Some(_) => None,
        None => value.parse().ok(),
    };
    load.filter(|load| (0.0..=LARGEST).contains(load))
}

/// The figure that counts: what the application says of itself, else its CPU, else the highest of the utilizations
/// that it has names for. Zero is how ORCA says nothing, so it counts only where nothing else is said.
fn utilization<'a>(pairs: impl Iterator<Item = (&'a str, f64)>) -> Option<f64> {
    let (mut application, mut cpu, mut named) = (None, None, None);
    for (name, value) in pairs {
        match name {
            "application_utilization" | "applicationUtilization" => application = Some(value),
            "cpu_utilization" | "cpuUtilization" => cpu = Some(value),
            name if name.starts_with("utilization.") => {
                named = Some(named.map_or(value, |highest: f64| highest.max(value)));
            }
            _ => {}
        }
    }
    let said = [application, cpu, named];
    let is_positive = |value: &f64| *value > 0.0;
    said.into_iter()
        .flatten()
        .find(is_positive)
        .or(application)
        .or(cpu)
        .or(named)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::distribution::{assert_follows, count};
    use super::*;

    fn orca(value: &str) -> Option<f64> {
        let head = format!("HTTP/1.1 200 OK\r\nServer: x\r\nEndpoint-Load-Metrics: {value}\r\nA: b\r\n\r\n");
        read(head.as_bytes(), None)
    }

    #[test]
    fn reads_what_is_reported() {
        assert_eq!(orca("TEXT cpu_utilization=0.3"), Some(0.3));
        assert_eq!(
            orca("text cpu_utilization=0.3,application_utilization=0.7, mem_utilization=0.9"),
            Some(0.7)
        );
        assert_eq!(
            orca("TEXT utilization.disk=0.2, utilization.net=0.6, named_metrics.x=9"),
            Some(0.6)
        );
        assert_eq!(
            orca(r#"JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8}"#),
            Some(0.3)
        );
        assert_eq!(
            orca(r#"JSON {"applicationUtilization": 0.0, "cpuUtilization": 1.5}"#),
            Some(1.5)
        );
        assert_eq!(
            orca(r#"JSON {"utilization": {"disk": 0.2, "net": 0.6}}"#),
            Some(0.6)
        );
        assert_eq!(orca("TEXT cpu_utilization=0"), Some(0.0));
        assert_eq!(orca("0.25"), Some(0.25));
        let head = b"HTTP/1.1 200 OK\r\nX-Load:17\r\nEndpoint-Load-Metrics: 0.3\r\n\r\n";
        assert_eq!(read(head, Some("x-load")), Some(17.0));
        assert_eq!(read(head, Some("x-loa")), None);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\n", None), None);
    }

    #[test]
    fn what_cannot_be_read_is_no_report() {
        for value in [
            "",
            "TEXT",
            "TEXT ",
            "TEXT cpu_utilization",
            "TEXT cpu_utilization=x",
            "TEXT cpu_utilization=-0.1",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=inf",
            "TEXT mem_utilization=0.5",
            "JSON",
            "JSON {",
            "JSON []",
            r#"JSON {"cpu_utilization": "0.3"}"#,
            r#"JSON {"cpu_utilization": 1e99}"#,
            "BIN CZqZmZmZmbk/",
            "1e13",
            "-1",
            "NaN",
            "high",
        ] {
            assert_eq!(orca(value), None, "{value:?}");
        }
        assert_eq!(orca(&format!("JSON {}", "[".repeat(10_000))), None);
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\nEndpoint-Load-Metrics: \xff\r\n\r\n", None),
            None
        );
        assert_eq!(read(b"", None), None);
    }

    fn report(figure: f32, age: u32) -> Aged {
        Aged { figure, age }
    }

    #[test]
    fn the_less_loaded_of_two_and_age_levels_them() {
        let less = |one, other| is_less([one, other], [0.0, 0.0]);
        assert!(
            less(Some(report(0.3, 0)), Some(report(0.8, 0)))
                && !less(Some(report(0.8, 0)), Some(report(0.3, 0)))
        );
        assert!(!less(None, None) && !less(None, Some(report(0.3, 0))) && !less(Some(report(0.3, 0)), None));
        // A high load is worse than some requests, as long as it is news.
        let busy = |age| is_less([Some(report(0.8, age)), Some(report(0.2, 0))], [0.0, 2.0]);
        assert!(!busy(0) && busy(60_000));
        // No report: what is in flight decides.
        assert!(is_less([None, Some(report(0.9, 0))], [0.0, 1.0]));
        assert!(is_less([Some(report(0.0, 0)), Some(report(0.0, 0))], [1.0, 2.0]));
    }

    #[test]
    fn a_loaded_backend_gets_what_others_cannot_take() {
        let mut rng = StdRng::seed_from_u64(1);
        let weights = Weights::new([1; 4]);
        let loads = [0.2, 0.9, 0.2, 0.2];
        let load = |at: usize| Load {
            in_flight: 0,
            report: Some(report(loads[at], 0)),
        };
        let seen = count(4, 20_000, || pick(&weights, load, |_| true, &mut rng));
        assert_follows(&seen, &[1.0, 0.0, 1.0, 1.0]);
        let seen = count(4, 20_000, || pick(&weights, load, |at| at != 0, &mut rng));
        assert_follows(&seen, &[0.0, 0.0, 1.0, 1.0]);
        // The others are five times as busy.
        let load = |at: usize| Load {
            in_flight: if at == 1 { 0 } else { 5 },
            ..load(at)
        };
        let seen = count(4, 20_000, || pick(&weights, load, |_| true, &mut rng));
        assert_follows(&seen, &[1.0, 3.0, 1.0, 1.0]);
    }

    #[test]
    fn without_reports_the_weights_decide() {
        let mut workers = [StdRng::seed_from_u64(2), StdRng::seed_from_u64(3)];
        let weights = Weights::new([1, 2, 5]);
        let load = |_| Load {
            in_flight: 0,
            report: None,
        };
        let mut turn = 0;
        let seen = count(3, 20_000, || {
            turn += 1;
            pick(&weights, load, |_| true, &mut workers[turn % 2])
        });
        assert_follows(&seen, &[1.0, 2.0, 5.0]);
    }
}
