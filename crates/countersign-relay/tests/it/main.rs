//! The relay over a real store.
