//! One revision of a site: all that it writes, in one statement.
//!
//! One statement is one round trip, one transaction and one flush, which is most of what an apply costs. It writes
//! everything or, where the site is no longer at the revision that it was made for, nothing.
//!
//! In PostgreSQL all parts of a statement see the database as it was before, and run when another part asks for their
//! rows. So whatever has to happen first is asked for: the site's row is locked first, then the regions', and a name is
//! given up before it is taken again.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use senren_api::SiteName;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    declared::Declaration,
    holds::Hold,
    requests::RequestKey,
    resources::{Insert, Update},
    signed,
};
use crate::hub::CHANNEL;

/// What happened, for the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Apply,
    Rollback { to: u64 },
    Confirm,
    ForceDelete,
}

impl Kind {
    /// As in the API, and in the database.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Rollback { .. } => "Rollback",
            Self::Confirm => "Confirm",
            Self::ForceDelete => "ForceDelete",
        }
    }

    fn rollback_to(&self) -> Option<u64> {
        match self {
            Self::Rollback { to } => Some(*to),
            _ => None,
        }
    }
}

/// Everything that a revision writes.
pub(crate) struct Revision<'a> {
    pub site: &'a SiteName,
    /// What it was made for, and what the site is at afterwards; the same where nothing but the answer is remembered.
    pub before: u64,
    pub after: u64,
    pub now: DateTime<Utc>,
    /// Regions whose content changes.
    pub regions: &'a BTreeSet<String>,
    pub inserts: &'a [Insert],
    pub updates: &'a [Update],
    /// Resources that are no longer desired. Each departs with a version of its region, and stays on record until the
    /// region says that it is gone; in a region that was never heard of there is nothing to wait for.
    pub removals: &'a [Uuid],
    /// Departing resources that are no longer waited for.
    pub forgotten: &'a [Uuid],
    /// Names whose declaration changes, and what is declared under them from now on.
    pub renamed: &'a BTreeSet<String>,
    pub declared: Vec<Declaration>,
    /// For the history.
    pub kind: Kind,
    pub author: &'a str,
    pub changes: serde_json::Value,
    /// What to remember for whoever asks again.
    pub request: Option<(&'a RequestKey, Vec<u8>)>,
    /// What the other control planes are told.
    pub payloads: Vec<String>,
    /// Whose work it is, for the regions' next states.
    pub traceparent: Option<String>,
}

/// Writes it. False: the site has moved on, and nothing was written.
pub(crate) async fn write(connection: &mut PgConnection, revision: &Revision<'_>) -> sqlx::Result<bool> {
    Ok(!statement(revision).build().fetch_all(connection).await?.is_empty())
}

/// Only of the parts that it needs: even one that finds nothing to do costs time. There are few combinations, and each
/// is planned once.
fn statement(revision: &Revision<'_>) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("WITH ");
    lock_site(&mut sql, revision);
    let mut first = vec![];
    if !revision.regions.is_empty() {
        raise_versions(&mut sql, revision);
        first.push("raised");
    }
    if !revision.removals.is_empty() {
        remove(&mut sql, revision.removals);
        first.extend(["gone", "departed"]);
    }
    sql.push("), ready AS (SELECT 0");
    for part in first {
        sql.push(format_args!(" + (SELECT COUNT(*) FROM {part})"));
    }
    sql.push(" AS parts");
    if !revision.forgotten.is_empty() {
        forget(&mut sql, revision.forgotten);
    }
    if !revision.updates.is_empty() {
        update(&mut sql, revision.updates);
    }
    if !revision.inserts.is_empty() {
        insert(&mut sql, revision.inserts);
    }
    if !revision.renamed.is_empty() {
        declare(&mut sql, revision);
    }
    if revision.before != revision.after {
        record(&mut sql, revision);
    }
    if let Some((key, answer)) = &revision.request {
        remember(&mut sql, key, answer);
    }
    sql.push(") SELECT site.name FROM site LEFT JOIN LATERAL (SELECT pg_notify(").push_bind(CHANNEL);
    sql.push(", payload) FROM UNNEST(").push_bind(&revision.payloads);
    sql.push("::text[]) AS payload) AS told ON true");
    sql
}

/// Everything else asks for this row, so without it nothing happens.
fn lock_site(sql: &mut QueryBuilder<Postgres>, revision: &Revision<'_>) {
    sql.push("site AS (INSERT INTO sites AS z (name, revision) VALUES (").push_bind(revision.site.as_str());
    sql.push(", ").push_bind(signed(revision.after));
    sql.push(") ON CONFLICT (name) DO UPDATE SET revision = EXCLUDED.revision WHERE z.revision = ");
    sql.push_bind(signed(revision.before));
    sql.push(" RETURNING name, revision, ").push_bind(revision.now).push("::timestamptz AS now");
}

