//! Bytes as text: 16 to a line, comments behind `#`.

use std::path::PathBuf;

/// The text of `bytes`.
pub(crate) fn write(bytes: &[u8]) -> String {
    let line = |line: &[u8]| {
        let pairs: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        pairs.join(" ") + "\n"
    };
    bytes.chunks(16).map(line).collect()
}

/// The bytes in `text`.
pub(crate) fn read(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap());
    lines
        .flat_map(str::split_whitespace)
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// A folder of this repository's tests, as `corpus/wire`.
pub(crate) fn folder(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests").join(name)
}

/// Whether recorded files are to be rewritten instead of compared.
pub(crate) fn bless() -> bool {
    std::env::var("REMEMBER_BLESS").is_ok_and(|value| value == "1")
}
