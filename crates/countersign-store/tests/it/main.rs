//! The stores as their users meet them.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod asked;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod index;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod ladder;
#[cfg(test)]
mod million;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod verifier;
#[cfg(test)]
mod witness;
