//! PostgreSQL: the only thing that the control plane remembers by. A file per noun; SQL lives here and nowhere else.
//!
//! Functions take the connection or transaction they run in, so that a step decides what is atomic. They know nothing
//! of gRPC or Kafka. The order of locks is stated at the top of the migrations.

pub(crate) mod declared;
pub(crate) mod heartbeats;
pub(crate) mod history;
pub(crate) mod holds;
pub(crate) mod regions;
pub(crate) mod relays;
pub(crate) mod requests;
pub(crate) mod resources;
pub(crate) mod revision;
pub(crate) mod sites;
pub(crate) mod statuses;
pub(crate) mod turns;

use std::{str::FromStr as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

/// How long a server may take to answer that is just starting.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

/// Every statement is prepared and finds its rows by key, so one plan serves all its parameters; to plan each anew took
/// a tenth of a small apply.
///
/// A machine that is lost without a word must not keep its locks (on a region that it was publishing, say): PostgreSQL
/// notices after five seconds, not hours, and ends what a control plane that hangs has begun, once no publication can
/// take so long.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan;
                       SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2;
                       SET idle_in_transaction_session_timeout = '30s'";

/// Connections to the database of a control plane.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    /// A turn for each connection that watchers may use at once: however many they are, an apply finds one free.
    watchers: Arc<Semaphore>,
}

impl Store {
    /// Connects, and brings the schema up to date.
    pub async fn connect(database_url: &str, connections: u32) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(database_url)
            .context("DATABASE_URL is no PostgreSQL URL (postgres://user:password@host:5432/database)")?
            .application_name("senren-control")
            // Whole statements are no log lines; how long steps take is in the metrics.
            .disable_statement_logging();
        reach(&options)
            .await
            .context("cannot connect to PostgreSQL; is DATABASE_URL right, and is the server up?")?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(PATIENCE)
            // A ping before every use would cost a round trip; one that has just been in use is alive.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
            })
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > Duration::from_secs(2) {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .context("cannot bring the database schema up to date")?;
        let watchers = usize::try_from(connections / 4).unwrap_or_default().max(1);
        Ok(Self { pool, watchers: Arc::new(Semaphore::new(watchers)) })
    }

    pub(crate) async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.pool.acquire().await
    }

    /// A connection for a watcher, when it is its turn.
    pub(crate) async fn acquire_to_watch(
        &self,
    ) -> sqlx::Result<(PoolConnection<Postgres>, SemaphorePermit<'_>)> {
        let turn = self.watchers.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        Ok((self.acquire().await?, turn))
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.pool.begin().await
    }

    /// Connections that are open, and how many of them nobody uses.
    pub(crate) fn connections(&self) -> (u64, u64) {
        let idle = self.pool.num_idle() as u64;
        (u64::from(self.pool.size()).max(idle), idle)
    }

    /// As `begin`, in one round trip with `need_not_last`.
    pub(crate) async fn begin_what_need_not_last(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await
    }

    /// True where the database answers.
    pub(crate) async fn is_alive(&self) -> bool {
        match self.pool.acquire().await {
            Ok(mut connection) => connection.ping().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Closes all connections, once they are idle.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Waits for a server that is just starting. A pool that fails to connect says only that it took too long; this says why.
async fn reach(options: &PgConnectOptions) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let problem = match timeout_at(deadline, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => return Ok(connection.close().await?),
            Ok(Err(error)) if is_transient(&error) => anyhow::Error::from(error),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let port = options.get_port();
                anyhow::bail!("{}:{port} does not answer within {PATIENCE:?}", options.get_host())
            }
        };
        if Instant::now() + PAUSE > deadline {
            return Err(problem);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets the transaction's commit return before it is on disk. For what will be found out and written again anyway if the
/// server crashes within the next second: it saves a flush.
pub(crate) async fn need_not_last(transaction: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SET LOCAL synchronous_commit = off").execute(transaction).await?;
    Ok(())
}

/// PostgreSQL has no unsigned integers. Everything that enters is checked against this.
pub(crate) const MAX_COUNTER: u64 = 1 << 62;

/// For counters, which are checked when they enter.
pub(crate) fn signed(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// For columns that are never negative.
pub(crate) fn unsigned(column: i64) -> u64 {
    u64::try_from(column).unwrap_or_default()
}

/// True where somebody else did something at the same time, and it is to be done again: a serialisation failure, a
/// deadlock, a request id that has just got its answer.
pub(crate) fn is_lost_race(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    error.code().is_some_and(|code| code.starts_with("40")) || error.constraint() == Some("requests_pkey")
}

/// True where the same may well succeed later: the server is away, busy, or had to choose a victim.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // Connection, resources, operator, system; serialisation failure, deadlock; read only after a failover.
            ["08", "53", "57", "58", "40"].iter().any(|class| code.starts_with(class)) || code == "25006"
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}
