//! Who is done (`boot-once`), in a file that outlives the process: `done.journal` in the state directory, a line a record.
//!
//! ```text
//! 88:99:aa:bb:cc:dd 1795539600 true
//! ```
//!
//! The machine, the second, the term. A file of lines and not a table beside the leases': `check` and `explain` read it while the
//! server runs, and so do people. A record is appended and synced before anybody is told that it was taken; what a crash left of
//! a line that was being written was never acknowledged, and is cut off. Any other line that is no record stops the server:
//! to pass over it would be to install that machine again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::failure::unusable;
use crate::boot::register::{MachineId, Record, Register};
use crate::boot::script;

/// The file, to append to
#[derive(Debug)]
pub struct DoneFile {
    path: PathBuf,
    file: File,
    /// Its length, all lines whole
    len: u64,
    /// A part of a line may stand behind that
    is_torn: bool,
}

/// Who is done, by the file of a state directory; nobody, where there is none
///
/// # Errors
/// It cannot be read, or holds something else: a sentence for the operator, with the way out.
pub fn read_done(state_dir: &Path) -> io::Result<Vec<Record>> {
    let path = path_in(state_dir);
    match fs::read(&path) {
        Ok(bytes) => parse(&path, &bytes).map(|(records, _)| records),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unusable(&path, &error)),
    }
}

fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join("done.journal")
}

impl DoneFile {
    /// Opens the file of this state directory, and makes both where they do not exist; with what it holds
    ///
    /// # Errors
    /// As [`read_done`].
    pub fn open(state_dir: &Path) -> io::Result<(Self, Vec<Record>)> {
        let path = path_in(state_dir);
        let failed = |error: io::Error| unusable(&path, &error);
        fs::create_dir_all(state_dir).map_err(|error| unusable(state_dir, &error))?;
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        if is_new {
            // Else a power cut may take the file's name, and every record with it.
            File::open(state_dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        let bytes = fs::read(&path).map_err(failed)?;
        let (records, len) = parse(&path, &bytes)?;
        let is_torn = len < bytes.len();
        Ok((Self { path, file, len: len as u64, is_torn }, records))
    }

    /// Appends all of these records, or none. When it returns, they survive a crash of the machine.
    ///
    /// # Errors
    /// None of them counts. The next call may well succeed.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let lines: String =
            records.iter().map(|Record { id, term, at_s }| format!("{id} {at_s} {term}\n")).collect();
        self.try_append(lines.as_bytes()).map_err(|error| unusable(&self.path, &error))
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.len)?;
        }
        self.is_torn = true;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        (self.len, self.is_torn) = (self.len + lines.len() as u64, false);
        Ok(())
    }
}

/// The records of whole lines, and how many bytes those have
fn parse(path: &Path, bytes: &[u8]) -> io::Result<(Vec<Record>, usize)> {
    let len = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let mut records = Vec::new();
    for (number, line) in (1..).zip(bytes[..len].split(|&byte| byte == b'\n')) {
        if line.is_empty() {
            continue;
        }
        let record = std::str::from_utf8(line).ok().and_then(record).ok_or_else(|| {
            let text = format!(
                "{}:{number}: `{}` is no record of a machine that is done: correct it. Without the file, each machine with \
                 boot-once boots from the network again",
                path.display(),
                line.escape_ascii()
            );
            io::Error::new(ErrorKind::InvalidData, text)
        })?;
        records.push(record);
    }
    Ok((records, len))
}

fn record(line: &str) -> Option<Record> {
    let mut words = line.split(' ');
    let (id, at_s, term) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let is_whole = words.next().is_none() && !term.is_empty();
    let uuid = || script::uuid_of(id).map(MachineId::Uuid);
    let id = uuid().or_else(|| id.parse().ok().map(MachineId::Mac))?;
    is_whole.then(|| Record { id, term: term.to_owned(), at_s })
}

/// The thread that writes reports. Dropped, it writes what waits, and ends.
#[derive(Debug)]
pub struct Recorder {
    register: Arc<Register>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts it. It calls `tell` after each group: for shards whose clients wait, and with what went wrong.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        mut file: DoneFile,
        register: Arc<Register>,
        tell: impl Fn(io::Result<()>) + Send + 'static,
    ) -> io::Result<Self> {
        register.done.has_writer();
        let shared = Arc::clone(&register);
        let run = move || {
            while let Some(records) = shared.done.take() {
                let written = file.append(&records);
                shared.done.settle(records, written.is_ok());
                tell(written);
            }
        };
        let thread = thread::Builder::new().name("done".into()).spawn(run)?;
        Ok(Self { register, thread: Some(thread) })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.register.done.close();
        // A thread that panicked has said so.
        _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::register::Standing;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("reveille-done-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn put(&self, text: &str) {
            fs::create_dir_all(&self.0).unwrap();
            fs::write(path_in(&self.0), text).unwrap();
        }

        fn text(&self) -> String {
            fs::read_to_string(path_in(&self.0)).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn record_of(id: &str, term: &str) -> Record {
        record(&format!("{id} 1795539600 {term}")).unwrap()
    }

    const MAC: &str = "88:99:aa:bb:cc:dd";
    const UUID: &str = "4c4c4544-0051-3510-8052-b4c04f564231";

    #[test]
    fn records_are_there_again_and_a_torn_line_is_not() {
        let folder = Folder::new("again");
        assert_eq!(read_done(&folder.0).unwrap(), []);
        let (mut file, records) = DoneFile::open(&folder.0).unwrap();
        assert_eq!(records, []);
        let written = [record_of(MAC, "true"), record_of(UUID, "2026-11-24")];
        file.append(&written).unwrap();
        assert_eq!(read_done(&folder.0).unwrap(), written);
        let whole = folder.text();
        folder.put(&format!("{whole}{MAC} 17955"));
        assert_eq!(read_done(&folder.0).unwrap(), written);
        let (mut file, records) = DoneFile::open(&folder.0).unwrap();
        assert_eq!(records, written);
        file.append(&written[..1]).unwrap();
        assert_eq!(folder.text(), format!("{whole}{MAC} 1795539600 true\n"));
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let folder = Folder::new("damaged");
        for line in
            ["", "x", "88:99:aa:bb:cc:dd", "88:99:aa:bb:cc:dd 1 ", "88:99:aa:bb:cc 1 true", "\u{0}\u{0}", MAC]
        {
            folder.put(&format!("{MAC} 1 true\n{line}\n"));
            let read = read_done(&folder.0);
            if line.is_empty() {
                assert_eq!(read.unwrap().len(), 1);
                continue;
            }
            let said = read.unwrap_err().to_string();
            assert!(said.contains("done.journal:2: `") && said.contains("correct it"), "{said}");
            assert_eq!(DoneFile::open(&folder.0).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn the_thread_writes_what_shards_report() {
        let folder = Folder::new("thread");
        let (file, _) = DoneFile::open(&folder.0).unwrap();
        let register = Arc::new(Register::default());
        let (told, hears) = std::sync::mpsc::channel();
        let tell = move |written: io::Result<()>| told.send(written.is_ok()).unwrap();
        let recorder = Recorder::start(file, Arc::clone(&register), tell).unwrap();
        let ticket = register.done.report(record_of(MAC, "a")).unwrap();
        assert_eq!(hears.recv(), Ok(true));
        assert_eq!(register.done.standing(ticket), Standing::Recorded);
        register.done.report(record_of(UUID, "a")).unwrap();
        drop(recorder);
        assert_eq!(read_done(&folder.0).unwrap().len(), 2, "what waits is written before the end");
    }
}
