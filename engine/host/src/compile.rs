//! Compilation in a process of its own: the child's side, and the parent's.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::timeout,
};
use wasmparser::WasmFeatures;
use wasmtime::Engine;

use crate::{
    cache::{self, Cache, Library, WorkFile},
    code::Effort,
    config::HostConfig,
    digest::Digest,
    engine,
    error::{InstallCode, InstallError},
    inspect,
    libraries::{self, Split},
    log::printable,
    parts::Parts,
};

/// What the child's report begins with, on a line of its own on standard output.
const REPORT_PREFIX: &str = "engate-compile-report: ";
/// Bytes of each of the child's streams that the parent keeps.
const STREAM_BYTES_MAX: usize = 16 << 10;
/// Largest file the child may write, in bytes: machine code is some ten times the component.
const OUTPUT_BYTES_MAX: u64 = 2 << 30;
/// Environment variables that hand the child its limits.
const MEMORY_VARIABLE: &str = "ENGATE_COMPILE_MEMORY_BYTES";
const CPU_VARIABLE: &str = "ENGATE_COMPILE_CPU_SECONDS";
/// Environment variable that asks the child for metered code.
const METERED_VARIABLE: &str = "ENGATE_COMPILE_METERED";
/// Environment variable that asks the child to be quick.
const QUICK_VARIABLE: &str = "ENGATE_COMPILE_QUICK";
/// Environment variables that name the file of parts, and the one to which new ones are written.
const PARTS_VARIABLE: &str = "ENGATE_COMPILE_PARTS";
const NEW_PARTS_VARIABLE: &str = "ENGATE_COMPILE_PARTS_NEW";
/// Environment variables that name the directory for the code of libraries, and list those whose code is there already.
const LIBRARIES_VARIABLE: &str = "ENGATE_COMPILE_LIBRARIES";
const LIBRARIES_THERE_VARIABLE: &str = "ENGATE_COMPILE_LIBRARIES_THERE";
/// Components up to this size compile in less time than it takes to look for what of them is there already.
const REUSE_BYTES_MIN: usize = 1 << 20;

/// The compiling child: checks the component at `input` and writes its machine code to `output`. It limits itself
/// first, and prints its report on standard output; the caller only turns the result into an exit status.
///
/// # Errors
/// What is wrong with the component.
pub fn compile_child_main(input: &Path, output: &Path) -> Result<(), InstallError> {
    let result = limit_myself().and_then(|()| compile_here(input, output));
    let report: Result<(), &InstallError> = result.as_ref().map(|&()| ());
    match serde_json::to_string(&report) {
        Ok(report) => println!("{REPORT_PREFIX}{report}"),
        Err(error) => eprintln!("no report: {error}"),
    }
    result
}

fn limit_myself() -> Result<(), InstallError> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let limits = [
        (Resource::As, variable(MEMORY_VARIABLE)),
        (Resource::Cpu, variable(CPU_VARIABLE)),
        (Resource::Fsize, Some(OUTPUT_BYTES_MAX)),
        (Resource::Core, Some(0)),
    ];
    for (resource, limit) in limits {
        if limit.is_some() {
            setrlimit(resource, Rlimit { current: limit, maximum: limit })
                .map_err(|error| unavailable(format!("the compiler could not limit itself: {error}")))?;
        }
    }
    Ok(())
}

