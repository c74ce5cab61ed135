//! The region's own PostgreSQL, as far as it can be had: a region goes on without it, and says so.
//!
//! Nothing here waits longer than [`PATIENCE`], and after a failure nobody asks again for a while.

use std::{str::FromStr as _, time::Duration};

use anyhow::Context as _;
use parking_lot::Mutex;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, timeout};

use crate::retry::backoff;

/// After this time without an answer it counts as gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reports are kept by as many at once.
const CONNECTIONS: u32 = 4;
/// Where the tables are: nobody else's are touched, whosever database it is.
const SCHEMA: &str = "senren_region";

/// See the module.
pub(super) struct Database {
    pool: PgPool,
    region: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Its tables are as they must be.
    open: bool,
    failures: u32,
    /// Nobody asks before.
    away_until: Option<Instant>,
    why: String,
}

impl Database {
    /// Of `url`. Nothing is asked of it yet.
    pub fn new(url: &str, region: &str) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .context(
                "REGIONAL_DATABASE_URL is no PostgreSQL URL (postgres://user:password@host:5432/database)",
            )?
            .application_name("senren-region");
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options);
        let state = State { why: "it is not open yet".into(), ..State::default() };
        Ok(Self { pool, region: region.to_owned(), state: Mutex::new(state) })
    }

    /// Brings its tables up to date. Returns what an earlier process left there, in its order.
    pub async fn open(&self) -> Result<Vec<(i64, Vec<u8>)>, String> {
        let open = async {
            let mut migrations = sqlx::migrate!("./migrations");
            migrations.dangerous_set_table_name(format!("{SCHEMA}.migrations"));
            migrations.create_schema(SCHEMA);
            migrations.run(&self.pool).await?;
            let left = "SELECT id, report FROM senren_region.outbox WHERE region = $1 ORDER BY id";
            anyhow::Ok(sqlx::query_as(left).bind(&self.region).fetch_all(&self.pool).await?)
        };
        let left = self.ask(open).await?;
        self.state.lock().open = true;
        Ok(left)
    }

    /// Keeps a report. It is on disk when this returns.
    pub async fn insert(&self, report: &[u8]) -> Result<i64, String> {
        {
            let state = self.state.lock();
            if !state.open || state.away_until.is_some_and(|until| Instant::now() < until) {
                return Err(state.why.clone());
            }
        }
        let insert = "INSERT INTO senren_region.outbox (region, report) VALUES ($1, $2) RETURNING id";
        self.ask(async {
            Ok(sqlx::query_scalar(insert).bind(&self.region).bind(report).fetch_one(&self.pool).await?)
        })
        .await
    }

    /// Lets go of reports that are acknowledged. To do so again is harmless, so it need not last.
    pub async fn delete(&self, ids: &[i64]) -> Result<(), String> {
        self.ask(async {
            let mut transaction = self.pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await?;
            let delete = "DELETE FROM senren_region.outbox WHERE id = ANY($1)";
            sqlx::query(delete).bind(ids).execute(&mut *transaction).await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    async fn ask<T>(&self, question: impl Future<Output = anyhow::Result<T>>) -> Result<T, String> {
        let why = match timeout(PATIENCE, question).await {
            Ok(Ok(answer)) => {
                let mut state = self.state.lock();
                (state.failures, state.away_until) = (0, None);
                return Ok(answer);
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        let mut state = self.state.lock();
        state.failures += 1;
        state.away_until = Some(Instant::now() + backoff(state.failures));
        state.why.clone_from(&why);
        Err(why)
    }
}