/// A version that a region says it has already seen is never used again: after a restore of an old backup ours would lag
/// behind. Ordered as bytes, whatever the database's collation: this is the order of locks.
fn raise_versions(sql: &mut QueryBuilder<Postgres>, revision: &Revision<'_>) {
    let traceparent = revision.traceparent.as_deref().unwrap_or_default();
    sql.push(
        "), raised AS (
             INSERT INTO regions AS r (id, version, behind_since, traceparent)
             SELECT id, 1 + COALESCE((SELECT h.version FROM heartbeats h WHERE h.region = id), 0), now, ",
    );
    sql.push_bind(traceparent).push(" FROM site, UNNEST(").push_bind(texts(revision.regions));
    sql.push(
        r#"::text[]) AS id ORDER BY id COLLATE "C"
             ON CONFLICT (id) DO UPDATE SET version = GREATEST(r.version, r.head, EXCLUDED.version - 1) + 1,
                                            behind_since = COALESCE(r.behind_since, EXCLUDED.behind_since),
                                            traceparent = EXCLUDED.traceparent
             RETURNING id, version
         ), relay AS (
             INSERT INTO relays (region) SELECT id FROM raised
             WHERE NOT EXISTS (SELECT FROM relays l WHERE l.region = id) ON CONFLICT DO NOTHING"#,
    );
}

