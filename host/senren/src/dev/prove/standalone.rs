//! The proof of type `redis`: PING, SET and GET at the primary, GET where replicas are read.

use std::time::Instant;

use super::{Access, KEY, Proof, ask, expect, port};

/// Name of the endpoint that replicas are read at.
const READS: &str = "reads";

/// Writes `value` and reads it; `before` is filled by the first attempt that reads what was there.
pub(super) async fn prove(
    access: &Access,
    value: &str,
    before: &mut Option<Option<String>>,
) -> anyhow::Result<Proof> {
    let primary = access.main()?;
    let mut redis = access.connect(&primary.host, port(primary)?).await?;
    let begin = Instant::now();
    expect(&mut redis, &["PING"], "PONG").await?;
    let ping = begin.elapsed();
    if before.is_none() {
        *before = Some(ask(&mut redis, &["GET", KEY]).await?);
    }
    expect(&mut redis, &["SET", KEY, value], "OK").await?;
    expect(&mut redis, &["GET", KEY], value).await?;
    Ok(Proof {
        ping,
        works: "SET and GET work".into(),
        before: before.clone().flatten(),
        replicated: false,
        look: format!("{} get {KEY}", access.cli()?),
        password: access.password.clone(),
    })
}

/// Reads `value` where replicas are read; false where there is no such endpoint.
pub(super) async fn prove_replicas(access: &Access, value: &str) -> anyhow::Result<bool> {
    let Some(reads) = access.endpoints.iter().find(|endpoint| endpoint.name == READS) else {
        return Ok(false);
    };
    let mut redis = access.connect(&reads.host, port(reads)?).await?;
    expect(&mut redis, &["GET", KEY], value).await?;
    Ok(true)
}
