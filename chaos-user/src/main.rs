//! The `chaos` command.
#![forbid(unsafe_code)]

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    let arguments = chaos::cli::Arguments::parse();
    std::process::ExitCode::from(chaos::cli::main(arguments) as u8)
}
