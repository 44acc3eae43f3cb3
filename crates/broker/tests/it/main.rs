//! A broker among others: what it grants, clears and refuses, and what a restart leaves.

mod clearing;
mod granting;
mod hostile;
mod people;
mod restarting;
mod staff;
