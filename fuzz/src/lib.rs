//! What strangers and authors send, as one function of bytes for each door to it. A fuzzer calls them
//! (`fuzz_targets/`), and so does an ordinary test with the corpus (`countersign/tests/it/corpus.rs`).
//!
//! Each panics where a promise is broken, not only where the product panics.

mod doors;
mod json;
mod jwt;
#[path = "../../crates/countersign-core/tests/it/nobody.rs"]
#[expect(clippy::duplicate_mod, reason = "the tests that include this have it too")]
mod nobody;
mod posture;
mod sql;
mod world;

pub use doors::{http, mcp};
pub use json::json;
pub use jwt::jwt;
pub use posture::posture;
pub use sql::sql;

use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The repository, wherever this is compiled.
fn repository() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("examples/acme").is_dir());
    root.expect("the repository").to_owned()
}

/// The outcome of a future that has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("it waits, and there is nothing to wait for"),
    }
}
