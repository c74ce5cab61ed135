//! The only place where messages become records and records become messages.
//!
//! The payload is protobuf; headers say what it is (`content-type`, `senren-version`) and whose it is (`cloud`,
//! `region`, `cluster`, for consumers that route by headers). A reader trusts nothing: what is not exactly what a
//! control plane or a regional plane of ours wrote comes back as a typed [`DecodeError`], so that it can be
//! skipped, counted and reported, and never acted on.

use prost::Message;
use senren_api::{
    RegionId,
    state::{ALL_SLOTS, hash_of},
    v1::{RegionalState, SlotRange, StatusReport, status_report::Body},
};

use crate::{Record, Topics, routing_key};

/// Name of the header that says what the payload is.
pub const CONTENT_TYPE: &str = "content-type";
/// Name of the header that says how to read the payload.
pub const VERSION: &str = "senren-version";
/// The version that this codec writes, and the only one it reads.
pub const CURRENT_VERSION: &str = "1";

const STATE: &str = "application/x-protobuf; message=senren.v1.RegionalState";
const REPORT: &str = "application/x-protobuf; message=senren.v1.StatusReport";

/// Why a record can't be acted on. None of these ever means that something is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It has no payload.
    #[error("record {key:?} of topic {topic:?} is a tombstone, which has no meaning here")]
    Tombstone {
        /// The topic.
        topic: String,
        /// The record's key.
        key: String,
    },
    /// Somebody else's record.
    #[error(
        "record {key:?} of topic {topic:?} has content type {found:?}, not {wanted:?}; who else writes there?"
    )]
    ForeignContentType {
        /// The topic.
        topic: String,
        /// The record's key.
        key: String,
        /// What its header says, empty where it has none.
        found: String,
        /// What it should say.
        wanted: &'static str,
    },
    /// Written by a newer senren.
    #[error(
        "record {key:?} of topic {topic:?} has senren-version {found:?}, this senren reads 1; upgrade it"
    )]
    UnknownVersion {
        /// The topic.
        topic: String,
        /// The record's key.
        key: String,
        /// What its header says, empty where it has none.
        found: String,
    },
    /// The payload is not what the headers promise.
    #[error("record {key:?} of topic {topic:?} can't be decoded: {cause}")]
    Undecodable {
        /// The topic.
        topic: String,
        /// The record's key.
        key: String,
        /// Why.
        cause: String,
    },
    /// The content is not the one that its hash names.
    #[error(
        "state {version} of region {region:?} is damaged: its content hash is {computed}, not {stated:?}"
    )]
    HashMismatch {
        /// The region that it names.
        region: String,
        /// The version that it names.
        version: u64,
        /// What it says.
        stated: String,
        /// What it should say.
        computed: String,
    },
}

impl DecodeError {
    /// A short name, for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Tombstone { .. } => "tombstone",
            Self::ForeignContentType { .. } => "foreign-content-type",
            Self::UnknownVersion { .. } => "unknown-version",
            Self::Undecodable { .. } => "undecodable",
            Self::HashMismatch { .. } => "hash-mismatch",
        }
    }
}

/// The key of a state: the region id, or `region#i/n` for the i-th of n ranges of its slots.
pub fn state_key(region: &str, slots: SlotRange) -> String {
    if slots == ALL_SLOTS {
        return region.to_owned();
    }
    let length = slots.last.saturating_sub(slots.first) + 1;
    format!("{region}#{}/{}", slots.first / length, 256 / length)
}

/// The region that a record is about, by its key: a cheap sieve before decoding. `None`: the key is no region's.
pub fn region_of(record: &Record) -> Option<RegionId> {
    routing_key(&record.key).parse().ok()
}

/// Makes the record of a state.
pub fn encode_state(topics: &Topics, state: &RegionalState) -> Record {
    Record {
        topic: topics.state_topic_of(&state.region),
        key: state_key(&state.region, senren_api::state::slots(state)),
        headers: headers(STATE, &state.region),
        payload: Some(state.encode_to_vec().into()),
    }
}

