//! Names of the topics, by routing mode.

use senren_api::RegionId;

/// How states reach the regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Routing {
    /// One topic for all, keyed by region id; every region reads all and keeps its own.
    #[default]
    Keyed,
    /// A topic per region: less to read, and ACLs can isolate regions.
    PerRegion,
    /// As per-region, mirrored into a Kafka of the region's own, which survives the loss of the hub's. The mirror
    /// keeps the names, so that they are the same at both ends.
    Local,
}

/// How the topics of one senren installation are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
    routing: Routing,
}

impl Default for Topics {
    fn default() -> Self {
        Self { prefix: "senren".into(), routing: Routing::default() }
    }
}

impl Topics {
    /// `prefix` keeps the installations that share a Kafka cluster apart. Of letters, digits, `.`, `_` and `-`,
    /// 1 to 100 characters, or it is refused with the reason.
    pub fn new(prefix: &str, routing: Routing) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if prefix.is_empty() || prefix.len() > 100 || !prefix.chars().all(allowed) {
            return Err(format!(
                "{prefix:?} is no topic prefix: 1 to 100 letters, digits, '.', '_' and '-' are allowed"
            ));
        }
        Ok(Self { prefix: prefix.to_owned(), routing })
    }

    /// Where the states of a region are.
    pub fn state_topic(&self, region: &RegionId) -> String {
        self.state_topic_of(region.as_str())
    }

    /// As [`Topics::state_topic`], for a region id that was parsed elsewhere.
    pub(crate) fn state_topic_of(&self, region: &str) -> String {
        match self.routing {
            Routing::Keyed => format!("{}-state", self.prefix),
            Routing::PerRegion | Routing::Local => {
                format!("{}-state.{}", self.prefix, region.replace(':', "."))
            }
        }
    }

    /// Where the reports of all regions are.
    pub fn status_topic(&self) -> String {
        format!("{}-status", self.prefix)
    }

    /// Where the states of all regions are, if they share a topic.
    pub fn shared_state(&self) -> Option<String> {
        (self.routing == Routing::Keyed).then(|| format!("{}-state", self.prefix))
    }

    /// What keeps this installation apart from others.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How states reach the regions.
    pub fn routing(&self) -> Routing {
        self.routing
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn check(routing: Routing, state: &str, shared: Option<&str>) {
        let topics = Topics::new("senren", routing).unwrap();
        assert_eq!(topics.state_topic(&"aws:us-east-1:shadow".parse().unwrap()), state);
        assert_eq!(topics.status_topic(), "senren-status");
        assert_eq!(topics.shared_state().as_deref(), shared);
    }

    #[test]
    fn every_routing_mode_names_its_topics() {
        check(Routing::Keyed, "senren-state", Some("senren-state"));
        check(Routing::PerRegion, "senren-state.aws.us-east-1.shadow", None);
        check(Routing::Local, "senren-state.aws.us-east-1.shadow", None);
    }

    #[test]
    fn a_prefix_that_kafka_would_refuse_is_refused() {
        for prefix in ["", "a b", "a:b", &"a".repeat(101)] {
            assert!(Topics::new(prefix, Routing::Keyed).unwrap_err().contains("no topic prefix"));
        }
    }
}
