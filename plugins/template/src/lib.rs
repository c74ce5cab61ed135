//! Resource type `template`: where to start a plugin from.
//!
//! It stands for a database that runs somewhere else, and keeps one object in the region: a ConfigMap that tells
//! applications where to connect. Replace [`Spec`] and [`Template::schema`] with what your users want, and the
//! ConfigMap in [`Template::reconcile`] with what runs it. Everything here is a pure function: no clock, no
//! network, nothing remembered between calls. What may be needed is in the arguments.

#[cfg(test)]
mod tests;

use senren_plugin::objects::{checksum, config_map};
use senren_plugin::prelude::*;
use serde::{Deserialize, Serialize};

/// What users write under `spec:`, with the defaults of the schema filled in: a default needs no place here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Where the database runs.
    pub host: String,
    /// The port it listens on.
    pub port: u16,
    /// Applications shall not write.
    pub read_only: bool,
}

/// The type `template`. A plugin may serve several; each is a type like this one.
pub struct Template;

/// Annotation by which an observed ConfigMap shows what it was made from.
const CHECKSUM: &str = "checksum/connection";

impl Controller for Template {
    type Spec = Spec;
    // What operators may set for the plugin in a region, as a registry or a storage class. Here: nothing.
    type Config = NoConfig;
    // As users write it in `type:`.
    const TYPE: &'static str = "template";

    fn describe() -> Description {
        // Kind and plural of the custom resource that keeps one of these in Kubernetes.
        Description::new("TemplateDatabase", "templatedatabases")
            // A column of `kubectl get templatedatabases`.
            .column("Target", "string", ".spec.host")
            // A spec that works. `senren plugin check` begins with it.
            .example(json!({"host": "db.example.com"}))
            // Every kind that `reconcile` makes. To see others too, such as the pods of a StatefulSet: `.observes([POD])`.
            .owns([CONFIG_MAP])
    }

    fn schema() -> Schema {
        Schema::object([
            (
                "host",
                Schema::string()
                    .pattern("^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
                    // What a change of it does to whoever uses the database; `senren plan` shows it.
                    .effect(Effect::RollingRestart)
                    .describe("Where the database runs: a DNS name or an IPv4 address."),
            ),
            (
                "port",
                Schema::integer()
                    .minimum(1)
                    .maximum(65_535)
                    .default(5432)
                    .effect(Effect::RollingRestart)
                    .describe("The port it listens on."),
            ),
            (
                "read_only",
                // Without an effect: in place, nobody notices.
                Schema::boolean().default(false).describe("Applications shall not write."),
            ),
        ])
        .required(["host"])
    }

    /// What the schema cannot say. May also normalise the spec, as long as doing it twice is doing it once.
    fn admit(spec: &mut Spec, violations: &mut Violations) {
        if spec.host == "localhost" || spec.host.starts_with("127.") {
            // Where (a JSON Pointer), what for programs, what for people: what is wrong, and what would be right.
            let message = "is each application's own machine: name the one that the database runs on";
            violations.add("/host", "loopback", message);
        }
    }

    /// From all that is known, all that shall be. Called at every change, and again whenever the host likes.
    fn reconcile(input: &Input<Spec, NoConfig>) -> Result<Outcome, Fault> {
        let Spec { host, port, read_only } = &input.spec;
        let mut connection = config_map(
            // The only names allowed: the resource's own, and that with `-` and more behind it: `input.child("…")`.
            input.name,
            [("host", host.clone()), ("port", port.to_string()), ("read-only", read_only.to_string())],
        );
        let wanted = checksum(&[&connection["data"].to_string()]);
        connection["metadata"]["annotations"] = json!({CHECKSUM: wanted});

        // Kubernetes is asked for nothing here: `observed` is what it had, a moment ago. As soon as it has what this
        // call answers, there is another call.
        let seen = input.observed.find("ConfigMap", input.name).and_then(|seen| seen.annotation(CHECKSUM));
        let status = if seen.is_some_and(|seen| seen == wanted) {
            Status::ready("Published")
        } else {
            Status::creating("Publishing", "the ConfigMap is being written")
        };
        // The first endpoint becomes `.status.host` and `.status.port`. What is not among the children is deleted.
        Ok(Outcome::new(status.endpoint("primary", host, *port)).child(connection))
    }
}

senren_plugin::export! { name: "template", config: NoConfig, controllers: [Template] }
