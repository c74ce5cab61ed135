//! The report as JUnit XML, which every CI system shows.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as JunitReport, TestCase, TestCaseStatus, TestSuite};

use crate::{Report, report::Outcome};

impl Report {
    /// One test suite, one test case for each check.
    pub fn to_junit(&self) -> anyhow::Result<String> {
        let name = self.facts.name.as_deref().unwrap_or(&self.facts.origin);
        let mut suite = TestSuite::new(format!("senren plugin check {name}"));
        suite.set_time(Duration::from_secs_f64(self.seconds));
        suite.add_property(("file", self.facts.origin.as_str()));
        if let Some(digest) = &self.facts.digest {
            suite.add_property(("digest", digest.as_str()));
        }
        for verdict in &self.verdicts {
            let status = match &verdict.outcome {
                Outcome::Passed { .. } => TestCaseStatus::success(),
                Outcome::Failed(problems) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    let first = problems.first().map(|problem| problem.message.as_str());
                    status.set_message(first.unwrap_or(verdict.check.demands));
                    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    status.set_description(texts.join("\n\n"));
                    status
                }
                Outcome::Skipped(why) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(why.as_str());
                    status
                }
            };
            let mut case = TestCase::new(verdict.check.name, status);
            case.set_classname(name.to_owned());
            case.set_time(Duration::from_secs_f64(verdict.seconds));
            suite.add_test_case(case);
        }
        let mut report = JunitReport::new("senren plugin check");
        report.set_time(Duration::from_secs_f64(self.seconds));
        report.add_test_suite(suite);
        Ok(report.to_string()?)
    }
}
