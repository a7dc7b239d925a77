//! Compiles one component in a process of its own: `engate-compile INPUT OUTPUT`.

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: engate-compile INPUT OUTPUT");
        return ExitCode::from(2);
    };
    match engate_host::compile_child_main(&input, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
