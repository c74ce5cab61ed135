//! `senren dev`: everything on one machine for one file, proven with a client's eyes, and kept running.
//!
//! From here on it is a user like any other: it applies the file over gRPC, waits as `senren apply --wait` does,
//! and connects to the databases at the endpoints it is told.

mod data;
mod machine;
mod proofs;
mod prove;
mod show;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use senren_api::{
    RegionId,
    v1::{ApplyStateRequest, ApplyStateResponse, ListRegionsRequest, Region, ResourceStatus},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    data::DataDir,
    machine::{Access, Machine, Plan},
    proofs::Proofs,
};
use crate::{
    apply,
    cli::DevArgs,
    client::{Client, Grpc},
    consent,
    document::Document,
    exit::{Exit, Failure},
    outcome,
    output::{self, say},
    progress::Progress,
    shutdown,
    telemetry::{self, endpoint},
    views::{self, Applied},
    wait::{self, Goals},
};

/// What the last look at all that was ready may take, where proofs that failed have used up the time.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// Runs until interrupted, or with `--once` until all is proven.
pub async fn run(args: DevArgs) -> Result<(), Failure> {
    let document = Document::read(&args.file)?;
    let plugin_dir = plugin_dir(args.plugin_dir.clone())?;
    check_port(args.listen)?;
    let mut data = DataDir::open(args.data_dir.as_deref())?;
    telemetry::init_to_file("senren-dev", &data.log())?;
    let shutdown = shutdown::on_signal()?;
    let planes = endpoint::start(args.telemetry, None, shutdown.clone()).await?;

    // Also those of earlier runs: what the file no longer names is deleted there, not forgotten.
    let mut regions: BTreeSet<RegionId> = document.regions();
    regions.extend(args.regions.iter().chain(data.known_regions()).cloned());
    let kubeconfigs: BTreeMap<RegionId, PathBuf> = args.kubeconfigs.iter().cloned().collect();
    regions.extend(kubeconfigs.keys().cloned());
    show::starting(&regions, data.path(), &data.log());
    let plan = Plan {
        regions: regions.iter().cloned().collect(),
        kubeconfigs,
        plugin_dir,
        database_url: args.database_url.clone(),
        listen: args.listen,
        planes,
    };
    let started = jiff::Timestamp::now();
    let mut machine = tokio::select! {
        machine = Machine::start(plan, &mut data) => machine?,
        () = shutdown.cancelled() => return Err(interrupted()),
    };
    let walk = Walk {
        client: Client::local(machine.addr()).await?,
        clusters: machine.clusters().clone(),
        document,
        args,
        started,
    };
    let result = tokio::select! {
        result = walk.run(&shutdown) => result,
        error = machine.failed() => Err(error.into()),
    };
    machine.stop().await;
    result
}

/// The way from the file to the proof, as a user goes it.
struct Walk {
    client: Client,
    clusters: BTreeMap<RegionId, Access>,
    document: Document,
    args: DevArgs,
    /// Before any plane was.
    started: jiff::Timestamp,
}

impl Walk {
    async fn run(&self, shutdown: &CancellationToken) -> Result<(), Failure> {
        let mut regions = show::Regions::default();
        let way = async {
            let deadline = Instant::now() + self.args.timeout;
            regions.show(&self.wait_for_regions(deadline).await?);
            let begin = Instant::now();
            let response = self.apply().await?;
            let proven = self.prove(&response, begin, deadline).await;
            // What was found out about plugins meanwhile.
            regions.show(&self.regions().await?);
            Ok::<_, Failure>(proven)
        };
        let result: Result<(), Failure> = tokio::select! {
            done = way => done?,
            () = shutdown.cancelled() => return Err(interrupted()),
        };
        if self.args.once {
            return result;
        }
        if let Err(failure) = result {
            say!("senren: {failure}");
        }
        tokio::select! {
            () = show::changes(&self.client, &self.document.request.site) => {}
            () = show::regions(&self.client, &mut regions) => {}
            () = shutdown.cancelled() => {}
        }
        say!("stopping; the data stay");
        Ok(())
    }

