//! The report as JUnit XML, which every CI system shows.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as JunitReport, TestCase, TestCaseStatus, TestSuite};

use crate::{Report, report::Outcome};

/// One test suite for each plugin, one test case for each check.
pub fn to_junit(reports: &[Report]) -> anyhow::Result<String> {
    let mut junit = JunitReport::new("senren plugin check");
    junit.set_time(Duration::from_secs_f64(reports.iter().map(|report| report.seconds).sum()));
    junit.add_test_suites(reports.iter().map(suite));
    Ok(junit.to_string()?)
}

fn suite(report: &Report) -> TestSuite {
    let name = report.facts.name.as_deref().unwrap_or(&report.facts.origin);
    let mut suite = TestSuite::new(format!("senren plugin check {name}"));
    suite.set_time(Duration::from_secs_f64(report.seconds));
    suite.add_property(("file", report.facts.origin.as_str()));
    if let Some(digest) = &report.facts.digest {
        suite.add_property(("digest", digest.as_str()));
    }
    for verdict in &report.verdicts {
        let mut case = TestCase::new(verdict.check.name, status(&verdict.outcome, verdict.check.demands));
        case.set_classname(name.to_owned());
        case.set_time(Duration::from_secs_f64(verdict.seconds));
        suite.add_test_case(case);
    }
    suite
}

fn status(outcome: &Outcome, demands: &str) -> TestCaseStatus {
    match outcome {
        Outcome::Passed { .. } => TestCaseStatus::success(),
        Outcome::Failed(problems) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(problems.first().map_or(demands, |problem| problem.message.as_str()));
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            status.set_description(texts.join("\n\n"));
            status
        }
        Outcome::Skipped(why) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why.as_str());
            status
        }
    }
}
