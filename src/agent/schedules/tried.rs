//! Which schedules are tried: small cases one by one, larger ones by chance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use super::{Event, Kind, Next, Schedule, WALKS, Walk};

/// How many random schedules; `scripts/full/schedules` sets more.
const COUNT: &str = "FFE_SCHEDULES";
/// Seed of the one random schedule that is to be tried again.
const SEED: &str = "FFE_SCHEDULE_SEED";
/// Set to try every pair of deaths, and not only those of the parts that are small enough for every day.
const ALL: &str = "FFE_SCHEDULES_ALL";

/// Set in a process that runs one of these tests only.
const ALONE: &str = "FFE_SCHEDULES_ALONE";

/// Steps that a program makes after its worker was killed.
const STEPS: [u32; 5] = [0, 1, 2, 4, 400];
/// Points that a stop lingers.
const LINGERS: [u32; 2] = [0, 12];

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// Schedules that are tried at the same time on one processor: most of their time is that of timers.
const SIDE_BY_SIDE: usize = 6;

/// Tries schedules on all processors; each comes with the words by which it is tried again.
fn try_all(count: u64, make: impl Fn(u64) -> (String, Schedule) + Sync) {
    let (next, points) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures: Mutex<Vec<String>> = Mutex::default();
    let threads = SIDE_BY_SIDE * std::thread::available_parallelism().map_or(2, usize::from);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || failures.lock().unwrap().len() > 3 {
                        return;
                    }
                    let (again, schedule) = make(number);
                    let tried = std::panic::catch_unwind(|| schedule.run());
                    match tried.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                        Ok(there) => drop(points.fetch_add(u64::from(there), Ordering::Relaxed)),
                        Err(why) => failures.lock().unwrap().push(format!("{again}: {schedule:?}\n{why}")),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let (points, took) = (points.into_inner(), began.elapsed().as_millis());
    eprintln!("{count} schedules with {points} points held, in {took} ms");
}

/// Runs a test of this module in a process of its own, and returns whether this one is it.
///
/// A lock is inherited by whatever the other tests of a process fork, until it becomes another program: among them, a
/// lease can be held by nobody.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let this = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name.as_str(), "--exact", "--nocapture"])
        .env(ALONE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&this.stderr);
    assert!(this.status.success(), "{said}");
    assert!(said.contains(" held, in "), "no test has this name: {name}");
    eprintln!("{said}");
    false
}

/// Splitmix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u32 {
        u32::try_from(self.next() % end).unwrap()
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Returns the schedule of a seed: up to four events.
fn random(seed: u64) -> Schedule {
    let mut random = Random(seed);
    let walk = random.of(&WALKS);
    let events = (0..=random.below(4)).map(|_| {
        let steps = random.of(&[0, 0, 1, 2, 3, 5, 8, 13, 400]);
        let event = random.of(&[
            Event::Kill(steps),
            Event::Kill(steps),
            Event::KillOvertaken(steps),
            Event::KillBoth(steps),
            Event::KillBoth(steps),
            Event::Reboot,
            Event::RestartDaemon,
            Event::Arrive,
        ]);
        (1 + random.below(u64::from(points(walk))), event)
    });
    let events = events.collect::<Vec<_>>();
    Schedule::of(walk, &events, random.of(&[Next::Recovery, Next::Deployer]), random.of(&[0, 1, 3, 12, 60]))
}

/// Returns how many points a walk has when nothing happens.
fn points(walk: Walk) -> u32 {
    static POINTS: OnceLock<Vec<u32>> = OnceLock::new();
    let count = |walk: &Walk| Schedule::of(*walk, &[], Next::Recovery, 0).run().unwrap();
    let points = POINTS.get_or_init(|| WALKS.iter().map(count).collect());
    points[WALKS.iter().position(|other| *other == walk).unwrap()]
}