fn remove(sql: &mut QueryBuilder<Postgres>, removals: &[Uuid]) {
    sql.push(
        "), removal AS (
             SELECT r.uid, raised.version, EXISTS (SELECT FROM heartbeats h WHERE h.region = r.region) AS region_seen
             FROM UNNEST(",
    );
    sql.push_bind(removals);
    sql.push(
        "::uuid[]) AS u(uid) JOIN resources r ON r.uid = u.uid JOIN raised ON raised.id = r.region
         ), gone AS (
             DELETE FROM resources r USING removal WHERE r.uid = removal.uid AND NOT removal.region_seen
             RETURNING r.uid
         ), departed AS (
             UPDATE resources r
             SET removed_at = site.now, removed_version = removal.version, generation = site.revision,
                 applied_at = site.now, hold_kind = NULL, hold_message = NULL, hold_revision = NULL
             FROM site, removal WHERE r.uid = removal.uid AND removal.region_seen RETURNING r.uid",
    );
}

fn forget(sql: &mut QueryBuilder<Postgres>, forgotten: &[Uuid]) {
    sql.push("), forgotten AS (DELETE FROM resources r USING site WHERE r.uid = ANY(").push_bind(forgotten);
    sql.push(") AND r.removed_at IS NOT NULL AND (SELECT parts FROM ready) >= 0");
}

fn update(sql: &mut QueryBuilder<Postgres>, updates: &[Update]) {
    sql.push(
        "), updated AS (
             UPDATE resources r
             SET spec = u.spec, deletion_protection = u.protection, data_loss_confirmed = u.confirmed,
                 generation = CASE WHEN u.renewed THEN site.revision ELSE r.generation END,
                 applied_at = CASE WHEN u.renewed THEN site.now ELSE r.applied_at END,
                 hold_kind = u.hold_kind, hold_message = u.hold_message, hold_revision = u.hold_revision,
                 removed_at = NULL, removed_version = NULL
             FROM site, UNNEST(",
    );
    sql.push_bind(list(updates, |update| update.uid)).push("::uuid[], ");
    sql.push_bind(list(updates, |update| &*update.spec)).push("::text[], ");
    sql.push_bind(list(updates, |update| update.deletion_protection)).push("::boolean[], ");
    sql.push_bind(list(updates, |update| update.data_loss_confirmed)).push("::boolean[], ");
    sql.push_bind(list(updates, |update| update.renewed)).push("::boolean[], ");
    push_holds(sql, updates.iter().map(|update| update.hold.as_ref()));
    sql.push(
        ") AS u(uid, spec, protection, confirmed, renewed, hold_kind, hold_message, hold_revision)
             WHERE r.uid = u.uid AND (SELECT parts FROM ready) >= 0",
    );
}

fn insert(sql: &mut QueryBuilder<Postgres>, inserts: &[Insert]) {
    sql.push(
        "), inserted AS (
             INSERT INTO resources (uid, region, name, type, spec, deletion_protection, data_loss_confirmed, replaces,
                                    hold_kind, hold_message, hold_revision, site, generation, created_at, applied_at)
             SELECT i.*, site.name, site.revision, site.now, site.now FROM site, UNNEST(",
    );
    sql.push_bind(list(inserts, |insert| insert.uid)).push("::uuid[], ");
    sql.push_bind(list(inserts, |insert| &*insert.region)).push("::text[], ");
    sql.push_bind(list(inserts, |insert| &*insert.name)).push("::text[], ");
    sql.push_bind(list(inserts, |insert| &*insert.type_name)).push("::text[], ");
    sql.push_bind(list(inserts, |insert| &*insert.spec)).push("::text[], ");
    sql.push_bind(list(inserts, |insert| insert.deletion_protection)).push("::boolean[], ");
    sql.push_bind(list(inserts, |insert| insert.data_loss_confirmed)).push("::boolean[], ");
    sql.push_bind(list(inserts, |insert| insert.replaces)).push("::uuid[], ");
    push_holds(sql, inserts.iter().map(|insert| insert.hold.as_ref()));
    sql.push(") AS i WHERE (SELECT parts FROM ready) >= 0");
}

fn push_holds<'a>(sql: &mut QueryBuilder<Postgres>, holds: impl Iterator<Item = Option<&'a Hold>> + Clone) {
    let kinds: Vec<_> = holds.clone().map(|hold| hold.map(|hold| hold.kind.as_str())).collect();
    let messages: Vec<_> = holds.clone().map(|hold| hold.map(|hold| &*hold.message)).collect();
    let revisions: Vec<_> = holds.map(|hold| hold.map(|hold| signed(hold.revision))).collect();
    sql.push_bind(kinds).push("::text[], ").push_bind(messages).push("::text[], ");
    sql.push_bind(revisions).push("::bigint[]");
}

fn declare(sql: &mut QueryBuilder<Postgres>, revision: &Revision<'_>) {
    let declared = &revision.declared;
    sql.push(
        "), closed AS (
             UPDATE declared d SET until = site.revision FROM site
             WHERE d.site = site.name AND d.until IS NULL AND d.name = ANY(",
    );
    sql.push_bind(texts(revision.renamed)).push(") RETURNING d.name");
    if declared.is_empty() {
        return;
    }
    sql.push(
        "), opened AS (
             INSERT INTO declared (name, type, spec, regions, deletion_protection, site, since)
             SELECT d.name, d.type, d.spec, STRING_TO_ARRAY(d.regions, ' '), d.protection, site.name, site.revision
             FROM site, UNNEST(",
    );
    sql.push_bind(list(declared, |declaration| &*declaration.name)).push("::text[], ");
    sql.push_bind(list(declared, |declaration| &*declaration.type_name)).push("::text[], ");
    sql.push_bind(list(declared, |declaration| &*declaration.spec)).push("::text[], ");
    // Arrays of arrays do not unnest, and a region id has no space.
    sql.push_bind(list(declared, |declaration| declaration.regions.join(" "))).push("::text[], ");
    sql.push_bind(list(declared, |declaration| declaration.deletion_protection)).push("::boolean[]");
    sql.push(") AS d(name, type, spec, regions, protection) WHERE (SELECT COUNT(*) FROM closed) >= 0");
}

fn record(sql: &mut QueryBuilder<Postgres>, revision: &Revision<'_>) {
    let request_id = revision.request.as_ref().map_or("", |(key, _)| &*key.id);
    sql.push(
        "), recorded AS (
             INSERT INTO history (site, revision, applied_at, request_id, author, kind, rollback_to, changes)
             SELECT site.name, site.revision, site.now, ",
    );
    sql.push_bind(request_id).push(", ").push_bind(revision.author).push(", ");
    sql.push_bind(revision.kind.as_str()).push(", ");
    sql.push_bind(revision.kind.rollback_to().map(signed)).push(", ");
    sql.push_bind(&revision.changes).push(" FROM site");
}

fn remember(sql: &mut QueryBuilder<Postgres>, key: &RequestKey, answer: &[u8]) {
    sql.push(
        "), remembered AS (
             INSERT INTO requests (site, id, content_hash, answer, created_at) SELECT site.name, ",
    );
    sql.push_bind(&key.id).push(", ").push_bind(&key.content_hash).push(", ").push_bind(answer);
    sql.push(", site.now FROM site");
}

fn texts(set: &BTreeSet<String>) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

fn list<'a, T, V>(items: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    items.iter().map(value).collect()
}
