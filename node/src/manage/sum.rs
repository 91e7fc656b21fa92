//! Figures of several nodes, added up.

use std::collections::BTreeMap;

/// Lines `KEY FIGURE` of all nodes, each key once, in the order in which they were met: with the sum, and of ages and times
/// with the largest.
pub(super) fn add_up(answers: &[Vec<String>]) -> Vec<String> {
    let mut keys = Vec::new();
    let mut figures: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, figure) in answers.iter().flatten().filter_map(|line| read(line)) {
        let sum = figures.entry(key).or_insert_with(|| {
            keys.push(key);
            0
        });
        *sum = if is_time(key) {
            figure.max(*sum)
        } else {
            figure.saturating_add(*sum)
        };
    }
    let line = |key: &&str| figures.get(key).map(|figure| format!("{key} {figure}"));
    keys.iter().filter_map(line).collect()
}

fn read(line: &str) -> Option<(&str, u64)> {
    let (key, figure) = line.rsplit_once(' ')?;
    Some((key, figure.parse().ok()?))
}

/// Of these, two nodes' together are no more than the larger one.
fn is_time(key: &str) -> bool {
    [".age", " lastattempt", " lastconnect", " lastresponse"]
        .iter()
        .any(|end| key.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn counts_are_added_and_times_are_not() {
        let answers = [
            lines(&["www-normal.age 3", "www-normal.count 2", "a:1 lastattempt 100"]),
            lines(&["www-normal.age 7", "www-normal.count 5", "b:1 requests 9"]),
            lines(&["www-normal.age 1", "www-normal.count 0", "what is this", ""]),
        ];
        let expected = [
            "www-normal.age 7",
            "www-normal.count 7",
            "a:1 lastattempt 100",
            "b:1 requests 9",
        ];
        assert_eq!(add_up(&answers), expected);
        assert_eq!(add_up(&[]), Vec::<String>::new());
        let most = lines(&["x 18446744073709551615"]);
        assert_eq!(add_up(&[most.clone(), most.clone()]), most);
    }
}
