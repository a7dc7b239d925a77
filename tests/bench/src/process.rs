//! Children of the bench: started with piped output, killed when dropped.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::Error;

/// What a child prints before its address.
const ANNOUNCEMENT: &str = "listening on http://";

/// Ticks a second in which Linux tells processor time (`USER_HZ`, the same on every machine it runs on here).
const CLOCK_TICKS: f64 = 100.0;

/// Listens on a free loopback port and prints it the way `engate serve` does.
pub(crate) async fn announce() -> Result<TcpListener, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{ANNOUNCEMENT}{}", listener.local_addr()?);
    Ok(listener)
}

/// A running child and where it listens.
pub(crate) struct Running {
    child: Child,
    /// `host:port`.
    pub(crate) address: String,
}

impl Running {
    /// Starts `command` and waits until it says where it listens.
    pub(crate) async fn start(command: &mut Command) -> Result<Self, Error> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or("a child without output")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = line.strip_prefix(ANNOUNCEMENT) {
                let address = address.trim().to_owned();
                // The rest is read away, so that the child never blocks on a full pipe.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self { child, address });
            }
        }
        Err("a child ended before it listened; see its messages above".into())
    }

    /// Processor time the child has used so far, in microseconds; none where the system does not tell.
    pub(crate) fn cpu_us(&self) -> Option<f64> {
        cpu_us(&self.child.id()?.to_string())
    }

    /// Memory of the child that is in RAM, in MB; none where the system does not tell.
    pub(crate) fn resident_mb(&self) -> Option<f64> {
        self.memory_mb("VmRSS:")
    }

    /// The most that the child ever had in RAM, in MB; none where the system does not tell.
    pub(crate) fn peak_mb(&self) -> Option<f64> {
        self.memory_mb("VmHWM:")
    }

    fn memory_mb(&self, which: &str) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(which))?;
        Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? * 1_024.0 / 1e6)
    }

    /// Tells the child to end in good order and waits until it has.
    pub(crate) async fn terminate(mut self) -> Result<(), Error> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.ok_or("a child that has ended already")?, Signal::TERM)?;
        self.child.wait().await?;
        Ok(())
    }

    /// Ends the child and waits for it.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        self.child.kill().await?;
        Ok(())
    }
}

/// Processor time that this process has used so far, in microseconds; none where the system does not tell.
pub(crate) fn own_cpu_us() -> Option<f64> {
    cpu_us("self")
}

fn cpu_us(process: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold anything; user and system time are the 12th and 13th field behind it.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks * 1e6 / CLOCK_TICKS)
}

/// This program, for its hidden subcommands.
pub(crate) fn own_program() -> Result<PathBuf, Error> {
    Ok(std::env::current_exe()?)
}

/// `given`, else the program `name` beside this one.
pub(crate) fn program_beside(given: Option<&Path>, name: &str) -> Result<PathBuf, Error> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => own_program()?.with_file_name(name),
    };
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is not there; build it first: cargo build", path.display()).into())
}
