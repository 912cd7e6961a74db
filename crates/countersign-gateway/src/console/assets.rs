//! Styles, scripts and pictures: part of the program.

use axum::{
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
};

/// Changes with the program, so that browsers may keep what they have for good.
pub(super) const BUILD: &str = env!("CARGO_PKG_VERSION");

const ALL: [(&str, &str, &[u8]); 4] = [
    ("console.css", "text/css; charset=utf-8", include_bytes!("../../assets/console.css")),
    ("console.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/console.js")),
    ("htmx.min.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/htmx.min.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
];

pub(super) async fn serve(Path(file): Path<String>) -> Response {
    match ALL.iter().find(|(name, ..)| *name == file) {
        Some((_, kind, bytes)) => {
            ([("content-type", *kind), ("cache-control", "public, max-age=600")], *bytes)
                .into_response()
        }
        None => (StatusCode::NOT_FOUND, "There is nothing here.\n").into_response(),
    }
}
