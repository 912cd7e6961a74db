//! What people write, made into checked types: the posture folder and the deployment file.
//!
//! Nothing else parses them. Files become a tree that keeps spans ([`load_posture`],
//! [`load_deployment`]), the tree becomes types, and every mistake on the way becomes a
//! [`Finding`]: one run tells all of them. Only what has no error comes out, so whoever holds a
//! [`Loaded`] holds a posture in which every name leads somewhere and every input is bounded.

mod agent;
mod ask;
pub mod bound;
mod budget;
mod check;
mod decode;
mod deployment;
mod email;
pub mod evals;
pub mod file_schema;
mod finding;
mod flow;
mod gate;
mod http;
pub mod import;
mod input;
mod issuer;
mod ladder;
mod lint;
mod load;
pub mod lock;
mod look_up;
mod mcp;
mod message;
mod node;
mod people;
mod pin;
mod places;
mod posture;
mod relay;
mod request;
pub mod schema;
mod scope;
mod secret;
pub mod sign_off;
pub mod sql;
mod statement;
mod system;
mod template;
mod tool;
mod vendor;

pub use agent::Stage;
pub use deployment::{
    Deployment, Environment, Reference, ReferenceError, Store, Written, deployment_data,
    load_deployment, posture_folder, yaml_data,
};
pub use email::{MailEncryption, MailSpec};
pub use finding::{Code, Finding, Place, Severity, Source, did_you_mean, sort};
pub use http::Auth;
pub use issuer::{Algorithm, Issuer, KeySource};
pub use load::{
    Loaded, Registered, Sketch, link, load_or_sketch, load_posture, load_system, posture_data,
};
pub use mcp::{McpReach, McpSpec};
pub use people::{People, PersonClaims};
pub use places::Places;
pub use posture::{ClaimMap, Profile};
pub use relay::{Destination, ExportTo, Exporter, Means, RelaySpec, Template};
pub use system::{Backend, Encryption, SystemSpec};
pub use vendor::{Coverage, Covered, Decision, UNFILLED, Vendor, coverage, reviews};
