//! What a client weighs: the crates that it brings, the processor time of a cold build, and the size
//! of a program that says hello.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::run::ended_children;
use crate::{Failure, contestant};

/// What a program weighs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Weight {
    pub(crate) name: String,
    /// Packages that are built for it, build scripts' included, without itself.
    pub(crate) crates: u64,
    /// Seconds of user and system time of a release build from nothing.
    pub(crate) cpu: f64,
    /// Bytes of the stripped program.
    pub(crate) bytes: u64,
}

pub(crate) const WITHOUT_TLS: &str = "midge-tokio without TLS";
pub(crate) const WITH_EVERYTHING: &str = "midge-tokio with everything";
pub(crate) const ASYNC_NATS_LEAST: &str = "async-nats, the least that builds";
pub(crate) const ASYNC_NATS: &str = "async-nats";

/// A program that connects, publishes once, and flushes.
struct Program {
    name: &'static str,
    dependencies: &'static str,
    main: &'static str,
}

const TOKIO_RT: &str = "tokio = { version = \"1.45\", features = [\"rt\"] }\n";

const MIDGE_TOKIO: &str = r#"
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = midge_tokio::connect("127.0.0.1").await?;
        client.publish("greet", "hello").await?;
        client.flush().await?;
        Ok(())
    })
}
"#;

const MIDGE_STD: &str = r#"
use midge_std::Wait;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = midge_std::connect("127.0.0.1")?;
    client.publish("greet", "hello").wait()?;
    client.flush().wait()?;
    Ok(())
}
"#;

const HELLO_ASYNC_NATS: &str = r#"
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = async_nats::connect("127.0.0.1").await?;
        client.publish("greet", "hello".into()).await?;
        client.flush().await?;
        Ok(())
    })
}
"#;

const TOKIO_ALONE: &str = r#"
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect("127.0.0.1:4222").await?;
        stream.writable().await?;
        stream.into_std()?.write_all(b"PUB greet 5\r\nhello\r\n")?;
        Ok(())
    })
}
"#;

const STD_ALONE: &str = r#"
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = std::net::TcpStream::connect("127.0.0.1:4222")?;
    stream.write_all(b"PUB greet 5\r\nhello\r\n")?;
    Ok(())
}
"#;

const PROGRAMS: &[Program] = &[
    Program { name: "std alone", dependencies: "", main: STD_ALONE },
    Program {
        name: "tokio alone",
        dependencies: "tokio = { version = \"1.45\", features = [\"net\", \"rt\", \"time\"] }\n",
        main: TOKIO_ALONE,
    },
    Program {
        name: "midge-std without TLS",
        dependencies: "midge-std = { path = \"CRATES/midge-std\", default-features = false }\n",
        main: MIDGE_STD,
    },
    Program {
        name: WITHOUT_TLS,
        dependencies: "midge-tokio = { path = \"CRATES/midge-tokio\", default-features = false }\nTOKIO",
        main: MIDGE_TOKIO,
    },
    Program {
        name: WITH_EVERYTHING,
        dependencies: "midge-tokio = { path = \"CRATES/midge-tokio\", features = [\"serde\", \"tracing\"] }\nTOKIO",
        main: MIDGE_TOKIO,
    },
    Program {
        name: ASYNC_NATS_LEAST,
        dependencies: "async-nats = { version = \"0.51\", default-features = false, features = [\"ring\"] }\nTOKIO",
        main: HELLO_ASYNC_NATS,
    },
    Program {
        name: ASYNC_NATS,
        dependencies: "async-nats = \"0.51\"\nTOKIO",
        main: HELLO_ASYNC_NATS,
    },
];

/// Builds each of them from nothing, below `target`.
pub(crate) fn weigh(root: &Path, target: &Path) -> Vec<Result<Weight, (String, String)>> {
    let weighed = PROGRAMS.iter().map(|program| {
        println!("weighing {}", program.name);
        let failed = |failure: Failure| (program.name.to_owned(), failure.to_string());
        program.weigh(root, &target.join("weight")).map_err(failed)
    });
    weighed.collect()
}

impl Program {
    fn weigh(&self, root: &Path, target: &Path) -> Result<Weight, Failure> {
        let place = target.join(self.name.replace([' ', ','], "-"));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.join("src"))?;
        let crates = root.join("crates").display().to_string();
        let dependencies = self.dependencies.replace("CRATES", &crates).replace("TOKIO", TOKIO_RT);
        fs::write(
            place.join("Cargo.toml"),
            format!(
                "[package]\nname = \"hello\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
                 [workspace]\n\n[profile.release]\nstrip = true\n\n[dependencies]\n{dependencies}"
            ),
        )?;
        fs::write(place.join("src/main.rs"), self.main.trim_start())?;
        let cargo = || {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            cargo.current_dir(&place).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
            cargo
        };
        // What is fetched is no part of the build.
        contestant::call(cargo().args(["fetch", "--quiet"]))?;
        let tree = cargo()
            .args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
            .output()?;
        let tree = String::from_utf8_lossy(&tree.stdout);
        let packages: BTreeSet<&str> =
            tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
        let before = ended_children();
        contestant::call(cargo().args(["build", "--release", "--quiet", "--offline"]))?;
        let cpu = ended_children().saturating_sub(before).as_secs_f64();
        let bytes = fs::metadata(place.join("target/release/hello"))?.len();
        let _ = fs::remove_dir_all(place.join("target"));
        let crates = packages.len().saturating_sub(1) as u64;
        Ok(Weight { name: self.name.to_owned(), crates, cpu, bytes })
    }
}
