//! The plugin as a host sees it: JSON in, manifests and status out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod golden;
mod life;

use senren_plugin::wit::{self, Outcome};
use senren_plugin::{Plugin as _, Value, testing};

use crate::Plugin;

fn input(spec: &Value) -> wit::Input {
    let admitted = Plugin::admit("aerospike".into(), spec.to_string()).unwrap();
    testing::input("aerospike", "profiles", &admitted.parse().unwrap())
}

fn reconcile(input: wit::Input) -> Outcome {
    Plugin::reconcile(input).unwrap()
}
