//! Egress against partners that run on the loopback interface: good ones, slow ones and hostile ones.

#[cfg(test)]
#[allow(dead_code, reason = "shared with the suite, which uses more of it")]
mod asking;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod loopback;
#[cfg(test)]
mod oauth;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod throughput;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod wire;