/// The key of a report: `region/site/name` for a resource, the region id for a heartbeat.
fn report_key(report: &StatusReport) -> String {
    let region = &report.region;
    match &report.body {
        Some(Body::Resource(resource)) => format!("{region}/{}/{}", resource.site, resource.name),
        Some(Body::Heartbeat(_)) | None => region.clone(),
    }
}

/// Makes the record of a report.
pub fn encode_report(topics: &Topics, report: &StatusReport) -> Record {
    Record {
        topic: topics.status_topic(),
        key: report_key(report),
        headers: headers(REPORT, &report.region),
        payload: Some(report.encode_to_vec().into()),
    }
}

/// Reads a state, whole and undamaged, that lies under its own key.
pub fn decode_state(record: &Record) -> Result<RegionalState, DecodeError> {
    let state: RegionalState = decode(record, STATE)?;
    let undecodable = |cause: String| undecodable(record, cause);
    state.region.parse::<RegionId>().map_err(|error| undecodable(error.to_string()))?;
    let slots = senren_api::state::slots(&state);
    if slots.first > slots.last || slots.last > ALL_SLOTS.last {
        return Err(undecodable(format!("slots {}..={} are no range", slots.first, slots.last)));
    }
    let computed = hash_of(&state);
    if computed != state.content_hash {
        return Err(DecodeError::HashMismatch {
            region: state.region,
            version: state.version,
            stated: state.content_hash,
            computed,
        });
    }
    check_key(record, &state_key(&state.region, slots))?;
    Ok(state)
}

/// Reads a report that lies under its own key.
pub fn decode_report(record: &Record) -> Result<StatusReport, DecodeError> {
    let report: StatusReport = decode(record, REPORT)?;
    report.region.parse::<RegionId>().map_err(|error| undecodable(record, error.to_string()))?;
    check_key(record, &report_key(&report))?;
    if report.body.is_none() {
        return Err(undecodable(record, "it reports on nothing that this senren knows".into()));
    }
    Ok(report)
}

fn headers(content_type: &str, region: &str) -> Vec<(String, String)> {
    let mut headers = vec![
        (CONTENT_TYPE.to_owned(), content_type.to_owned()),
        (VERSION.to_owned(), CURRENT_VERSION.to_owned()),
    ];
    let parts = ["cloud", "region", "cluster"].into_iter().zip(region.split(':'));
    headers.extend(parts.map(|(name, part)| (name.to_owned(), part.to_owned())));
    headers
}

fn decode<M: Message + Default>(record: &Record, wanted: &'static str) -> Result<M, DecodeError> {
    let (topic, key) = (record.topic.clone(), record.key.clone());
    let Some(payload) = &record.payload else {
        return Err(DecodeError::Tombstone { topic, key });
    };
    let found = record.header(CONTENT_TYPE).unwrap_or_default();
    if found != wanted {
        return Err(DecodeError::ForeignContentType { topic, key, found: found.to_owned(), wanted });
    }
    let found = record.header(VERSION).unwrap_or_default();
    if found != CURRENT_VERSION {
        return Err(DecodeError::UnknownVersion { topic, key, found: found.to_owned() });
    }
    M::decode(payload.as_ref()).map_err(|error| undecodable(record, error.to_string()))
}

/// A record under another's key would stand in that one's place when the topic is compacted.
fn check_key(record: &Record, own: &str) -> Result<(), DecodeError> {
    if record.key == own {
        return Ok(());
    }
    Err(undecodable(record, format!("its content belongs under key {own:?}")))
}

