//! The program `helm`, which `tools/go/build helm` puts into the cache.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The repository. Asked for when the test runs: two clones that share a target directory share its
/// binary.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test"))
}

/// What helm does, in the root of the repository. It sees no settings of whoever runs the test.
pub(crate) fn helm_output(arguments: &[&str]) -> Output {
    let cache = std::env::var_os("REMEMBER_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("a home");
        PathBuf::from(home).join(".cache/remember")
    });
    let nowhere = std::env::temp_dir().join(format!("remember-helm-{}", std::process::id()));
    Command::new(cache.join("helm/helm"))
        .env_clear()
        .env("HELM_CONFIG_HOME", &nowhere)
        .env("HELM_CACHE_HOME", &nowhere)
        .env("HELM_DATA_HOME", &nowhere)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("helm does not start ({error}): run `make chart`"))
}

/// What helm prints, which must succeed.
pub(crate) fn helm(arguments: &[&str]) -> String {
    let output = helm_output(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "helm {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}
