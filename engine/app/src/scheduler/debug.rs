//! What a job sends and gets, written to files while someone looks for a fault: off unless switched on, and off again by
//! itself. A job's files together never hold more than was allowed; the oldest go first.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use engate_model::{
    JobId, RunId, Timestamp,
    delivery::{Request, Response},
    job::Debugging,
    verdict::Failure,
};
use serde_json::{Value, json};

use crate::config::Config;

/// Files that are kept of one job.
const FILES_MAX: usize = 20;
/// Of one body, at most this is written.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Where the files of a job are.
pub(crate) fn folder(config: &Config, job: JobId) -> PathBuf {
    config.data.join("debug").join(job.to_string())
}

/// The file of a run.
pub(crate) fn file(config: &Config, job: JobId, run: RunId) -> PathBuf {
    folder(config, job).join(format!("{run}.ndjson"))
}

/// A file of a job, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DebugFile {
    /// Whose run it tells of.
    pub(crate) run: RunId,
    /// How much it holds.
    pub(crate) bytes: u64,
}

/// The files of a job on this machine, the newest first.
pub(crate) fn files(folder: &Path) -> Vec<DebugFile> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let run = entry.file_name().to_str()?.strip_suffix(".ndjson")?.parse().ok()?;
            Some(DebugFile { run, bytes: entry.metadata().ok()?.len() })
        })
        .collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.run));
    files
}

/// Writes for one run.
pub(crate) struct DebugLog {
    folder: PathBuf,
    run: RunId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    until: Option<Debugging>,
    file: Option<File>,
    full: bool,
}

impl DebugLog {
    pub(super) fn new(folder: PathBuf, run: RunId, until: Option<Debugging>) -> Self {
        Self { folder, run, state: Mutex::new(State { until, ..State::default() }) }
    }

    /// Switched on, off, or otherwise while the run is under way.
    pub(super) fn set(&self, until: Option<Debugging>) {
        let mut state = self.state();
        (state.until, state.full) = (until, false);
    }

    /// Writes one exchange down, where it is switched on at `now`; what `exchange` costs is spent only then.
    pub(crate) fn record(&self, now: Timestamp, exchange: impl FnOnce() -> Value) {
        let mut state = self.state();
        let Some(debugging) = state.until.filter(|debugging| now < debugging.until) else { return };
        if state.full {
            return;
        }
        let mut line = exchange().to_string();
        line.push('\n');
        if let Err(error) = self.write(&mut state, debugging.bytes_max, &line) {
            tracing::warn!(%error, run = %self.run, "payloads could not be logged");
            state.full = true;
        }
    }

    fn write(&self, state: &mut State, bytes_max: u64, line: &str) -> std::io::Result<()> {
        if state.file.is_none() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let path = self.folder.join(format!("{}.ndjson", self.run));
            state.file = Some(OpenOptions::new().create(true).append(true).mode(0o600).open(path)?);
        }
        if !self.make_room(bytes_max, line.len() as u64)? {
            state.full = true;
            tracing::info!(run = %self.run, "payloads are logged no more: the files hold what was allowed");
            return Ok(());
        }
        state.file.as_mut().map_or(Ok(()), |file| file.write_all(line.as_bytes()))
    }

    /// Lets the job's oldest files go until `more` fits; says whether it does.
    fn make_room(&self, bytes_max: u64, more: u64) -> std::io::Result<bool> {
        let mut files = files(&self.folder);
        let holds = |files: &[DebugFile]| files.iter().map(|file| file.bytes).sum::<u64>();
        while holds(&files) + more > bytes_max || files.len() > FILES_MAX {
            match files.pop() {
                Some(oldest) if oldest.run != self.run => {
                    fs::remove_file(self.folder.join(format!("{}.ndjson", oldest.run)))?;
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange as a line shows it: the request as it went out, secrets masked, and what came of it.
pub(crate) fn exchange(at: Timestamp, sent: Option<&Request>, came: Result<&Response, &Failure>) -> Value {
    let request = sent.map(
        |sent| json!({ "method": sent.method, "url": sent.url, "headers": sent.headers, "body": body(&sent.body) }),
    );
    match came {
        Ok(response) => json!({ "at": at, "request": request, "response": {
            "status": response.status, "headers": response.headers, "body": body(&response.body)
        }}),
        Err(failure) => {
            json!({ "at": at, "request": request, "error": { "code": failure.code, "message": failure.message } })
        }
    }
}

fn body(bytes: &[u8]) -> Value {
    let shown = bytes.get(..BODY_BYTES_MAX).unwrap_or(bytes);
    let text = String::from_utf8_lossy(shown);
    if shown.len() < bytes.len() {
        return json!({ "beginning": text, "bytes": bytes.len() });
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(folder: &Path) -> usize {
        let read = |file: DebugFile| fs::read_to_string(folder.join(format!("{}.ndjson", file.run))).unwrap();
        files(folder).into_iter().map(read).map(|text| text.lines().count()).sum()
    }

    #[test]
    fn p28_it_ends_of_itself_and_never_holds_more_than_was_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let run = |n: u128| RunId::new(at(i64::try_from(n).unwrap()), n);
        let page = || json!({ "page": "x".repeat(1_000) });
        let on = Debugging { until: at(60), bytes_max: 100_000 };
        let off = DebugLog::new(folder.path().into(), run(1), None);
        off.record(at(1), || panic!("it costs nothing while it is off"));
        assert_eq!(files(folder.path()), []);
        for n in 1..=30 {
            let log = DebugLog::new(folder.path().into(), run(n), Some(on));
            (0..10).for_each(|_| log.record(at(59), page));
            let held: u64 = files(folder.path()).iter().map(|file| file.bytes).sum();
            assert!(held <= on.bytes_max && files(folder.path()).len() <= FILES_MAX + 1, "{held}");
        }
        let before = lines(folder.path());
        let log = DebugLog::new(folder.path().into(), run(31), Some(on));
        log.record(at(60), || panic!("its time is over"));
        assert_eq!(lines(folder.path()), before);
        // One run alone stops at the bound.
        let log = DebugLog::new(folder.path().into(), run(40), Some(on));
        (0..1_000).for_each(|_| log.record(at(1), page));
        let held: u64 = files(folder.path()).iter().map(|file| file.bytes).sum();
        assert!((90_000..=100_000).contains(&held), "{held}");
    }

    /// A page of a sync takes a millisecond at the very least: a hundredth of that is what this may cost.
    #[test]
    fn p28_switched_off_it_costs_less_than_a_hundredth_of_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let log = DebugLog::new(folder.path().into(), RunId::new(Timestamp::default(), 1), None);
        let body = vec![b'x'; 1 << 20];
        let calls = 100_000_u32;
        let started = std::time::Instant::now();
        for _ in 0..calls {
            log.record(Timestamp::default(), || json!(String::from_utf8_lossy(&body)));
        }
        let each = started.elapsed() / calls;
        println!("{each:?} a page");
        assert!(each < std::time::Duration::from_micros(10), "{each:?}");
    }
}
