//! `chaos-demo [--small] SAMPLE...`: the measuring half of `cargo xtask demo`. Needs root and `CHAOS_BIN`. Exit code 3: all
//! went well, but this kernel cannot show everything that was asked.

use std::process::ExitCode;

use chaos_tests::demo::{Effort, Sample, show};
use chaos_tests::need;
use chaos_tests::net::netns::sweep_own;
use chaos_tests::product::Chaos;

/// Some samples need what this kernel does not have.
const NOT_HERE: u8 = 3;

fn main() -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        sweep_own();
    }));
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut names: Vec<String>) -> Result<ExitCode, String> {
    let all = names.len();
    names.retain(|name| name != "--small");
    let effort = if names.len() < all { Effort::SMALL } else { Effort::FULL };
    let samples = names.iter().map(|name| Sample::named(name).ok_or_else(|| format!("there is no sample {name}")));
    let samples = samples.collect::<Result<Vec<_>, _>>()?;
    let chaos = Chaos::find()?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("Linux {}: two hosts (network namespaces) on a veth pair, IPv4 and IPv6", release.trim());
    // Removes what a killed demonstration left, and makes the empty journal that every run leaves.
    let cleaned = chaos.command(&["cleanup"]);
    if cleaned.code != 0 {
        return Err(format!("chaos cleanup: {}", cleaned.text()));
    }
    let delays = need::has_fq();
    let (here, elsewhere): (Vec<Sample>, Vec<Sample>) =
        samples.into_iter().partition(|sample| delays || !sample.delays);
    for sample in here {
        show(sample, &chaos, effort)?;
    }
    if elsewhere.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<&str> = elsewhere.iter().map(|sample| sample.name).collect();
    println!("\n== not on this kernel: {}", names.join(", "));
    println!("  it has no fq queueing discipline (CONFIG_NET_SCH_FQ), which holds packets back");
    Ok(ExitCode::from(NOT_HERE))
}
