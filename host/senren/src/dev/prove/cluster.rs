//! The proof of type `redis-cluster`: every one of the 16384 slots is served, and a cluster client, which learns the
//! nodes from any of them and follows redirections, writes and reads a key in each shard.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use redis::{Value, cluster::ClusterClientBuilder, cluster_async::ClusterConnection, from_redis_value};

use super::{Access, KEY, Proof, ask, expect, port};

const SLOTS: u16 = 16384;

/// Writes `value` to each shard and reads it; `before` is filled by the first attempt that reads what was there.
pub(super) async fn prove(
    access: &Access,
    value: &str,
    before: &mut Option<Option<String>>,
) -> anyhow::Result<Proof> {
    let ranges = ranges(access).await?;
    let shards = shards(&ranges)?;
    let mut cluster = connect(access).await?;
    let begin = Instant::now();
    expect(&mut cluster, &["PING"], "PONG").await?;
    let ping = begin.elapsed();
    if before.is_none() {
        // Whichever shard has it now, the first key is the same in every run.
        *before = Some(ask(&mut cluster, &["GET", &key(0)]).await?);
    }
    for key in std::iter::once(key(0)).chain(shards.iter().map(|shard| key_in(shard))) {
        expect(&mut cluster, &["SET", &key, value], "OK").await?;
        expect(&mut cluster, &["GET", &key], value).await?;
    }
    Ok(Proof {
        ping,
        works: format!("all {SLOTS} slots are served, SET and GET work in each of {} shards", shards.len()),
        before: before.clone().flatten(),
        replicated: false,
        look: format!("-c {} get {}", access.cli()?, key(0)),
        password: access.password.clone(),
    })
}

/// Reads `value` from every replica of every shard; false where there is none. Each of `nodes` must have joined: a
/// cluster serves every slot, and is ready, a moment before its last replica has found its primary.
pub(super) async fn prove_replicas(access: &Access, nodes: usize, value: &str) -> anyhow::Result<bool> {
    let ranges = ranges(access).await?;
    let shards = shards(&ranges)?;
    let joined = shards.len() + shards.iter().map(|shard| shard.replicas.len()).sum::<usize>();
    ensure!(joined >= nodes, "only {joined} of its {nodes} nodes have joined");
    for shard in &shards {
        for replica in &shard.replicas {
            let mut redis = access.connect(&replica.host, replica.port).await?;
            expect(&mut redis, &["READONLY"], "OK").await?;
            expect(&mut redis, &["GET", &key_in(shard)], value)
                .await
                .with_context(|| format!("replica {}:{}", replica.host, replica.port))?;
        }
    }
    Ok(joined > shards.len())
}

async fn connect(access: &Access) -> anyhow::Result<ClusterConnection> {
    let seeds = access.endpoints.iter().map(|endpoint| access.info(&endpoint.host, port(endpoint)?));
    let client = ClusterClientBuilder::new(seeds.collect::<anyhow::Result<Vec<_>>>()?).build()?;
    client.get_async_connection().await.context("cannot connect to the cluster")
}

/// Slots in a row, and who serves them.
#[derive(Debug, PartialEq)]
struct Range {
    first: u16,
    last: u16,
    primary: Node,
    replicas: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    host: String,
    port: u16,
}

/// As a node of the cluster sees it, ordered by slot.
async fn ranges(access: &Access) -> anyhow::Result<Vec<Range>> {
    let main = access.main()?;
    let mut node = access.connect(&main.host, port(main)?).await?;
    let answer: Vec<Value> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut node).await?;
    let mut ranges = answer.into_iter().map(Range::read).collect::<anyhow::Result<Vec<_>>>()?;
    ranges.sort_by_key(|range| range.first);
    Ok(ranges)
}

