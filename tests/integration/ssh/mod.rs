//! Deployments to a host over SSH: the built binary, a real sshd on loopback, the real engine.

mod alone;
mod connecting;
mod deploying;
mod hosts;
mod losing;
mod stand;
mod turns;
