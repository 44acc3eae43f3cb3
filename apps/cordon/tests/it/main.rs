//! The program as people use it: every command as a process, real hubs, brokers and hosts on
//! loopback, guards and engines in their sandboxes.
#![expect(clippy::disallowed_methods, reason = "tests read and write what programs do")]

mod canary;
mod demo;
mod evidence;
mod kills;
mod place;
mod programs;
mod quickstart;
mod real_data;
mod sealing;
mod services;
mod usage;