fn compile_here(input: &Path, output: &Path) -> Result<(), InstallError> {
    let component = fs::read(input).map_err(|error| unavailable(format!("the component cannot be read: {error}")))?;
    let metered = std::env::var_os(METERED_VARIABLE).is_some();
    let effort = if std::env::var_os(QUICK_VARIABLE).is_some() { Effort::Quick } else { Effort::Full };
    let parts = std::env::var_os(PARTS_VARIABLE).map(|path| Arc::new(Parts::read(&PathBuf::from(path))));
    let store = parts.clone().map(|parts| parts as Arc<dyn wasmtime::CacheStore>);
    let engine = engine::compiler(metered, effort, store).map_err(not_started)?;
    // Several memories in a module of the component's own are refused; wasmtime needs them for its adapters.
    let features = engine.get_wasm_features().difference(WasmFeatures::MULTI_MEMORY);
    let types = inspect::inspect(&component, features)?;
    let dir = std::env::var_os(LIBRARIES_VARIABLE).map(PathBuf::from);
    let split = dir.and_then(|dir| Some((libraries::split(&component, types.as_ref())?, dir)));
    let apart = match split {
        Some((split, dir)) => compile_apart(&engine, &split, metered, effort, &dir)?,
        None => None,
    };
    let code = match apart {
        Some(code) => code,
        None => engine.precompile_component(&component).map_err(does_not_compile)?,
    };
    fs::write(output, code).map_err(not_written)?;
    if let (Some(parts), Some(path)) = (parts, std::env::var_os(NEW_PARTS_VARIABLE)) {
        // Only the next compilation is the slower for it.
        let _ = parts.write_new(&PathBuf::from(path)).inspect_err(|error| eprintln!("no parts are kept: {error}"));
    }
    Ok(())
}

/// Compiles what is left of a component without its libraries, and those that are not there yet into `dir`. None where
/// the component cannot do without them: it is compiled whole then.
fn compile_apart(
    engine: &Engine,
    split: &Split<'_>,
    metered: bool,
    effort: Effort,
    dir: &Path,
) -> Result<Option<Vec<u8>>, InstallError> {
    let code = match engine.precompile_component(&split.rest) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("compiled whole, since it does not compile apart from its libraries: {error:#}");
            return Ok(None);
        }
    };
    let there = std::env::var(LIBRARIES_THERE_VARIABLE).unwrap_or_default();
    let there: BTreeSet<Digest> = there.split(',').filter_map(|digest| digest.parse().ok()).collect();
    // Parts are of what changes.
    let engine = engine::compiler(metered, effort, None).map_err(not_started)?;
    for (digest, library) in split.libraries.iter().filter(|(digest, _)| !there.contains(digest)) {
        let code = engine.precompile_module(library).map_err(does_not_compile)?;
        fs::write(dir.join(digest.to_string()), code).map_err(not_written)?;
    }
    let uses: String = split.libraries.iter().map(|(digest, _)| format!("{digest}\n")).collect();
    fs::write(dir.join(cache::USES), uses).map_err(not_written)?;
    Ok(Some(code))
}

fn does_not_compile(error: wasmtime::Error) -> InstallError {
    let message = format!("the component does not compile: {error:#}");
    InstallError::new(InstallCode::CompileFailed, printable(&message, 2_000))
}

fn not_started(error: wasmtime::Error) -> InstallError {
    unavailable(format!("the compiler does not start: {error:#}"))
}

fn not_written(error: std::io::Error) -> InstallError {
    unavailable(format!("the compiled code cannot be written: {error}"))
}

/// What a compilation leaves.
pub(crate) struct Compiled {
    /// The machine code.
    pub(crate) code: WorkFile,
    /// Where the code of its libraries is that were not there before, each under its digest.
    pub(crate) libraries: Option<WorkFile>,
    /// Functions that may serve again, where they are kept and there are new ones.
    pub(crate) parts: Option<WorkFile>,
}

