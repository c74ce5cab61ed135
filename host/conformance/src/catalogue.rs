//! The checks: their names, what each demands, and why. The order is that of a report, and of how much each takes for
//! granted.

/// One demand on a plugin.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable; for `--only`, reports and scripts.
    pub name: &'static str,
    /// What it demands, in a sentence.
    pub demands: &'static str,
    /// Why it matters, in a sentence.
    pub why: &'static str,
    /// It is not run where one of these fails.
    pub needs: &'static [&'static str],
}

/// What it takes to be loaded.
const LOADED: &[&str] = &["imports", "world", "descriptor", "schema", "example"];
/// What it takes to bring a database about.
const CONVERGED: &[&str] = &["objects", "converges"];

/// Every check.
pub static CHECKS: &[Check] = &[
    Check {
        name: "imports",
        demands: "The component imports nothing.",
        why: "A plugin that can reach a clock, a file or a network is no pure function, and no region loads it.",
        needs: &[],
    },
    Check {
        name: "world",
        demands: "It exports the contract's `controller`, with the contract's types, and at most `simulation` besides.",
        why: "A region that speaks the contract has to understand it for ever.",
        needs: &["imports"],
    },
    Check {
        name: "descriptor",
        demands: "`describe` answers names, kinds and settings that can be used where they go.",
        why: "They become types, custom resource definitions and watches in every region.",
        needs: &["imports", "world"],
    },
    Check {
        name: "schema",
        demands: "Every schema is a structural JSON Schema, with no effects but those that the contract knows.",
        why: "It becomes the schema of the custom resource, which Kubernetes would refuse otherwise.",
        needs: &["imports", "world"],
    },
    Check {
        name: "example",
        demands: "The example satisfies the schema and `admit`, and `admit` answers a spec that satisfies the schema.",
        why: "Tools show it, and every other check begins with it.",
        needs: &["imports", "world", "schema"],
    },
    Check {
        name: "deterministic",
        demands: "The same arguments have the same answer, in a fresh instance and in one that was used before.",
        why: "Hosts repeat, record and replay calls; an answer that varies changes databases for no reason.",
        needs: LOADED,
    },
    Check {
        name: "admit-idempotent",
        demands: "Admitting what `admit` answered changes nothing.",
        why: "Specs are admitted again after every restart and upgrade, and must not drift.",
        needs: LOADED,
    },
    Check {
        name: "misuse",
        demands: "A spec that can't be meant is refused, with a JSON Pointer to the place and words that help.",
        why: "Users write specs by hand; a typo that goes unnoticed is an outage later.",
        needs: LOADED,
    },
    Check {
        name: "extremes",
        demands: "Whatever `admit` accepts, however large or odd, becomes objects that Kubernetes accepts.",
        why: "What is admitted is a promise; a database that can't be made from it fails in the middle of the night.",
        needs: &["imports", "world", "descriptor", "schema", "example", "objects", "converges"],
    },
    Check {
        name: "diff-none",
        demands: "`diff` of a spec with itself is `none`, and from or to nothing it is `create` and `delete`.",
        why: "Every resync would announce a change otherwise.",
        needs: LOADED,
    },
    Check {
        name: "diff-effects",
        demands: "`diff` names every field that differs, and takes no effect lighter than the schema says.",
        why: "People approve a plan by its effects; data must not be lost by a change that was announced as harmless.",
        needs: &["imports", "world", "descriptor", "schema", "example", "diff-none"],
    },
    Check {
        name: "objects",
        demands: "It declares objects of the kinds it owns, named after the resource, and nothing the host has to refuse.",
        why: "The host refuses the whole outcome otherwise, and the database stands still.",
        needs: LOADED,
    },
    Check {
        name: "converges",
        demands: "From nothing, the example becomes ready, with an endpoint.",
        why: "It is what a plugin is for.",
        needs: &["imports", "world", "descriptor", "schema", "example", "objects"],
    },
    Check {
        name: "quiet",
        demands: "Once ready, 100 further reconciles over time write nothing.",
        why: "A region reconciles everything all the time; each needless write is load on its API server, for ever.",
        needs: CONVERGED,
    },
    Check {
        name: "order",
        demands: "The order of the observed objects, answers and Secrets changes nothing.",
        why: "Kubernetes promises none.",
        needs: CONVERGED,
    },
    Check {
        name: "unknown-fields",
        demands: "Fields, labels and annotations that it does not know in what it observes change nothing.",
        why: "Every version of Kubernetes and every operator beside senren adds some.",
        needs: CONVERGED,
    },
    Check {
        name: "honest",
        demands: "It does not say ready while no pod of it is, and says a reason where its pods can't start.",
        why: "`Ready` sends traffic; a failure without a reason keeps people up at night.",
        needs: CONVERGED,
    },
    Check {
        name: "heals",
        demands: "Whatever object of it is deleted, and whatever the status has lost, it comes back as it was.",
        why: "Every state in between happens: nodes die, people delete things, statuses are restored from backups.",
        needs: &["objects", "converges", "quiet"],
    },
    Check {
        name: "changes",
        demands: "Every change of the spec that `diff` allows converges to ready.",
        why: "Scaling, upgrades and settings are most of a database's life.",
        needs: &["objects", "converges", "quiet", "diff-none"],
    },
    Check {
        name: "effects",
        demands: "What a change does is what `diff` said: no pod restarts and no volume goes unannounced.",
        why: "Plans are approved by what they say, so it has to be true.",
        needs: &["objects", "converges", "quiet", "diff-none", "changes"],
    },
    Check {
        name: "rollback",
        demands: "Taking a change back restores every object.",
        why: "Rolling back is what people do when something is wrong; it must lead to where they were.",
        needs: &["objects", "converges", "quiet", "diff-none", "changes"],
    },
    Check {
        name: "settings",
        demands: "Every change of the operator's settings converges to ready, and back to the same objects.",
        why: "An operator changes a registry for a whole region at once.",
        needs: &["objects", "converges", "quiet"],
    },
    Check {
        name: "deletes",
        demands: "Deletion finishes, at any point of a database's life, and leaves nothing behind.",
        why: "A resource that can't be deleted blocks its name, its site and its bill.",
        needs: CONVERGED,
    },
    Check {
        name: "stale",
        demands: "Being shown for a while what was a moment ago leads to the same end.",
        why: "What a host observes comes by watches, each of which lags as it likes.",
        needs: &["objects", "converges", "quiet", "deletes"],
    },
    Check {
        name: "crash",
        demands: "A crash of the host at any write, before it or before its answer, leads to the same end.",
        why: "Hosts are restarted and lose connections every day.",
        needs: &["objects", "converges", "quiet", "deletes"],
    },
];

impl Check {
    /// The check of this name.
    pub fn named(name: &str) -> Option<&'static Check> {
        CHECKS.iter().find(|check| check.name == name)
    }
}

/// The check whose name is most like `name`, for a message.
pub fn closest(name: &str) -> Option<&'static str> {
    senren_schema::closest(name, CHECKS.iter().map(|check| check.name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_check_needs_only_what_comes_before_it_and_says_everything() {
        for (index, check) in CHECKS.iter().enumerate() {
            let earlier = |name: &&str| CHECKS.iter().position(|other| other.name == *name);
            let later = check.needs.iter().filter(|name| {
                earlier(name).is_none_or(|other| other >= index) && !AHEAD.contains(&(check.name, **name))
            });
            assert_eq!(later.collect::<Vec<_>>(), Vec::<&&str>::new(), "{}", check.name);
            for sentence in [check.demands, check.why] {
                assert!(sentence.ends_with('.') && sentence.len() > 20, "{}: {sentence}", check.name);
            }
        }
    }

    /// Told before what it builds on, because it is about the spec.
    const AHEAD: [(&str, &str); 2] = [("extremes", "objects"), ("extremes", "converges")];
}
