//! One integration binary: the real program, real clients, real databases.

#[cfg(test)]
mod absence;
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod apart;
#[cfg(test)]
#[path = "../../../countersign-connectors/tests/it/bench.rs"]
#[expect(dead_code, reason = "the connectors' tests use more of it")]
mod bench;
#[cfg(test)]
mod bridge;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod call;
#[cfg(test)] // Clippy's `allow-*-in-tests` looks for this, and not at the folder.
mod check;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod commits;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod console;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod decision_points;
#[cfg(test)]
mod diff;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod drafted;
#[cfg(test)]
mod evals;
#[cfg(test)]
mod evals_agents;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod exports;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fit;
#[cfg(test)]
#[path = "../../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own, for the fuzzer")]
#[expect(clippy::string_slice, reason = "a panic is what it looks for")]
mod fuzz;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod here;
#[cfg(test)]
mod holes;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod import;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod lints;
#[cfg(test)]
mod load;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod mcp_server;
#[cfg(test)]
#[path = "../../../countersign-core/tests/it/nobody.rs"]
mod nobody;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod oidc;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod people;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod profiles;
#[cfg(test)]
mod prove;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod review;
#[cfg(test)]
mod row_level;
#[cfg(test)]
mod same;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod scripted_model;
#[cfg(test)]
#[path = "../../../countersign-connectors/tests/it/server.rs"]
#[expect(dead_code, reason = "the connectors' tests use more of it")]
mod server;
#[cfg(test)]
mod sign_in;
#[cfg(test)]
mod sign_off;
#[cfg(test)]
#[path = "../../../countersign-connectors/tests/it/smtp.rs"]
#[expect(dead_code, reason = "the connectors' tests use more of it")]
mod smtp;
#[cfg(test)]
mod story;
#[cfg(test)]
mod through;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod tutorial;
#[cfg(test)]
mod vendors;
#[cfg(test)]
mod walls;
#[cfg(test)]
mod withdrawn;
