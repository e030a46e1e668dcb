//! Every place where a host is changed, and a process that dies just there: the app ends healthy on the old release or on
//! the new one, and nobody has to put anything right.
//!
//! The places are those that a build with fault injection announces (`src/host/seam.rs`). One deployment is traced, then
//! each of its points is taken in turn. By default that is the walk of a good release on a root, with the worker killed;
//! `scripts/full/crash-points` says by variables what else: `FFE_CRASH_WALK` (good, bad, first, rollback, hooks),
//! `FFE_CRASH_LAYOUT` (root, in-place), `FFE_CRASH_SERIES` (worker, twice, both), `FFE_CRASH_POINT` (only this one) and
//! `FFE_CRASH_TABLE` (a file for the results).

mod bench;
mod invariants;
mod points;

pub(crate) use bench::programs;
use std::fs::File;
use std::io::Write;

use bench::{Bench, Layout, Series, Walk};

use crate::support::needs;

/// Apps that are crashed at the same time, each in a test of its own.
const SHARDS: usize = 4;

/// What of all that is asked for.
#[derive(Clone, Copy)]
struct Plan {
    walk: Walk,
    layout: Layout,
    series: Series,
}

impl Plan {
    fn wanted() -> Self {
        let word = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            walk: match word("FFE_CRASH_WALK").as_str() {
                "" | "good" => Walk::Good,
                "bad" => Walk::Bad,
                "first" => Walk::First,
                "rollback" => Walk::Rollback,
                "hooks" => Walk::Hooks,
                other => panic!("FFE_CRASH_WALK is `{other}`: good, bad, first, rollback, hooks"),
            },
            layout: match word("FFE_CRASH_LAYOUT").as_str() {
                "" | "root" => Layout::Root,
                "in-place" => Layout::InPlace,
                other => panic!("FFE_CRASH_LAYOUT is `{other}`: root, in-place"),
            },
            series: match word("FFE_CRASH_SERIES").as_str() {
                "" | "worker" => Series::Worker,
                "twice" => Series::Twice,
                "both" => Series::Both,
                other => panic!("FFE_CRASH_SERIES is `{other}`: worker, twice, both"),
            },
        }
    }
}

/// Takes each point whose number has this remainder.
fn take_points(shard: usize) {
    let Some(programs) = bench::programs() else { return };
    let plan = Plan::wanted();
    let mut bench = Bench::new(&programs, plan.walk, plan.layout);
    let points = bench.trace();
    assert!(points.len() > 10, "only {} points were traced: {points:?}", points.len());
    if shard == 0 {
        note(0, "all", &points.len().to_string());
    }
    let committed = points.iter().position(|point| point == "replace current#1");
    let only = std::env::var("FFE_CRASH_POINT").ok();
    for (number, point) in points.iter().enumerate() {
        let wanted = only.as_ref().map_or(number % SHARDS == shard, |only| only == point && shard == 0);
        if !wanted {
            continue;
        }
        if committed.is_some_and(|committed| number > committed) {
            bench.settle();
        }
        let told = bench.crash(point, number, plan.series);
        eprintln!("{:>3}. {point}: {told}", number + 1);
        note(number + 1, point, &told);
    }
    bench.end();
}

/// Writes a result for the table of docs/reliability.md.
fn note(number: usize, point: &str, told: &str) {
    let Some(path) = std::env::var_os("FFE_CRASH_TABLE") else { return };
    let mut table = File::options().create(true).append(true).open(path).expect("open the table");
    table.write_all(format!("{number}\t{point}\t{told}\n").as_bytes()).expect("write to the table");
}

#[test]
fn whatever_is_about_to_change_when_a_worker_is_killed_the_app_ends_healthy_1() {
    needs!("docker");
    take_points(0);
}

#[test]
fn whatever_is_about_to_change_when_a_worker_is_killed_the_app_ends_healthy_2() {
    needs!("docker");
    take_points(1);
}

#[test]
fn whatever_is_about_to_change_when_a_worker_is_killed_the_app_ends_healthy_3() {
    needs!("docker");
    take_points(2);
}

#[test]
fn whatever_is_about_to_change_when_a_worker_is_killed_the_app_ends_healthy_4() {
    needs!("docker");
    take_points(3);
}
