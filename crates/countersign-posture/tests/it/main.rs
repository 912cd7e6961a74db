//! The loader against folders on disk.

#[cfg(test)]
mod codes;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod in_step;
#[cfg(test)]
mod loaded;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod pins;
#[cfg(test)]
mod requests;
mod vendors;
