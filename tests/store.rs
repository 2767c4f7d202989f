//! The lease store on a real disk: kill -9, a full disk, a second server, damaged files.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use reveille::boot::lease::{ClientKey, Lease, LeaseChange, State};
use reveille::note::Text;
use reveille::store::{Committer, Disk, LeaseStore, Outcome};

/// Names the state directory in the process that is to be killed
const CHILD: &str = "REVEILLE_TEST_STATE_DIR";
/// A journal of four pages is folded every few commits
const JOURNAL_BYTES: usize = 16 << 10;
const ADDRESSES: u64 = 3000;

/// A state directory that goes away with the test
struct StateDir(PathBuf);

impl StateDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reveille-store-{name}-{}", std::process::id()));
        _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("leases.redb")
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// The `n`-th change: it says in `expires_s` which one it is, so that a lease that went back in time is seen
fn change(n: u64) -> LeaseChange {
    let address = Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n % ADDRESSES).expect("small"));
    let key = ClientKey::of(1, &(n % ADDRESSES).to_be_bytes()[2..], None);
    let hostname = Text::new(format!("node-{n}").as_bytes());
    LeaseChange::Put(Lease { address, key, state: State::Bound, expires_s: n, hostname })
}

/// Not a test of its own: where the environment says so, it commits leases for ever and prints what was acknowledged
#[test]
fn a_process_that_commits_until_it_is_killed() {
    let Ok(state_dir) = std::env::var(CHILD) else { return };
    let mut store = Disk::open_with(Path::new(&state_dir), JOURNAL_BYTES).expect("the store opens");
    let mut next = 1 + store.load().expect("it loads").iter().map(|lease| lease.expires_s).max().unwrap_or(0);
    let (wake, woken) = mpsc::channel();
    let mut committer = Committer::start(store, move || _ = wake.send(())).expect("a thread");
    let mut last_of = HashMap::new();
    let mut told = 0;
    loop {
        for _ in 0..4 {
            let batch: Vec<_> = (next..next + 5).map(change).collect();
            if let Some(id) = committer.commit(&batch) {
                next += 5;
                last_of.insert(id.0, next - 1);
            }
        }
        woken.recv().expect("the thread lives");
        match committer.poll_outcome() {
            Some(Outcome::Committed { up_to }) => {
                for id in told + 1..=up_to.0 {
                    println!("\nacknowledged {}", last_of.remove(&id).expect("handed over"));
                }
                told = up_to.0;
            }
            Some(Outcome::Failed { up_to, error }) => {
                (told + 1..=up_to.0).for_each(|id| _ = last_of.remove(&id));
                println!("\nfailed {error}");
                told = up_to.0;
            }
            None => {}
        }
    }
}

fn child(state_dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test's own file"));
    set_up(&mut command, state_dir);
    command
}

fn set_up(command: &mut Command, state_dir: &Path) {
    command.args(["--exact", "a_process_that_commits_until_it_is_killed", "--nocapture"]);
    command.env(CHILD, state_dir).stdout(Stdio::piped()).stderr(Stdio::null());
}

/// The child, and what it prints
fn start(mut command: Command) -> (Child, mpsc::Receiver<String>) {
    let mut child = command.spawn().expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    (child, lines)
}

fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.parse().ok()
}

/// Everything up to `last` that was acknowledged is there, or something newer for the same address
fn assert_nothing_forgotten(state_dir: &Path, last: u64) {
    let leases = Disk::open(state_dir).expect("it opens after a kill").load().expect("it loads");
    let found: HashMap<_, _> = leases.iter().map(|lease| (lease.address, lease.expires_s)).collect();
    for n in last.saturating_sub(ADDRESSES - 1).max(1)..=last {
        let address = change(n).address();
        assert!(found.get(&address).is_some_and(|&stored| stored >= n), "{address} of change {n}: {found:?}");
    }
}

#[test]
fn no_acknowledged_lease_is_forgotten_by_kill_9() {
    let state_dir = StateDir::new("kill");
    let mut last = 0;
    for round in 0..12_u64 {
        let (mut child, lines) = start(child(&state_dir.0));
        let first = lines.iter().find_map(|line| acknowledged(&line));
        last = first.unwrap_or(0).max(last);
        // Moments that differ from round to round, most of them within a commit
        thread::sleep(Duration::from_micros(round * 7919 % 40_000));
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
        last = lines.iter().filter_map(|line| acknowledged(&line)).max().unwrap_or(0).max(last);
        assert_nothing_forgotten(&state_dir.0, last);
    }
    assert!(last > 100, "hardly anything was acknowledged: {last}");
}

