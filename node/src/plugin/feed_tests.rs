use super::*;

fn feed() -> Arc<Feed> {
    Arc::default()
}

/// All that a reader would be sent, behind the head.
fn all(reader: &mut Reader) -> String {
    let mut text = Vec::new();
    while let Some(bytes) = reader.front() {
        let piece = bytes[..bytes.len().min(70_000)].to_vec();
        reader.sent(piece.len());
        text.extend_from_slice(&piece);
    }
    assert_eq!(reader.held, 0);
    let text = String::from_utf8(text).unwrap();
    text.split_once(" -->\n")
        .map_or(text.clone(), |(_, rest)| rest.to_owned())
}

fn reader(feed: &Arc<Feed>, prefix: &str, since: u64) -> Reader {
    Subscription::new(feed, prefix.as_bytes(), since).open().0
}

#[test]
fn items_come_below_their_prefix_and_once() {
    let feed = feed();
    feed.put(b"/a/0", b"before", 9);
    feed.put(b"/a/0", b"", 9);
    let (mut below, mut root) = (reader(&feed, "/a/", 0), reader(&feed, "/", 0));
    feed.put(b"/a/1", b"<a1/>", 10);
    feed.put(b"/b/1", b"<b1/>", 10);
    feed.put(b"/ab", b"<ab/>", 10);
    for reader in [&mut below, &mut root] {
        reader.take_in();
        reader.take_in();
        reader.beat(11);
    }
    assert_eq!(all(&mut below), "<a1/><time>11</time>\n");
    assert_eq!(all(&mut root), "<a1/><b1/><ab/><time>11</time>\n");
}

#[test]
fn a_reader_hears_again_what_came_since() {
    let feed = feed();
    for (path, second) in [("/a/1", 100), ("/b/2", 101), ("/a/3", 102), ("/a/4", 103)] {
        feed.put(path.as_bytes(), path.as_bytes(), second);
    }
    assert_eq!(all(&mut reader(&feed, "/a/", 102)), "/a/3/a/4");
    assert_eq!(all(&mut reader(&feed, "/a/", 1)), "/a/1/a/3/a/4");
    assert_eq!(all(&mut reader(&feed, "/a/", 0)), "");
    assert_eq!(all(&mut reader(&feed, "/a/", 104)), "");
}

#[test]
fn a_slow_reader_misses_items_and_is_told() {
    let feed = feed();
    let mut slow = reader(&feed, "/", 0);
    let item = vec![b'x'; 100_000];
    // The first three take it past the limit.
    for _ in 0..10 {
        feed.put(b"/", &item, 1);
        slow.take_in();
        assert!(slow.held <= BEHIND + item.len(), "{}", slow.held);
    }
    slow.beat(2);
    let first = all(&mut slow);
    assert_eq!(first.len(), 3 * item.len());
    feed.put(b"/", b"<next/>", 3);
    slow.take_in();
    assert_eq!(all(&mut slow), "<sorryTooSlow youMissed=\"7\" />\n<next/>");
}

#[test]
fn a_long_replay_is_sent_whole_and_held_in_parts() {
    let feed = feed();
    let item = vec![b'x'; 100_000];
    for _ in 0..20 {
        feed.put(b"/", &item, 5);
    }
    let mut reader = reader(&feed, "/", 5);
    feed.put(b"/", b"live", 6);
    reader.take_in();
    assert!(reader.held <= BEHIND + item.len() + 200, "{}", reader.held);
    let text = all(&mut reader);
    assert_eq!(text.len(), 20 * item.len() + 4);
    assert!(text.ends_with("live"));
}

#[test]
fn what_is_kept_is_bounded() {
    let feed = feed();
    let item = vec![b'x'; MOST_ITEM];
    let mut reader = reader(&feed, "/", 0);
    for _ in 0..20 {
        feed.put(b"/", &item, 5);
    }
    {
        let kept = feed.kept();
        let each = MOST_ITEM + ITEM + 1;
        assert_eq!((kept.held, kept.items.len(), kept.first()), (15 * each, 15, 5));
    }
    reader.take_in();
    let first = all(&mut reader);
    assert!(first.starts_with("<sorryTooSlow youMissed=\"5\" />\nx"));
    assert_eq!(first.matches('x').count(), MOST_ITEM);
    reader.beat(6);
    // And all behind the one that it had.
    assert_eq!(
        all(&mut reader),
        "<sorryTooSlow youMissed=\"14\" />\n<time>6</time>\n"
    );
}

#[test]
fn old_items_are_let_go() {
    let feed = feed();
    feed.put(b"/", b"old", 5);
    let Some(long_ago) = Instant::now().checked_sub(REPLAY + Duration::from_secs(1)) else {
        return;
    };
    feed.kept().items[0].since = long_ago;
    assert_eq!(all(&mut reader(&feed, "/", 1)), "");
    feed.put(b"/", b"new", 6);
    assert_eq!(feed.kept().held, 3 + 1 + ITEM);
    assert_eq!(all(&mut reader(&feed, "/", 1)), "new");
}

#[test]
fn many_short_items_are_held_as_few_pieces() {
    let feed = feed();
    let mut slow = reader(&feed, "/", 0);
    for _ in 0..100_000 {
        feed.put(b"/", b"<a/>", 1);
        slow.take_in();
    }
    assert!(slow.waiting.len() < 30, "{}", slow.waiting.len());
    let text = all(&mut slow);
    assert_eq!(text.matches("<a/>").count(), text.len() / 4);
    slow.beat(2);
    let told = all(&mut slow);
    let missed = 100_000 - text.len() / 4;
    assert!(
        told.starts_with(&format!("<sorryTooSlow youMissed=\"{missed}\" />\n")),
        "{told}"
    );
}