/// Runs the child over `component`; its machine code is in the file that comes back. What is in `there` of its libraries
/// is not compiled again.
///
/// # Errors
/// What is wrong with the component, or `compile_timeout`, or `unavailable`.
pub(crate) async fn in_child(
    config: &HostConfig,
    cache: &Arc<Cache>,
    effort: Effort,
    component: &[u8],
    there: &[Arc<Library>],
) -> Result<Compiled, InstallError> {
    inspect::at_first_glance(component)?;
    let (input, output) = (cache.work_file("wasm"), cache.work_file("cwasm"));
    let quick = effort == Effort::Quick;
    let large = may_reuse(component.len());
    let libraries = if large { Some(cache.work_dir().map_err(|error| not_handed_over(&error))?) } else { None };
    let there = there.iter().map(|library| library.digest.to_string()).collect::<Vec<_>>().join(",");
    let parts = if quick && !config.metered && large {
        let cache_there = Arc::clone(cache);
        // A check of many bytes: not on a thread that others wait for.
        let there = tokio::task::spawn_blocking(move || cache_there.sound_parts()).await;
        there.ok().map(|there| (there, cache.work_file("parts")))
    } else {
        None
    };
    tokio::fs::write(input.path(), component).await.map_err(|error| not_handed_over(&error))?;
    let mut child = Command::new(&config.compiler.program)
        .args(&config.compiler.args)
        .arg(input.path())
        .arg(output.path())
        // The engine's environment may hold passwords; the child needs none of it.
        .env_clear()
        // For a child that allocates by mimalloc, as the engine's program does. It lives for a second: huge pages, zeroed
        // whole and hardly used, cost it up to a third of that.
        .env("MIMALLOC_ALLOW_THP", "0")
        .env(MEMORY_VARIABLE, config.compile_memory_bytes.to_string())
        .env(CPU_VARIABLE, config.compile_cpu.as_secs().max(1).to_string())
        .envs(config.metered.then_some((METERED_VARIABLE, "1")))
        .envs(quick.then_some((QUICK_VARIABLE, "1")))
        .envs(
            parts.iter().flat_map(|(there, new)| [(PARTS_VARIABLE, there.as_path()), (NEW_PARTS_VARIABLE, new.path())]),
        )
        .envs(libraries.iter().map(|dir| (LIBRARIES_VARIABLE, dir.path())))
        .env(LIBRARIES_THERE_VARIABLE, there)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            unavailable(format!("the compiler {} does not start: {error}", config.compiler.program.display()))
        })?;
    match timeout(config.compile_timeout, watch(&mut child)).await {
        Ok(end) => judge(&end.map_err(|error| unavailable(format!("the compiler cannot be watched: {error}")))?)?,
        Err(_) => {
            // By its handle: no other process can be meant.
            let _ = child.kill().await;
            return Err(timed_out(config.compile_timeout));
        }
    }
    let parts = parts.map(|(_, new)| new).filter(|new| new.path().exists());
    Ok(Compiled { code: output, libraries, parts })
}

/// Whether any of a component of so many bytes may be there already.
pub(crate) const fn may_reuse(bytes: usize) -> bool {
    bytes >= REUSE_BYTES_MIN
}

fn not_handed_over(error: &std::io::Error) -> InstallError {
    unavailable(format!("the component cannot be handed to the compiler: {error}"))
}

/// How a child ended.
struct End {
    succeeded: bool,
    status: String,
    stdout: String,
    stderr: String,
}

async fn watch(child: &mut Child) -> std::io::Result<End> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status) = tokio::join!(drain(stdout), drain(stderr), child.wait());
    let status = status?;
    Ok(End { succeeded: status.success(), status: status.to_string(), stdout, stderr })
}

/// Reads a stream to its end and keeps its first bytes.
async fn drain(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 4 << 10]);
    while let Ok(count) = stream.read(&mut buffer).await {
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        let room = STREAM_BYTES_MAX - kept.len();
        kept.extend_from_slice(read.get(..room).unwrap_or(read));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn judge(end: &End) -> Result<(), InstallError> {
    let report = end.stdout.lines().find_map(|line| line.strip_prefix(REPORT_PREFIX));
    match report.and_then(|report| serde_json::from_str::<Result<(), InstallError>>(report).ok()) {
        Some(Err(error)) => Err(error),
        Some(Ok(())) if end.succeeded => Ok(()),
        _ => Err(InstallError::new(
            InstallCode::CompileFailed,
            format!(
                "the compiler ended without a result ({}), most likely out of memory or processor time; the component \
                 is too large or too intricate. It said last: {}",
                end.status,
                printable(end.stderr.trim(), 500)
            ),
        )),
    }
}

fn timed_out(limit: Duration) -> InstallError {
    let message =
        format!("it did not compile within {} s; the component is too large or too intricate", limit.as_secs());
    InstallError::new(InstallCode::CompileTimeout, message)
}

pub(crate) fn unavailable(message: String) -> InstallError {
    InstallError::new(InstallCode::Unavailable, message)
}
