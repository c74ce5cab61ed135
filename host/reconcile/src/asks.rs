//! Work that a plugin asks the host to do, answered in a later call.
//!
//! Every ask gets an answer, also one that this host can't do: a plugin that waits for none would wait for ever.

use senren_engine::wit;
use serde_json::json;

/// Answers every ask. One that was answered before with the same id keeps that answer, so that the plugin sees the
/// same input again.
pub(crate) fn answer(asks: &[wit::Ask], before: &[wit::Answer], now_ms: u64) -> Vec<wit::Answer> {
    asks.iter()
        .map(|ask| match before.iter().find(|answer| answer.id == ask.id) {
            Some(answer) => answer.clone(),
            None => unsupported(ask, now_ms),
        })
        .collect()
}

fn unsupported(ask: &wit::Ask, now_ms: u64) -> wit::Answer {
    let error = format!("asks of kind {:?} are not supported by this host yet", ask.kind);
    wit::Answer {
        id: ask.id.clone(),
        ok: false,
        output: json!({"error": error}).to_string(),
        observed_at_ms: now_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ask_is_answered_and_stays_answered() {
        let ask = wit::Ask { id: "slots".into(), kind: "exec".into(), params: "{}".into() };
        let first = answer(std::slice::from_ref(&ask), &[], 1);
        assert_eq!(first.len(), 1);
        assert!(
            first.iter().all(|answer| !answer.ok && answer.output.contains("not supported by this host yet"))
        );
        assert_eq!(answer(std::slice::from_ref(&ask), &first, 2), first);
    }
}
