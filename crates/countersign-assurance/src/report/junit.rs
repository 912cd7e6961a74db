//! JUnit's XML, as CI systems read it: a suite for each file, a case for each case.

use super::text::brief;
use super::{Report, Verdict};
use crate::markup::escaped;
use std::collections::BTreeMap;

/// The report as JUnit XML.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut suites: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
    for verdict in &report.verdicts {
        suites.entry(&verdict.suite).or_default().push(verdict);
    }
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failed = report.failures().count();
    xml.push_str(&format!("<testsuites name=\"countersign eval\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{}\">\n",
        report.verdicts.len(),
        seconds(report.took_ms)));
    for (suite, verdicts) in suites {
        let failed = verdicts.iter().filter(|verdict| !verdict.passed()).count();
        let took = verdicts.iter().map(|verdict| verdict.took_ms).sum();
        xml.push_str(&format!("  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{}\">\n",
            escaped(suite),
            verdicts.len(),
            seconds(took)));
        verdicts.into_iter().for_each(|verdict| case(&mut xml, verdict));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(xml: &mut String, verdict: &Verdict) {
    let (file, line) = &verdict.place;
    let name = verdict.id.split_once('/').map_or(verdict.id.as_str(), |(_, name)| name);
    let head = format!(
        "    <testcase name=\"{}\" classname=\"{}.{}\" file=\"{}\" line=\"{line}\" time=\"{}\"",
        escaped(name),
        escaped(&verdict.suite),
        verdict.kind.as_str(),
        escaped(file),
        seconds(verdict.took_ms)
    );
    let Some(first) = verdict.broken.first().filter(|_| !verdict.passed()) else {
        xml.push_str(&format!("{head}/>\n"));
        return;
    };
    xml.push_str(&format!("{head}>\n"));
    xml.push_str(&format!(
        "      <failure message=\"{}\" type=\"{}\">{}</failure>\n",
        escaped(&brief(&first.told)),
        first.rule,
        escaped(&super::failure(verdict))
    ));
    xml.push_str("    </testcase>\n");
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}
