//! `remember crd`: the definition of the custom resource.

use std::io::Write as _;

use super::exit::Exit;
use crate::crd::definition_yaml;

/// Prints it, as `crds/` holds it.
pub(super) fn print() -> anyhow::Result<Exit> {
    std::io::stdout().write_all(definition_yaml()?.as_bytes())?;
    Ok(Exit::Done)
}
