//! `senren control` and `senren regional`: configuration in, a plane that runs until it is told to stop.

use anyhow::Context as _;
use senren_control::Control;
use senren_engine::{Engine, EngineConfig};

use crate::{
    cli::{ControlArgs, RegionalArgs},
    exit::Failure,
    shutdown,
    telemetry::endpoint,
};

/// Runs a control plane.
pub async fn control(args: ControlArgs) -> Result<(), Failure> {
    let shutdown = shutdown::on_signal()?;
    let planes = endpoint::start(args.telemetry, None, shutdown.clone()).await?;
    let bus = args.bus.connect().await.context("the bus")?;
    // What it needs may be away for long: being told to stop ends the wait.
    let control = tokio::select! {
        started = Control::start(args.control, bus, shutdown.clone()) => started.context("control plane")?,
        () = shutdown.cancelled() => return Ok(()),
    };
    planes.add("control plane", control.readiness());
    control.join().await?;
    Ok(())
}

/// Runs the plane of one region, against the cluster that the environment or kubeconfig names.
pub async fn regional(args: RegionalArgs) -> Result<(), Failure> {
    let shutdown = shutdown::on_signal()?;
    let region = args.region.region_id.to_string();
    let planes = endpoint::start(args.telemetry, Some(&region), shutdown.clone()).await?;
    planes.add(region, args.region.readiness.clone());
    let client = kube::Client::try_default()
        .await
        .context("no Kubernetes API: run inside a cluster or set KUBECONFIG")?;
    let bus = args.bus.connect().await.context("the bus")?;
    let cache_dir = args.region.plugin_cache_dir.clone();
    let engine = Engine::new(EngineConfig { cache_dir, ..Default::default() }).context("plugin engine")?;
    senren_region::run(args.region, client, bus, engine, shutdown).await?;
    Ok(())
}
