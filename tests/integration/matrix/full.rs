//! All cells: on several machines side by side, taken up again where the last run was stopped.

use std::any::Any;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::cell::{self, Row};
use super::plan::{At, Cell, Ends, Fault};
use super::stand::Stand;
use crate::crash_points::programs;

/// What is kept of a cell.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Ended(Row),
    Failed { cell: Cell, why: String },
}

impl Kept {
    const fn cell(&self) -> Cell {
        match self {
            Self::Ended(row) => row.cell,
            Self::Failed { cell, .. } => *cell,
        }
    }
}

/// Does nothing unless FFE_FAULTS names a directory: `scripts/test --full faults`. There, FFE_FAULTS_ONLY may hold words
/// of which one is in each cell's name (`worker_killed-pulling`), and FFE_FAULTS_MACHINES how many are used at a time.
#[test]
fn every_cell_of_the_matrix_ends_healthy() {
    let Some(dir) = std::env::var_os("FFE_FAULTS").map(PathBuf::from) else { return };
    fs::create_dir_all(&dir).expect("make the directory of results");
    let only = std::env::var("FFE_FAULTS_ONLY").unwrap_or_default();
    let is_wanted = |cell: &Cell| {
        let mut words = only.split_whitespace().peekable();
        words.peek().is_none() || words.any(|word| cell.name().contains(word))
    };
    let mut left: Vec<_> = Cell::all().into_iter().filter(is_wanted).collect();
    if programs().is_none() {
        left.retain(|cell| cell.fault != Fault::ClockJumps);
    }
    left.retain(|cell| !matches!(kept(&dir, *cell), Some(Kept::Ended(_))));
    left.reverse();
    let machines =
        std::env::var("FFE_FAULTS_MACHINES").ok().and_then(|number| number.parse().ok()).unwrap_or(2);
    let left = Mutex::new(left);
    std::thread::scope(|scope| {
        for _ in 0..machines {
            scope.spawn(|| work(&dir, &left));
        }
    });
    let all: Vec<_> = Cell::all().into_iter().filter_map(|cell| kept(&dir, cell)).collect();
    fs::write(dir.join("table.md"), table(&all)).expect("write the table");
    let failed: Vec<_> = all.iter().filter(|kept| matches!(kept, Kept::Failed { .. })).collect();
    assert!(failed.is_empty(), "{} cells failed: see {}", failed.len(), dir.join("table.md").display());
}

/// Takes cells until none is left. After one that failed, a machine is what nobody knows.
fn work(dir: &Path, left: &Mutex<Vec<Cell>>) {
    let mut stand = None;
    loop {
        let (cell, more) = {
            let mut left = left.lock().expect("no thread panics");
            let Some(cell) = left.pop() else { return };
            (cell, left.len())
        };
        let ended =
            catch_unwind(AssertUnwindSafe(|| cell::run(stand.get_or_insert_with(Stand::start), cell)));
        let kept = match ended {
            Ok(row) => Kept::Ended(row),
            Err(panic) => {
                stand = None;
                Kept::Failed { cell, why: said(panic.as_ref()) }
            }
        };
        eprintln!("{} ({more} to come)", line(&kept));
        let text = serde_json::to_vec_pretty(&kept).expect("a result is JSON");
        fs::write(file(dir, cell), text).expect("keep the result");
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

fn file(dir: &Path, cell: Cell) -> PathBuf {
    dir.join(format!("{}.json", cell.name()))
}

fn kept(dir: &Path, cell: Cell) -> Option<Kept> {
    serde_json::from_slice(&fs::read(file(dir, cell)).ok()?).ok()
}

fn line(kept: &Kept) -> String {
    match kept {
        Kept::Ended(row) => format!("{}: {}", row.cell.name(), shown(row)),
        Kept::Failed { cell, why } => format!("{}: FAILED: {why}", cell.name()),
    }
}

fn shown(row: &Row) -> String {
    let ends = if row.ends == Ends::New { "new" } else { "old" };
    format!("{} · {ends} · {}", row.exit, seconds(row.settled_ms))
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// A row for each fault, a column for each stage.
fn table(all: &[Kept]) -> String {
    let mut text = String::new();
    let stages = At::ALL.map(|at| format!("`{}`", at.stage()));
    writeln!(text, "| | {} |\n|---|{}", stages.join(" | "), "---|".repeat(stages.len()))
        .expect("write to a string");
    for fault in Fault::ALL {
        let cells = At::ALL.map(|at| match all.iter().find(|kept| kept.cell() == Cell { fault, at }) {
            Some(Kept::Ended(row)) => shown(row),
            Some(Kept::Failed { .. }) => "**failed**".to_owned(),
            None => "not run".to_owned(),
        });
        writeln!(text, "| {} | {} |", fault.told(), cells.join(" | ")).expect("write to a string");
    }
    let rows: Vec<_> =
        all.iter().filter_map(|kept| if let Kept::Ended(row) = kept { Some(row) } else { None }).collect();
    let (planned, ended) = (Cell::all().len(), rows.len());
    let writes: u64 = rows.iter().map(|row| row.writes).max().unwrap_or(0);
    let slowest = rows.iter().map(|row| row.settled_ms).max().unwrap_or(0);
    let silence = rows.iter().map(|row| row.silence_ms).max().unwrap_or(0);
    writeln!(
        text,
        "\n{ended} of {planned} cells ended healthy with nothing done by hand, the slowest after {}. Of up to {writes} writes on a \
         machine none that was acknowledged is lost; the longest time without one was {}.",
        seconds(slowest),
        seconds(silence)
    )
    .expect("write to a string");
    for kept in all {
        if let Kept::Failed { cell, why } = kept {
            let first: String = why.lines().next().unwrap_or_default().chars().take(300).collect();
            writeln!(text, "- `{}` failed: {first}", cell.name()).expect("write to a string");
        }
    }
    text
}
