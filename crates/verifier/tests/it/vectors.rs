//! Where genuine evidence lies.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// A file of a crate that the workspace locks, from cargo's own copy of the crate.
pub fn crate_file(package: &str, version: &str, name: &str) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .expect("cargo starts");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's metadata");
    let mut packages = metadata["packages"].as_array().expect("packages").iter();
    let found = packages.find(|found| found["name"] == package && found["version"] == version);
    let manifest = found.expect("a locked crate")["manifest_path"].as_str().expect("a path");
    let path = PathBuf::from(manifest).with_file_name(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The certificates of a PEM file, DER, in their order.
pub fn pem(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .map(|block| {
            let body = block.split("-----END").next().expect("an end");
            let body: String = body.split_whitespace().collect();
            serde_json::from_value::<cordon_types::Base64Bytes>(body.into()).expect("base64")
        })
        .map(cordon_types::Base64Bytes::into_vec)
        .collect()
}
