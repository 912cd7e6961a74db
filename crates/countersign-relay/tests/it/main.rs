//! The relay over a real store, behind the real pipeline.

#[cfg(test)]
mod honest;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod world;