#[test]
fn a_full_disk_is_told_and_once_it_has_room_everything_is_written() {
    let state_dir = StateDir::new("full");
    Disk::open(&state_dir.0).expect("a new store");
    // The limit on a file's size is a full disk that one process has for itself (512-byte or 1-KiB blocks).
    let size = fs::metadata(state_dir.file()).expect("it exists").len() / 1024 + 64;
    let mut shell = Command::new("sh");
    let script = r#"trap "" XFSZ; ulimit -S -f "$0"; exec "$@""#;
    shell.args(["-c", script, &size.to_string()]).arg(std::env::current_exe().expect("this test's own file"));
    set_up(&mut shell, &state_dir.0);
    let (mut child, lines) = start(shell);
    let failed = lines.iter().find(|line| line.starts_with("failed"));
    let lifted = Command::new("prlimit")
        .args(["--fsize=unlimited:unlimited", "--pid", &child.id().to_string()])
        .status();
    let first = lines.iter().find_map(|line| acknowledged(&line));
    thread::sleep(Duration::from_millis(50));
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    let last = lines.iter().filter_map(|line| acknowledged(&line)).max().or(first);
    assert!(lifted.expect("prlimit of util-linux").success());
    assert!(failed.expect("the disk was full").contains("no address is acknowledged until there is room"));
    assert_nothing_forgotten(&state_dir.0, last.expect("acknowledged once there is room"));
}

#[test]
fn a_second_server_on_the_same_directory_is_told_so() {
    let state_dir = StateDir::new("second");
    let (mut child, lines) = start(child(&state_dir.0));
    lines.iter().find_map(|line| acknowledged(&line)).expect("the first server runs");
    let error = Disk::open(&state_dir.0).expect_err("it is in use");
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert!(error.to_string().contains("another reveille uses this state directory"), "{error}");
}

#[test]
fn a_damaged_file_is_told_with_the_way_out_and_never_a_panic() {
    let state_dir = StateDir::new("damaged");
    let mut store = Disk::open(&state_dir.0).expect("a new store");
    store.commit(&(1..=2000).map(change).collect::<Vec<_>>()).expect("written");
    assert_eq!(store.load().expect("all of it moves into the table").len(), 2000);
    drop(store);
    let whole = fs::read(state_dir.file()).expect("it exists");
    let (mut seed, mut told) = (1_u64, 0);
    for _ in 0..40 {
        let mut bytes = whole.clone();
        for _ in 0..64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(seed >> 33).expect("31 bits") % bytes.len();
            bytes[at] ^= 0x55;
        }
        fs::write(state_dir.file(), bytes).expect("room");
        if let Err(error) = Disk::open(&state_dir.0).and_then(|mut store| store.load()) {
            assert!(error.to_string().contains("leases.redb: "), "{error}");
            told += usize::from(error.to_string().contains("move it away"));
        }
    }
    assert!(told >= 20, "damage that is told: {told} of 40");
    for other in [&b"not a store at all, but longer than a header of one"[..], &whole[..whole.len() / 2]] {
        fs::write(state_dir.file(), other).expect("room");
        let error = Disk::open(&state_dir.0).and_then(|mut store| store.load()).expect_err("no lease store");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
}

/// What the store of a state directory holds, as if the machine had lost its power now
fn after_power_cut(state_dir: &StateDir, name: &str) -> HashMap<Ipv4Addr, u64> {
    let copy = StateDir::new(name);
    fs::create_dir_all(&copy.0).expect("room");
    for file in ["leases.redb", "leases.journal"] {
        fs::copy(state_dir.0.join(file), copy.0.join(file)).expect("room");
    }
    let leases = Disk::open(&copy.0).expect("it opens").load().expect("it loads");
    leases.iter().map(|lease| (lease.address, lease.expires_s)).collect()
}

