//! Puts the agents that release builds carry into the program: `$FFE_AGENT_DIR/<uname -m>/ffe-agent.gz`, made by
//! `scripts/build`, and the digest of what is in it, so that no start of the program has to unpack it. Without that variable the table is empty, and the `ffe-agent` beside the program is used.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=FFE_AGENT_DIR");
    let mut table = String::from("&[\n");
    if let Some(directory) = std::env::var_os("FFE_AGENT_DIR").filter(|value| !value.is_empty()) {
        let directory = PathBuf::from(directory).canonicalize()?;
        println!("cargo::rerun-if-changed={}", directory.display());
        for (architecture, file) in agents(&directory)? {
            println!("cargo::rerun-if-changed={}", file.display());
            let sha256 = std::fs::read_to_string(file.with_extension("sha256"))?;
            let (sha256, file) = (sha256.trim(), file.display().to_string());
            writeln!(table, "    ({architecture:?}, {sha256:?}, include_bytes!({file:?})),")?;
        }
    }
    table.push_str("]\n");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("agents.rs"), table)?;
    Ok(())
}

fn agents(directory: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.path().join("ffe-agent.gz");
        if file.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), file));
        }
    }
    found.sort();
    Ok(found)
}
