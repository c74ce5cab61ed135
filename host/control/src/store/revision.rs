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
use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::{
    declared::Declaration,
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
    let query = sqlx::query(WRITE).bind(revision.site.as_str()).bind(signed(revision.before));
    let query = query.bind(signed(revision.after)).bind(revision.now).bind(texts(revision.regions));
    let query = query.bind(revision.removals).bind(revision.forgotten);
    let query = bind_updates(query, revision.updates);
    let query = bind_inserts(query, revision.inserts);
    let query = bind_declared(query, revision.renamed, &revision.declared);
    let query = query.bind(revision.kind.as_str()).bind(revision.kind.rollback_to().map(signed));
    let query = query.bind(revision.author).bind(&revision.changes);
    let request = revision.request.as_ref();
    let query = query.bind(request.map(|(key, _)| &key.id)).bind(request.map(|(key, _)| &key.content_hash));
    let query =
        query.bind(request.map(|(_, answer)| answer)).bind(CHANNEL).bind(revision.payloads.as_slice());
    let query = query.bind(&revision.traceparent);
    Ok(!query.fetch_all(connection).await?.is_empty())
}

type Bound<'q> = Query<'q, Postgres, PgArguments>;

fn bind_updates<'q>(query: Bound<'q>, updates: &'q [Update]) -> Bound<'q> {
    let hold = |update: &'q Update| update.hold.as_ref();
    query
        .bind(updates.iter().map(|update| update.uid).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| &*update.spec).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| update.deletion_protection).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| update.data_loss_confirmed).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| update.renewed).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| hold(update).map(|hold| hold.kind.as_str())).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| hold(update).map(|hold| &*hold.message)).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| hold(update).map(|hold| signed(hold.revision))).collect::<Vec<_>>())
}

fn bind_inserts<'q>(query: Bound<'q>, inserts: &'q [Insert]) -> Bound<'q> {
    let hold = |insert: &'q Insert| insert.hold.as_ref();
    query
        .bind(inserts.iter().map(|insert| insert.uid).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| &*insert.region).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| &*insert.name).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| &*insert.type_name).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| &*insert.spec).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.deletion_protection).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.data_loss_confirmed).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.replaces).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| hold(insert).map(|hold| hold.kind.as_str())).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| hold(insert).map(|hold| &*hold.message)).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| hold(insert).map(|hold| signed(hold.revision))).collect::<Vec<_>>())
}

fn texts(set: &BTreeSet<String>) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

fn bind_declared<'q>(
    query: Bound<'q>,
    renamed: &'q BTreeSet<String>,
    declared: &'q [Declaration],
) -> Bound<'q> {
    query
        .bind(texts(renamed))
        .bind(declared.iter().map(|declaration| &*declaration.name).collect::<Vec<_>>())
        .bind(declared.iter().map(|declaration| &*declaration.type_name).collect::<Vec<_>>())
        .bind(declared.iter().map(|declaration| &*declaration.spec).collect::<Vec<_>>())
        // Arrays of arrays do not unnest, and a region id has no space.
        .bind(declared.iter().map(|declaration| declaration.regions.join(" ")).collect::<Vec<_>>())
        .bind(declared.iter().map(|declaration| declaration.deletion_protection).collect::<Vec<_>>())
}