fn undecodable(record: &Record, cause: String) -> DecodeError {
    DecodeError::Undecodable { topic: record.topic.clone(), key: record.key.clone(), cause }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_api::v1::{DesiredResource, Heartbeat, ResourceReport};

    use super::*;

    fn state() -> RegionalState {
        let mut state = RegionalState {
            region: "aws:us-east-1:shadow".into(),
            version: 7,
            resources: vec![DesiredResource {
                site: "default".into(),
                name: "a".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        state.content_hash = hash_of(&state);
        state
    }

    fn report(body: Body) -> StatusReport {
        StatusReport { region: "aws:us-east-1".into(), sequence: 9, body: Some(body) }
    }

    #[test]
    fn a_state_comes_back_as_it_was() {
        let record = encode_state(&Topics::default(), &state());
        assert_eq!(record.topic, "senren-state");
        assert_eq!(record.key, "aws:us-east-1:shadow");
        assert_eq!(record.header("cloud"), Some("aws"));
        assert_eq!(record.header("region"), Some("us-east-1"));
        assert_eq!(record.header("cluster"), Some("shadow"));
        assert_eq!(decode_state(&record).unwrap(), state());
        assert_eq!(region_of(&record), "aws:us-east-1:shadow".parse().ok());
    }

    #[test]
    fn a_range_of_slots_has_a_key_of_its_own_in_the_partition_of_its_region() {
        let key = |first, last| state_key("aws:r", SlotRange { first, last });
        assert_eq!(key(0, 255), "aws:r");
        assert_eq!(key(0, 127), "aws:r#0/2");
        assert_eq!(key(192, 255), "aws:r#3/4");
        assert_eq!(routing_key("aws:r#3/4"), "aws:r");
        assert_eq!(routing_key("aws:r/default/a"), "aws:r");
    }

    #[test]
    fn a_report_comes_back_as_it_was() {
        let resource = ResourceReport { site: "s".into(), name: "n".into(), ..Default::default() };
        let resource = report(Body::Resource(resource));
        let record = encode_report(&Topics::default(), &resource);
        assert_eq!((record.topic.as_str(), record.key.as_str()), ("senren-status", "aws:us-east-1/s/n"));
        assert_eq!(decode_report(&record).unwrap(), resource);
        let heartbeat = report(Body::Heartbeat(Heartbeat::default()));
        let record = encode_report(&Topics::default(), &heartbeat);
        assert_eq!(record.key, "aws:us-east-1");
        assert_eq!(decode_report(&record).unwrap(), heartbeat);
    }

    fn check(damage: impl FnOnce(&mut Record), code: &str, words: &str) {
        let mut record = encode_state(&Topics::default(), &state());
        damage(&mut record);
        let error = decode_state(&record).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error} should contain {words:?}");
    }

    fn with(change: impl FnOnce(&mut RegionalState)) -> Option<bytes::Bytes> {
        let mut state = state();
        change(&mut state);
        Some(state.encode_to_vec().into())
    }

    fn rehashed(change: impl FnOnce(&mut RegionalState)) -> Option<bytes::Bytes> {
        with(|state| {
            change(state);
            state.content_hash = hash_of(state);
        })
    }

    #[test]
    fn what_is_not_a_state_of_ours_is_named() {
        check(|r| r.payload = None, "tombstone", "is a tombstone");
        check(|r| r.headers.clear(), "foreign-content-type", "content type \"\"");
        check(|r| r.headers[0].1 = "application/json".into(), "foreign-content-type", "application/json");
        check(|r| r.headers[0].1 = REPORT.into(), "foreign-content-type", "StatusReport");
        check(|r| r.headers[1].1 = "2".into(), "unknown-version", "senren-version \"2\"");
        check(|r| r.payload = Some("no protobuf".into()), "undecodable", "can't be decoded");
        check(|r| r.payload = Some(bytes::Bytes::new()), "undecodable", "is not a region id");
        check(|r| r.payload = with(|s| s.version = 8), "hash-mismatch", "state 8 of region");
        check(|r| r.payload = with(|s| s.resources.clear()), "hash-mismatch", "is damaged");
        check(|r| r.key = "aws:other".into(), "undecodable", "belongs under key \"aws:us-east-1:shadow\"");
        check(|r| r.key += "#0/2", "undecodable", "belongs under key \"aws:us-east-1:shadow\"");
        check(
            |r| r.payload = rehashed(|s| s.slots = Some(SlotRange { first: 9, last: 3 })),
            "undecodable",
            "are no range",
        );
    }
}
