//! The definition of the custom resource is the one that this program prints: in `crds/`, and in
//! the chart, which can read no file outside of itself.

#![cfg(test)]

use std::process::Command;

/// What `kubectl apply` can carry in its annotation (R6).
const APPLY_BYTES_MAX: usize = 262_144;

/// Where the definition is kept.
const COPIES: [&str; 2] = [
    "crds/remembercluster.yaml",
    "charts/remember/files/remembercluster.yaml",
];

#[test]
fn the_definitions_in_the_repository_are_fresh() {
    let printed = Command::new(env!("CARGO_BIN_EXE_remember"))
        .arg("crd")
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test");
    for path in COPIES {
        let file = std::path::Path::new(&root).join(path);
        if std::env::var_os("REMEMBER_BLESS").is_some() {
            std::fs::write(&file, &printed).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap();
        assert!(
            kept == printed,
            "{path} is not what `remember crd` prints: run REMEMBER_BLESS=1 cargo test --test crd, \
             and review the difference; then do the same with `make chart`"
        );
    }
    assert!(
        printed.len() < APPLY_BYTES_MAX / 2,
        "{} bytes",
        printed.len()
    );
}
