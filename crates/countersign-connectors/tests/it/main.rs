//! The connectors against real files and servers, reached the only way there is: through the monitor.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod http;
#[cfg(test)]
mod http_writes;
#[cfg(test)]
mod look_ups;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod mcp;
#[cfg(test)]
#[path = "../../../countersign-core/tests/it/nobody.rs"]
mod nobody;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod postgres_writes;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod server;
#[cfg(test)]
mod smtp;
#[cfg(test)]
mod stdio;
#[cfg(test)]
mod upstream;
#[cfg(test)]
mod walls;
#[cfg(test)]
mod writes;
