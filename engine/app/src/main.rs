//! The `engate` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    engate::cli::main()
}