impl Range {
    /// `[first, last, [host, port, id, …], …]`, the primary first.
    fn read(answer: Value) -> anyhow::Result<Self> {
        let parts: Vec<Value> = from_redis_value(answer)?;
        let mut parts = parts.into_iter();
        let mut number = || -> anyhow::Result<u16> {
            Ok(from_redis_value(parts.next().context("CLUSTER SLOTS is cut short")?)?)
        };
        let (first, last) = (number()?, number()?);
        let mut nodes = parts.map(|node| {
            let parts: Vec<Value> = from_redis_value(node)?;
            let mut parts = parts.into_iter();
            let mut next = || parts.next().context("CLUSTER SLOTS is cut short");
            anyhow::Ok(Node { host: from_redis_value(next()?)?, port: from_redis_value(next()?)? })
        });
        let primary = nodes.next().context("slots without a primary")??;
        Ok(Self { first, last, primary, replicas: nodes.collect::<anyhow::Result<_>>()? })
    }
}

/// One range of each primary, provided that every slot has one.
fn shards(ranges: &[Range]) -> anyhow::Result<Vec<&Range>> {
    let mut next = 0;
    for range in ranges {
        ensure!(range.first <= next, "slots {next} to {} are served by nobody", range.first - 1);
        next = range.last + 1;
    }
    ensure!(next == SLOTS, "slots {next} to {} are served by nobody", SLOTS - 1);
    let mut shards: Vec<&Range> = Vec::new();
    for range in ranges {
        if shards.iter().all(|shard| shard.primary != range.primary) {
            shards.push(range);
        }
    }
    Ok(shards)
}

fn key(number: u32) -> String {
    format!("{KEY}:{number}")
}

/// The first of our keys that is in that range: which it is depends on nothing else.
fn key_in(range: &Range) -> String {
    let inside = |key: &String| (range.first..=range.last).contains(&slot(key));
    // A single slot has one among so many with all but certainty; if not, the value is another shard's as well.
    (0..1_000_000).map(key).find(inside).unwrap_or_else(|| key(0))
}

/// As Redis computes it for a key without braces.
fn slot(key: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % SLOTS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn range(first: u16, last: u16, port: u16) -> Range {
        Range { first, last, primary: Node { host: "127.0.0.1".into(), port }, replicas: Vec::new() }
    }

    #[test]
    fn a_slot_that_nobody_serves_is_found_wherever_it_is() {
        let check = |ranges: &[Range], expected: Result<usize, &str>| match (shards(ranges), expected) {
            (Ok(shards), Ok(count)) => assert_eq!(shards.len(), count),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, _) => unreachable!("{result:?} instead of {expected:?}"),
        };
        check(&[range(0, 16383, 1)], Ok(1));
        check(&[range(0, 99, 1), range(100, 8000, 2), range(8001, 16383, 1)], Ok(2));
        check(&[], Err("slots 0 to 16383"));
        check(&[range(1, 16383, 1)], Err("slots 0 to 0"));
        check(&[range(0, 9, 1), range(11, 16383, 2)], Err("slots 10 to 10"));
        check(&[range(0, 16000, 1)], Err("slots 16001 to 16383"));
    }

    #[test]
    fn a_key_is_in_the_range_it_was_made_for() {
        // As `redis-cli cluster keyslot` says.
        assert_eq!(slot("foo"), 12182);
        for range in [range(0, 5460, 1), range(5461, 10922, 2), range(16383, 16383, 3)] {
            let slot = slot(&key_in(&range));
            assert!((range.first..=range.last).contains(&slot), "{slot} in {range:?}");
        }
    }

    #[test]
    fn an_answer_of_the_server_is_read() {
        let text = |text: &str| Value::BulkString(text.into());
        let node = |host: &str, port| {
            Value::Array(vec![text(host), Value::Int(port), text("id"), Value::Array(vec![])])
        };
        let answer = Value::Array(vec![
            Value::Int(0),
            Value::Int(5460),
            node("127.80.64.1", 6379),
            node("127.80.64.2", 6379),
        ]);
        let range = Range::read(answer).unwrap();
        assert_eq!((range.first, range.last, range.primary.host.as_str()), (0, 5460, "127.80.64.1"));
        assert_eq!(range.replicas, [Node { host: "127.80.64.2".into(), port: 6379 }]);
        assert!(Range::read(Value::Array(vec![Value::Int(0)])).is_err());
    }
}