#[test]
fn a_power_cut_at_any_commit_and_any_fold_forgets_nothing_and_brings_nothing_back() {
    let state_dir = StateDir::new("cut");
    let mut store = Disk::open_with(&state_dir.0, JOURNAL_BYTES).expect("a new store");
    let mut expected = HashMap::new();
    let mut journal_len = Vec::new();
    for n in 0..200_u64 {
        // Few addresses, so that a change that comes back is seen; every seventh is removed.
        let LeaseChange::Put(lease) = change(n % 40) else { panic!("a lease") };
        let change = match n % 7 {
            0 => LeaseChange::Remove(lease.address),
            _ => LeaseChange::Put(Lease { expires_s: n, ..lease }),
        };
        store.commit(&[change]).expect("written");
        match change {
            LeaseChange::Put(lease) => _ = expected.insert(lease.address, lease.expires_s),
            LeaseChange::Remove(address) => _ = expected.remove(&address),
        }
        if n % 29 == 0 {
            assert_eq!(store.load().expect("it loads").len(), expected.len(), "after a fold, change {n}");
        }
        assert_eq!(after_power_cut(&state_dir, "cut-copy"), expected, "after change {n}");
        journal_len.push(fs::metadata(state_dir.0.join("leases.journal")).expect("it exists").len());
    }
    assert!(journal_len.iter().all(|&len| len <= JOURNAL_BYTES as u64), "it was folded when it was full");
}

#[test]
fn changes_that_no_journal_holds_go_into_the_table() {
    let state_dir = StateDir::new("large");
    let mut store = Disk::open_with(&state_dir.0, JOURNAL_BYTES).expect("a new store");
    store.commit(&[change(1)]).expect("written");
    store.commit(&(1..=3000).map(change).collect::<Vec<_>>()).expect("written");
    store.commit(&[change(3001)]).expect("written");
    let found = after_power_cut(&state_dir, "large-copy");
    assert_eq!((found.len(), found.get(&change(1).address())), (3000, Some(&3001)));
}

#[test]
fn a_table_that_was_moved_away_takes_its_journal_with_it() {
    let state_dir = StateDir::new("moved");
    Disk::open(&state_dir.0).and_then(|mut store| store.commit(&[change(1)])).expect("written");
    fs::remove_file(state_dir.file()).expect("it exists");
    assert!(Disk::open(&state_dir.0).and_then(|mut store| store.load()).expect("a new store").is_empty());
}

#[test]
fn a_file_from_before_the_journal_is_taken_up() {
    let state_dir = StateDir::new("older");
    fs::create_dir_all(&state_dir.0).expect("room");
    let database = redb::Database::create(state_dir.file()).expect("room");
    let transaction = database.begin_write().expect("it is ours");
    let about = redb::TableDefinition::<&str, u32>::new("about");
    transaction.open_table(about).expect("a new table").insert("format", 1).expect("room");
    let leases = redb::TableDefinition::<u32, &[u8]>::new("leases");
    // Bound, until 5 s after the epoch, of an Ethernet address, without a host name
    let record = [0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 6, 2, 0, 0, 0, 0, 9];
    transaction.open_table(leases).expect("a new table").insert(0x0a00_0001, &record[..]).expect("room");
    transaction.commit().expect("room");
    drop(database);
    let mut store = Disk::open(&state_dir.0).expect("it is taken up");
    store.commit(&[change(2)]).expect("written");
    drop(store);
    let leases = Disk::open(&state_dir.0).and_then(|mut store| store.load()).expect("it loads");
    let found: Vec<_> = leases.iter().map(|lease| (lease.address.octets(), lease.expires_s)).collect();
    assert_eq!(found, [([10, 0, 0, 1], 5), ([10, 0, 0, 2], 2)]);
}

#[test]
fn a_file_of_a_newer_version_is_told() {
    let state_dir = StateDir::new("newer");
    drop(Disk::open(&state_dir.0).expect("a new store"));
    let database = redb::Database::open(state_dir.file()).expect("it exists");
    let transaction = database.begin_write().expect("it is ours");
    let about = redb::TableDefinition::<&str, u32>::new("about");
    transaction.open_table(about).expect("it exists").insert("format", 3).expect("room");
    transaction.commit().expect("room");
    drop(database);
    let error = Disk::open(&state_dir.0).expect_err("newer");
    assert!(
        error.to_string().contains("written by another version of reveille (format 3, this one reads 2)")
    );
}

#[test]
fn a_directory_that_cannot_be_is_told() {
    let error = Disk::open(Path::new("/proc/version/state")).expect_err("not a directory");
    assert!(error.to_string().ends_with("choose another directory with --state-dir"), "{error}");
}
