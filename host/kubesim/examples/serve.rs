//! An embedded cluster to try with `kubectl`: `cargo run -p senren-kubesim --example serve -- DIRECTORY` keeps it
//! there and prints its kubeconfig.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use senren_kubesim::workloads::Processes;
use senren_kubesim::{Config, KubeSim, Workloads};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).context("usage: serve DIRECTORY")?);
    let workloads = Workloads::Processes(Processes::default());
    let config = Config { data_dir: Some(directory.clone()), workloads, ..Config::default() };
    let cluster = KubeSim::start(config).await?;
    let served = cluster.serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let file = directory.join("kubeconfig");
    served.write_kubeconfig(&file, "kubesim", "default")?;
    println!("export KUBECONFIG={}", file.display());
    tokio::signal::ctrl_c().await?;
    cluster.shutdown().await;
    Ok(())
}
