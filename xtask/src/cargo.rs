//! Runs cargo, and asks it about the workspace.

use std::path::Path;
use std::process::Command;

use crate::Failure;

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Without `default`.
    pub(crate) features: Vec<String>,
    /// Whether it may go to a registry.
    pub(crate) published: bool,
    /// The packages it needs to run, as its manifest names them.
    pub(crate) dependencies: Vec<String>,
    pub(crate) rust_version: Option<String>,
    /// What a registry shows or asks for, and the manifest does not say.
    pub(crate) unsaid: Vec<&'static str>,
}

/// Fields of a manifest that a published package has.
const SAID: [&str; 7] =
    ["description", "license", "repository", "readme", "keywords", "categories", "rust_version"];

/// Runs cargo in the workspace's root.
pub(crate) fn run(args: &[&str]) -> Result<(), Failure> {
    run_with(args, &[])
}

/// Runs cargo with more environment variables.
pub(crate) fn run_with(args: &[&str], variables: &[(&str, &str)]) -> Result<(), Failure> {
    let status = command(args).envs(variables.iter().copied()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`cargo {}` failed ({status})", args.join(" ")).into())
    }
}

/// What cargo prints.
pub(crate) fn output(args: &[&str]) -> Result<String, Failure> {
    let output = command(args).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("`cargo {}` failed: {said}", args.join(" ")).into())
    }
}

/// The packages of the workspace, in the order of their names.
pub(crate) fn packages() -> Result<Vec<Package>, Failure> {
    let metadata = output(&["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let members = metadata["workspace_members"].as_array();
    let is_member = |id: &serde_json::Value| members.is_some_and(|all| all.contains(id));
    let all = metadata["packages"].as_array().into_iter().flatten();
    let mut packages: Vec<Package> = all
        .filter(|package| is_member(&package["id"]))
        .map(|package| Package {
            name: text(&package["name"]),
            features: package["features"]
                .as_object()
                .into_iter()
                .flat_map(|features| features.keys())
                .filter(|feature| *feature != "default")
                .cloned()
                .collect(),
            published: package["publish"] != serde_json::json!([]),
            dependencies: package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(&dependency["name"]))
                .collect(),
            rust_version: package["rust_version"].as_str().map(str::to_owned),
            unsaid: SAID
                .into_iter()
                .filter(|field| match &package[*field] {
                    serde_json::Value::Array(values) => values.is_empty(),
                    value => value.is_null(),
                })
                .collect(),
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo, in the workspace's root.
pub(crate) fn command(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root());
    command
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
