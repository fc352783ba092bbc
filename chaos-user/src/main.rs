//! The `chaos` command.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    let arguments = chaos::cli::Arguments::of_process();
    std::process::ExitCode::from(chaos::cli::main(arguments) as u8)
}
