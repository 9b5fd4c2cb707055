//! The `broker` binary.

#![allow(dead_code, reason = "the rooms land before the wiring in server.rs that uses them")]

mod cluster;
mod config;
mod handlers;
mod house;
mod net;

fn main() {}
