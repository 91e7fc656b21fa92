use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn file(path: &Path) -> Arc<LogTarget> {
    Arc::new(LogTarget::File(path.to_owned()))
}

fn command(text: String) -> Arc<LogTarget> {
    Arc::new(LogTarget::Command(text))
}

/// One log, opened.
struct One {
    logs: AccessLogs,
    target: Arc<LogTarget>,
    stats: Arc<ServiceStats>,
}

impl One {
    async fn open(target: Arc<LogTarget>) -> Self {
        let logs = AccessLogs::default();
        logs.open(BTreeSet::from([Arc::clone(&target)])).await;
        Self {
            logs,
            target,
            stats: Arc::default(),
        }
    }

    fn write(&self, text: &str) {
        self.logs.write(Batch {
            target: Arc::clone(&self.target),
            bytes: text.as_bytes().to_vec(),
            lines: text.matches('\n').count() as u64,
            stats: Arc::clone(&self.stats),
        });
    }

    fn lines(&self) -> (u64, u64) {
        self.stats.log_lines()
    }

    fn reasons(&self) -> Vec<String> {
        let troubles = self.logs.troubles();
        troubles.iter().map(|trouble| trouble.reason.clone()).collect()
    }

    async fn until_complains(&self, words: &str) {
        until(words, || {
            self.reasons().iter().any(|reason| reason.contains(words))
        })
        .await;
    }
}

#[tokio::test]
async fn lines_are_appended_and_a_moved_file_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
    fs::write(&path, "before\n").unwrap();
    let one = One::open(file(&path)).await;
    one.write("1\n2\n");
    one.logs.flush().await;
    fs::rename(&path, &moved).unwrap();
    one.write("3\n");
    one.logs.flush().await;
    assert_eq!(fs::read_to_string(&moved).unwrap(), "before\n1\n2\n3\n");
    one.logs.reopen();
    one.write("4\n");
    one.logs.flush().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "4\n");
    assert_eq!((one.lines(), one.reasons()), ((4, 0), vec![]));
    // Nobody asks for it any more: what is on its way is written, then it is closed.
    one.logs.open(BTreeSet::new()).await;
    one.write("5\n");
    one.logs.flush().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "4\n5\n");
    until("it to be closed", || {
        one.write("6\n");
        one.lines().1 > 0
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else() {
    let one = One::open(file(Path::new("/dev/full"))).await;
    one.write("1\n2\n");
    one.logs.flush().await;
    assert_eq!(one.lines(), (0, 2));
    assert_eq!(
        one.reasons(),
        ["cannot be written to: No space left on device; lines are lost"]
    );
}

#[tokio::test]
async fn what_cannot_be_opened_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("later");
    let one = One::open(file(&below.join("log"))).await;
    assert_eq!(one.reasons(), ["cannot be opened: No such file or directory"]);
    one.write("1\n");
    fs::create_dir(&below).unwrap();
    until("it to be well", || {
        one.reasons().is_empty() && one.lines() == (1, 0)
    })
    .await;
    assert_eq!(fs::read_to_string(below.join("log")).unwrap(), "1\n");
}

#[tokio::test]
async fn a_pipe_whose_reader_goes_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let one = One::open(file(&path)).await;
    assert_eq!(one.reasons(), ["cannot be opened: nobody reads it"]);
    one.write("1\n");
    let read = |path: std::path::PathBuf| {
        tokio::task::spawn_blocking(move || {
            let mut line = [0; 2];
            fs::File::open(path).unwrap().read_exact(&mut line).unwrap();
            line
        })
    };
    assert_eq!(&read(path.clone()).await.unwrap(), b"1\n");
    // The reader is gone; what it does not get, the next one does.
    one.write("2\n");
    one.until_complains("Broken pipe").await;
    one.write("3\n");
    let mut reader = fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut lines = [0; 4];
    reader.read_exact(&mut lines).unwrap();
    assert_eq!(&lines, b"2\n3\n");
    // One that does not read costs lines, and no memory without end.
    let much = "x".repeat(65_535) + "\n";
    until("lines to be dropped", || {
        one.write(&much);
        one.lines().1 > 0
    })
    .await;
    one.until_complains("too slowly").await;
}

#[tokio::test]
async fn a_program_is_started_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let one = One::open(command(format!("head -n 2 >> {0}; cat > {0}.2", path.display()))).await;
    one.write("1\n2\n");
    until("it to be read", || {
        fs::read_to_string(&path).is_ok_and(|text| text == "1\n2\n")
    })
    .await;
    assert_eq!(one.reasons(), Vec::<String>::new());
    let dies = One::open(command("exit 3".to_owned())).await;
    dies.write("1\n");
    dies.until_complains("the command ended (exit status: 3); it is started again")
        .await;
    dies.logs.flush().await;
    assert_eq!(dies.lines().1, 0, "its line still waits");
    // Secrets of this node are not its programs' business.
    let environment = dir.path().join("env");
    let one = One::open(command(format!(
        "env > {0}.new; mv {0}.new {0}; cat",
        environment.display()
    )))
    .await;
    until("the environment", || environment.exists()).await;
    assert!(!fs::read_to_string(&environment).unwrap().contains("FLEETBAL_"));
    drop(one);
}