#[test]
fn random_schedules_end_healthy_on_one_release() {
    if !is_alone("random_schedules_end_healthy_on_one_release") {
        return;
    }
    match variable(SEED) {
        Some(seed) => try_all(1, |_| (format!("{SEED}={seed}"), random(seed))),
        None => {
            let count = variable(COUNT).unwrap_or(1000);
            try_all(count, |seed| (format!("{SEED}={seed}"), random(seed)));
        }
    }
}

/// Seeds of schedules that did not hold once, and why not.
const ONCE_FAILED: [u64; 4] = [
    // The first release ever, interrupted twice while Compose recreated a container: the next `up` met its name.
    3431, 6186, 18830, 19310,
];

#[test]
fn schedules_that_did_not_hold_once_hold_now() {
    if !is_alone("schedules_that_did_not_hold_once_hold_now") {
        return;
    }
    try_all(ONCE_FAILED.len() as u64, |number| {
        let seed = ONCE_FAILED[number as usize];
        (format!("{SEED}={seed}"), random(seed))
    });
}

/// What may happen once, at any point.
fn single_events() -> Vec<(Event, Next, u32)> {
    let mut singles = vec![
        (Event::Reboot, Next::Recovery, 0),
        (Event::Reboot, Next::Deployer, 0),
        (Event::RestartDaemon, Next::Recovery, 0),
        (Event::Arrive, Next::Recovery, 0),
    ];
    for steps in STEPS {
        for lingers in LINGERS {
            singles.push((Event::Kill(steps), Next::Recovery, lingers));
            singles.push((Event::KillBoth(steps), Next::Deployer, lingers));
        }
        singles.push((Event::KillOvertaken(steps), Next::Recovery, 3));
    }
    singles
}

#[test]
fn one_event_at_any_point_of_any_walk_ends_healthy_on_one_release() {
    if !is_alone("one_event_at_any_point_of_any_walk_ends_healthy_on_one_release") {
        return;
    }
    // One in so many, unless all are wanted; no divisor of the number of events, so that each point gets others.
    let stride = if variable(ALL).is_some() { 1 } else { 31 };
    let singles = single_events();
    let walks: Vec<(Walk, u32)> = WALKS.iter().map(|walk| (*walk, points(*walk))).collect();
    let mut places = Vec::new();
    for (walk, points) in walks {
        places.extend((1..=points).map(|at| (walk, at)));
    }
    try_all((places.len() * singles.len()) as u64 / stride, |number| {
        let number = (number * stride) as usize;
        let ((walk, at), (event, next, lingers)) =
            (places[number / singles.len()], singles[number % singles.len()]);
        ("one event".to_owned(), Schedule::of(walk, &[(at, event)], next, lingers))
    });
}

#[test]
fn a_death_and_one_in_its_recovery_at_any_points_end_healthy_on_one_release() {
    if !is_alone("a_death_and_one_in_its_recovery_at_any_points_end_healthy_on_one_release") {
        return;
    }
    let walks: &[Walk] = match variable(ALL) {
        Some(_) => &WALKS,
        None => &[Walk::Deploy(Kind::Good)],
    };
    let mut pairs = Vec::new();
    for walk in walks {
        let points = points(*walk);
        // A recovery has fewer points than a deployment; later ones are those of the deployer that comes next.
        pairs.extend((1..=points).flat_map(|one| (1..=points).map(move |two| (*walk, one, two))));
    }
    let stride = if variable(ALL).is_some() { 1 } else { 61 };
    try_all(pairs.len() as u64 / stride, |number| {
        let (walk, one, two) = pairs[(number * stride) as usize];
        let steps = STEPS[(number % STEPS.len() as u64) as usize];
        let (next, lingers) =
            ([Next::Recovery, Next::Deployer][(number % 2) as usize], LINGERS[(number / 2 % 2) as usize]);
        let events = [(one, Event::KillBoth(steps)), (two, Event::Kill(steps))];
        ("two deaths".to_owned(), Schedule::of(walk, &events, next, lingers))
    });
}
