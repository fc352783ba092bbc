//! The command line, as clap has it.

use crate::text::{code, columns, head, plain, row};
use chaos::cli::Arguments;
use clap::{Arg, ArgAction, Command, CommandFactory};

/// The page.
pub fn page() -> String {
    let mut chaos = Arguments::command();
    chaos.build();
    let mut page = head("Commands", "the definitions of the command line");
    page += "`chaos` is one binary. Under the name `kubectl-chaos` it is a plugin of kubectl.\n\n";
    if let Some(codes) = chaos.get_after_help() {
        page += &format!("{} See [exit codes](exit-codes.md).\n\n", plain(&codes.to_string()));
    }
    page += "## chaos\n\n";
    for verb in chaos.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        page += &section("chaos", verb);
    }
    if let Some(plugin) = chaos.find_subcommand("kubectl") {
        page += "## kubectl chaos\n\nEach verb also takes these options.\n\n";
        page += &options(plugin.get_arguments().filter(|argument| argument.is_global_set()));
        for verb in plugin.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            page += &section("kubectl chaos", verb);
        }
    }
    page.trim_end().to_owned() + "\n"
}

fn section(program: &str, verb: &Command) -> String {
    let name = verb.get_name();
    let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut usage = verb.clone().render_usage().to_string();
    if program == "kubectl chaos" {
        usage = usage.replace("chaos kubectl", "kubectl chaos");
    }
    let usage = usage.trim_start_matches("Usage: ").trim();
    let about = plain(about.trim().trim_end_matches('.'));
    let mut text = format!("### {program} {name}\n\n{about}.\n\n```text\n{usage}\n```\n\n");
    let aliases: Vec<String> = verb.get_all_aliases().map(code).collect();
    if !aliases.is_empty() {
        text += &format!("Other names: {}.\n\n", aliases.join(", "));
    }
    text + &options(verb.get_arguments().filter(|argument| !argument.is_global_set()))
}

fn options<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = arguments
        .filter(|argument| !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str()))
        .map(|argument| row(&[code(&form(argument)), plain(&help(argument)), default(argument)]))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("{}{rows}\n", columns(&["argument", "meaning", "default"]))
}

/// `-o, --output <OUTPUT>`.
fn form(argument: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| format!("-{short}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let value = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let value = value.unwrap_or_else(|| argument.get_id().as_str().to_uppercase());
    let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    match (names.is_empty(), takes) {
        (true, _) if argument.is_last_set() => format!("-- {value}..."),
        (true, _) => value,
        (false, true) => format!("{} {value}", names.join(", ")),
        (false, false) => names.join(", "),
    }
}

fn help(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    // clap has taken the full stop away.
    let mut help = help.trim().trim_end_matches('.').to_owned() + ".";
    let values = argument.get_possible_values();
    let is_said = values.iter().all(|value| value.get_help().is_none() && help.contains(value.get_name()));
    let values: Vec<String> = values
        .iter()
        .map(|value| match value.get_help() {
            Some(meaning) => format!("`{}` ({})", value.get_name(), meaning.to_string().trim_end_matches('.')),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() && !is_said && matches!(argument.get_action(), ArgAction::Set | ArgAction::Append) {
        help += &format!(" Values: {}.", values.join(", "));
    }
    if let Some(variable) = argument.get_env() {
        help += &format!(" Environment: `{}`.", variable.to_string_lossy());
    }
    help
}

fn default(argument: &Arg) -> String {
    if !matches!(argument.get_action(), ArgAction::Set | ArgAction::Append) {
        return String::new();
    }
    let values: Vec<String> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    code(&values.join(", "))
}
