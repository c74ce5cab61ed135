//! What a cluster's network does for pods: addresses, the endpoints of services, names, and the services' own
//! addresses.
//!
//! Everything is on the loopback of this machine: pods and services have addresses in one /16 of 127.0.0.0/8,
//! which Linux answers without any set-up. Ordinary connections then reach a pod; a service's address is
//! served by a small TCP proxy; names are lines in each pod's `/etc/hosts`.

pub mod addresses;
pub mod endpoints;
pub mod hosts;
mod labelled;
pub mod proxy;
mod touched;
