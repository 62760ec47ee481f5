//! `node --print-config`: every setting, its value, and where that came from.

use std::io::Write as _;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::table::{self, row};

/// Prints the settings of `matches`, which are those of `command`.
pub(super) fn print(command: &clap::Command, matches: &ArgMatches) -> std::io::Result<()> {
    let mut rows = vec![row!["SETTING", "VALUE", "FROM"]];
    let settings = command
        .get_arguments()
        .filter(|argument| argument.get_env().is_some());
    for argument in settings {
        let id = argument.get_id().as_str();
        let flag = argument.get_long().unwrap_or(id);
        let values = matches.get_raw(id).into_iter().flatten();
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        let variable = argument.get_env().unwrap_or_default().to_string_lossy();
        let (value, source) = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => (values.join(","), format!("flag --{flag}")),
            Some(ValueSource::EnvVariable) => (values.join(","), format!("variable {variable}")),
            Some(_) => (values.join(","), "default".to_owned()),
            None => ("-".to_owned(), "default".to_owned()),
        };
        rows.push(vec![flag.to_owned(), value, source]);
    }
    for line in table::lines(&rows) {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
