//! The host from outside: real components, the real compiling child, hostile guests. Case numbers are those of the
//! list of hostile plugins (27 cases) in the design.

mod cache;
mod calls;
mod guests;
mod hostile;
mod install;
mod ladder;
mod rig;
mod warm;
