//! Management: the lines, and the HTTP, by which people and programs see and change a node's fleet.
//!
//! One way only: bytes -> [`line`] -> [`parse`] -> [`command`] -> execute -> [`render::Reply`] -> bytes.

pub mod access;
pub mod command;
pub mod dump;
pub mod line;
pub mod parse;
pub mod query;
pub mod render;
pub mod script;
