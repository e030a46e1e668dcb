//! Tests of the built `ffe-ledger` over HTTP, on SQLite and on a real PostgreSQL alike.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers as well")]

mod browser;
mod chromium;
mod deployments;
mod dispatch;
mod disturbed;
mod edges;
mod entities;
mod health;
mod hostile;
mod import;
mod invariants;
mod job;
mod many;
mod measures;
mod nats;
mod page_content;
mod pages;
mod process;
mod reads;
mod reports;
mod restart;
mod rollback;
#[path = "../integration/support/mod.rs"]
mod stand;
mod support;
mod tokens;