/// $1 site, $2 before, $3 after, $4 now, $5 regions, $6 removals, $7 forgotten, $8 to $15 updates, $16 to $26 inserts,
/// $27 to $32 declarations, $33 to $36 history, $37 to $39 request, $40 channel, $41 payloads, $42 traceparent.
const WRITE: &str = r#"
WITH site AS (
    INSERT INTO sites AS z (name, revision) VALUES ($1, $3)
    ON CONFLICT (name) DO UPDATE SET revision = EXCLUDED.revision WHERE z.revision = $2
    RETURNING name
), raised AS (
    -- A version that a region says it has already seen is never used again: after a restore of an old backup ours would
    -- lag behind. Ordered as bytes, whatever the database's collation: this is the order of locks.
    INSERT INTO regions AS r (id, version, traceparent)
    SELECT id, 1 + COALESCE((SELECT h.version FROM heartbeats h WHERE h.region = id), 0), COALESCE($42::text, '')
    FROM site, UNNEST($5::text[]) AS id ORDER BY id COLLATE "C"
    ON CONFLICT (id) DO UPDATE SET version = GREATEST(r.version + 1, EXCLUDED.version),
                                   traceparent = EXCLUDED.traceparent
    RETURNING id, version
), relay AS (
    INSERT INTO relays (region) SELECT id FROM raised
    WHERE NOT EXISTS (SELECT FROM relays l WHERE l.region = id) ON CONFLICT DO NOTHING
), removal AS (
    SELECT r.uid, raised.version, EXISTS (SELECT FROM heartbeats h WHERE h.region = r.region) AS region_seen
    FROM UNNEST($6::uuid[]) AS u(uid) JOIN resources r ON r.uid = u.uid JOIN raised ON raised.id = r.region
), gone AS (
    DELETE FROM resources r USING removal WHERE r.uid = removal.uid AND NOT removal.region_seen RETURNING r.uid
), departed AS (
    UPDATE resources r
    SET removed_at = $4, removed_version = removal.version, generation = $3, applied_at = $4,
        hold_kind = NULL, hold_message = NULL, hold_revision = NULL
    FROM removal WHERE r.uid = removal.uid AND removal.region_seen RETURNING r.uid
), ready AS (
    SELECT (SELECT COUNT(*) FROM raised) + (SELECT COUNT(*) FROM gone) + (SELECT COUNT(*) FROM departed) AS parts
), forgotten AS (
    DELETE FROM resources r USING site
    WHERE r.uid = ANY($7) AND r.removed_at IS NOT NULL AND (SELECT parts FROM ready) >= 0
), updated AS (
    UPDATE resources r
    SET spec = u.spec, deletion_protection = u.protection, data_loss_confirmed = u.confirmed,
        generation = CASE WHEN u.renewed THEN $3 ELSE r.generation END,
        applied_at = CASE WHEN u.renewed THEN $4 ELSE r.applied_at END,
        hold_kind = u.hold_kind, hold_message = u.hold_message, hold_revision = u.hold_revision,
        removed_at = NULL, removed_version = NULL
    FROM site, UNNEST($8::uuid[], $9::text[], $10::boolean[], $11::boolean[], $12::boolean[],
                      $13::text[], $14::text[], $15::bigint[])
        AS u(uid, spec, protection, confirmed, renewed, hold_kind, hold_message, hold_revision)
    WHERE r.uid = u.uid AND (SELECT parts FROM ready) >= 0
), inserted AS (
    INSERT INTO resources (uid, region, name, type, spec, deletion_protection, data_loss_confirmed, replaces,
                           hold_kind, hold_message, hold_revision, site, generation, created_at, applied_at)
    SELECT i.*, site.name, $3, $4, $4
    FROM site, UNNEST($16::uuid[], $17::text[], $18::text[], $19::text[], $20::text[], $21::boolean[],
                      $22::boolean[], $23::uuid[], $24::text[], $25::text[], $26::bigint[]) AS i
    WHERE (SELECT parts FROM ready) >= 0
), closed AS (
    UPDATE declared d SET until = $3 FROM site
    WHERE d.site = site.name AND d.name = ANY($27::text[]) AND d.until IS NULL RETURNING d.name
), opened AS (
    INSERT INTO declared (name, type, spec, regions, deletion_protection, site, since)
    SELECT d.name, d.type, d.spec, STRING_TO_ARRAY(d.regions, ' '), d.protection, site.name, $3
    FROM site, UNNEST($28::text[], $29::text[], $30::text[], $31::text[], $32::boolean[])
        AS d(name, type, spec, regions, protection)
    WHERE (SELECT COUNT(*) FROM closed) >= 0
), recorded AS (
    INSERT INTO history (site, revision, applied_at, request_id, author, kind, rollback_to, changes)
    SELECT site.name, $3, $4, COALESCE($37::text, ''), $35, $33, $34, $36 FROM site WHERE $2 <> $3
), remembered AS (
    INSERT INTO requests (site, id, content_hash, answer, created_at)
    SELECT site.name, $37, $38, $39, $4 FROM site WHERE $37::text IS NOT NULL
)
SELECT site.name FROM site LEFT JOIN LATERAL (
    SELECT pg_notify($40, payload) FROM UNNEST($41::text[]) AS payload
) AS told ON true"#;
