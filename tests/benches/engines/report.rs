//! The lines that `make bench-e2e` reads.

use std::time::Duration;

use serde_json::{Value, json};

/// A measure taken many times, in milliseconds.
pub fn report(measure: &str, mut times: Vec<Duration>, goal: Value) {
    times.sort();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
        times[index].as_secs_f64() * 1000.0
    };
    print(measure, "ms", times.len(), [at(0.5), at(0.9), at(0.99), at(1.0)], goal);
}

/// A measure taken once.
pub fn value(measure: &str, unit: &str, value: f64, goal: Value) {
    print(measure, unit, 1, [value; 4], goal);
}

fn print(measure: &str, unit: &str, n: usize, [p50, p90, p99, max]: [f64; 4], goal: Value) {
    let measure = format!("real engines: {measure}");
    let line = json!({
        "measure": measure, "unit": unit, "n": n, "p50": p50, "p90": p90, "p99": p99, "max": max, "goal": goal,
    });
    println!("{line}");
}
