//! The benches' own plugin, built once into the folder where all guests are built.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, process};

/// `given`, else the plugin of `tests/bench/guest`, built if need be.
pub(crate) fn component(given: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let program = process::own_program()?;
    // target/<profile>/engate-bench
    let target = program.ancestors().nth(2).ok_or("this program lies outside of a target folder; use --plugin")?;
    let guests = target.join("guests");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "guest",
            "--target",
            "wasm32-wasip2",
            "-p",
            "engate-bench-guest",
        ])
        .arg("--target-dir")
        .arg(&guests)
        .status()?;
    if !built.success() {
        return Err("the bench's plugin does not build; is the target there? rustup target add wasm32-wasip2".into());
    }
    Ok(guests.join("wasm32-wasip2/guest/engate_bench_guest.wasm"))
}