    async fn apply(&self) -> Result<ApplyStateResponse, Failure> {
        let request = ApplyStateRequest { author: consent::author(None), ..self.document.request.clone() };
        let response = apply::apply(&self.client, request, &self.document).await?;
        let applied = Applied::from(response.clone());
        say!("{}", outcome::summary(&applied));
        output::warnings(&applied.warnings);
        Ok(response)
    }

    /// Waits until all is ready, proves it, and shows what was found.
    async fn prove(
        &self,
        response: &ApplyStateResponse,
        begin: Instant,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut proofs = Proofs::new(begin, deadline, self.clusters.clone());
        let mut progress = Progress::on_stderr();
        let left = deadline.saturating_duration_since(Instant::now());
        let (goals, first) = wait::converge(&self.client, Goals::of(response), left, |status, settled| {
            progress.show(status, settled);
            if status.ready {
                proofs.start(status);
            }
        })
        .await;
        let mut proofs = proofs.finish().await;
        // What was ready when the proof began may have lost its processes with the previous run: look again.
        let (goals, last) = match first {
            Ok(()) => {
                let left = deadline.saturating_duration_since(Instant::now()).max(LAST_LOOK);
                wait::converge(&self.client, Goals::of(response), left, |_, _| {}).await
            }
            failed => (goals, failed),
        };
        progress.finish();
        let resources: Vec<ResourceStatus> = goals.into_latest().collect();
        proofs.follow_up(&resources).await;
        show::table(&resources, &proofs)?;
        let verdict = last.and_then(|()| show::verdict(&proofs));
        if !self.args.once {
            let kubeconfigs = self.clusters.values().map(|access| access.kubeconfig.as_path());
            show::hints(
                &self.client.endpoint,
                &response.site,
                &self.args.file,
                kubeconfigs,
                &resources,
                &proofs,
            );
        }
        verdict
    }

    /// Until every region has been heard of since we started.
    async fn wait_for_regions(&self, deadline: Instant) -> Result<Vec<Region>, Failure> {
        loop {
            let regions = self.regions().await?;
            let heard = |id: &&RegionId| regions.iter().any(|r| r.id == id.as_str() && self.is_up(r));
            let missing: Vec<&str> =
                self.clusters.keys().filter(|id| !heard(id)).map(RegionId::as_str).collect();
            if missing.is_empty() {
                return Ok(regions);
            }
            if Instant::now() >= deadline {
                let message = format!("no heartbeat from {}; the log may say why", missing.join(", "));
                return Err(Failure::new(Exit::TimedOut, message));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn regions(&self) -> Result<Vec<Region>, Failure> {
        let call = async |mut grpc: Grpc, request| grpc.list_regions(request).await;
        Ok(self.client.call(ListRegionsRequest {}, call).await?.regions)
    }

    /// What is known of it is not from an earlier run.
    fn is_up(&self, region: &Region) -> bool {
        let last = views::time(region.last_heartbeat_at);
        region.phase == "Connected" && last.is_some_and(|at| at >= self.started)
    }
}

/// Where the plugins are: as told, or beside this program, where `make plugins` puts them.
fn plugin_dir(told: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("plugins"));
    let dir = told.or_else(beside).unwrap_or_else(|| "plugins".into());
    if has_plugins(&dir) { Ok(dir) } else { Err(no_plugins(&dir)) }
}

fn has_plugins(dir: &std::path::Path) -> bool {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.path().extension().is_some_and(|extension| extension == "wasm"))
}

fn no_plugins(dir: &std::path::Path) -> Failure {
    let message = format!(
        "there is no plugin (.wasm) in {}; build them with `make plugins` or `senren plugin build`, or name their \
         directory with --plugin-dir or PLUGIN_DIR",
        dir.display()
    );
    Failure::new(Exit::Usage, message)
}

/// Says early, and in words, that the address is taken. Port 0 is always free.
fn check_port(listen: SocketAddr) -> Result<(), Failure> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = format!(
                "cannot listen on {listen}: {error}; is another senren running? Stop it, or name another address with \
                 --listen"
            );
            Err(Failure::new(Exit::Failed, message))
        }
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}
