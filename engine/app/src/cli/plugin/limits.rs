//! `engate plugin limits`: what one plugin's calls may cost, and whether its instances are kept.

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::cli::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen, plain},
};

/// Which limits. With none of the options they are shown.
#[derive(Debug, Args)]
pub(in crate::cli) struct LimitsArgs {
    /// The plugin's name
    name: String,

    /// Whether an instance serves one call or is kept for later ones
    #[arg(long, value_enum)]
    instances: Option<Kept>,

    /// Processor time of one call
    #[arg(long, value_name = "MS")]
    cpu_ms: Option<u64>,

    /// Time of one call, waiting included
    #[arg(long, value_name = "MS")]
    wall_ms: Option<u64>,

    /// Memory of one instance
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u64>,

    /// Set nothing: the engine's settings count again
    #[arg(long, conflicts_with_all = ["instances", "cpu_ms", "wall_ms", "memory_mib"])]
    default: bool,
}

/// Whether instances are kept.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    /// A fresh instance for each call
    Fresh,
    /// Kept for later calls; faster, above all for Python and Go
    Warm,
}

/// What is set; what is none is left to the engine.
#[derive(Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<Kept>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u64>,
}

/// Limits as the API tells them.
#[derive(Deserialize)]
struct Told {
    instances: Option<String>,
    cpu_ms: Option<u64>,
    wall_ms: Option<u64>,
    memory_mib: Option<u64>,
    applies: Applies,
}

#[derive(Deserialize)]
struct Applies {
    instances: String,
    cpu_ms: u64,
    wall_ms: u64,
    memory_mib: u64,
}

/// Shows or sets them.
pub(super) async fn run(args: &LimitsArgs, client: &Client, screen: Screen) -> Result<(), Failure> {
    let LimitsArgs { name, instances, cpu_ms, wall_ms, memory_mib, default } = args;
    let path = ["v1", "plugins", name.as_str(), "limits"];
    let any = instances.is_some() || cpu_ms.is_some() || wall_ms.is_some() || memory_mib.is_some();
    let answer = if any || *default {
        let limits = Limits { instances: *instances, cpu_ms: *cpu_ms, wall_ms: *wall_ms, memory_mib: *memory_mib };
        client.send(Method::PUT, &path, &limits).await?
    } else {
        client.get(&path, &[]).await?
    };
    if screen.json {
        return screen.line(answer);
    }
    let Told { instances, cpu_ms, wall_ms, memory_mib, applies } = read(&answer)?;
    let of = |set: bool| if set { "set for this plugin" } else { "by the engine's settings" };
    screen.line(format!("A call of {} may cost:", plain(name)))?;
    screen.facts(&[
        ("instances", Field::new(format!("{} ({})", plain(&applies.instances), of(instances.is_some())))),
        ("processor", Field::new(format!("{} ms ({})", applies.cpu_ms, of(cpu_ms.is_some())))),
        ("time", Field::new(format!("{} ms ({})", applies.wall_ms, of(wall_ms.is_some())))),
        ("memory", Field::new(format!("{} MiB ({})", applies.memory_mib, of(memory_mib.is_some())))),
    ])
}
