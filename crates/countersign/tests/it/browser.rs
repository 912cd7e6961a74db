//! The console in Chromium: what a person sees and presses. `scripts/test` installs the browser; the
//! scenarios are in `tests/clients/console.mjs`.

use crate::clients::installed;
use crate::console::at_home;
use crate::gateway::{Company, Gateway};
use crate::oidc::{Provider, company};
use serde_json::Value;
use std::process::Command;

/// Runs the scenarios of a mode; each must hold.
fn hold(gateway: &Gateway, mode: &str, more: &str, enough: usize) {
    let mut node = Command::new("node");
    let output =
        node.arg(installed("console.mjs")).args([&gateway.url, mode, more]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let failed: Vec<_> = lines.iter().filter(|line| !line["why"].is_null()).collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(output.status.success() && lines.len() >= enough, "{said}{stderr}");
}

#[tokio::test]
async fn people_decide_switch_and_look_on_in_a_real_browser() {
    let company = Company::new();
    company.lift_limits();
    company.edit("posture/tools/change_billing_address.yaml", |text| {
        text.replace("expires: 1d", "expires: 15s")
    });
    let _crm = company.crm();
    let (_company, gateway) = at_home(company);
    hold(&gateway, "people", "", 12);
    gateway.stop();
}

#[tokio::test]
async fn people_sign_in_at_the_companys_provider_in_a_real_browser() {
    let provider = Provider::start();
    let (_company, gateway) = at_home(company(&[&provider], ""));
    hold(&gateway, "provider", &provider.issuer, 1);
    gateway.stop();
}
