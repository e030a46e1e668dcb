//! How well deploying goes: what the metrics and the pages say, with one definition for both.
//!
//! The four measures are DORA's (dora.dev/guides/dora-metrics): deployment frequency, change lead time, change fail rate
//! and failed deployment recovery time. The database gives the deployments that have ended, newest first, and they are
//! added up here: a median has no common spelling in SQL, and windows over a year of them are ten times as slow.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

use super::rows::get;
use super::{Store, StoreError, now};
use crate::model::lifecycle::DeploymentStatus::{
    self, Active, Deploying, Failed, Inactive, Pending, RolledBack,
};

/// How far back the metrics look.
pub const MEASURED_DAYS: i64 = 30;
/// A day in microseconds.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;
/// Days from the Monday before 1970 to its first day, which was a Thursday.
const MONDAY: i64 = 3;

/// The measures of one environment of one app.
#[derive(Clone, Debug)]
pub struct Measures {
    /// Id of the entity.
    pub entity_id: String,
    /// Its name.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// What is measured.
    pub figures: Figures,
}

/// What is measured of deployments that have ended; of those that bring a change, and not of those that were asked to go
/// back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Deployments that ended, however.
    pub ended: i64,
    /// Those that came to run, also when they were taken back later.
    pub ran: i64,
    /// Those that failed or were rolled back, at once or later.
    pub failed: i64,
    /// Median time from the commit to running, in seconds, of those that came to run and whose commit is known.
    pub lead_time_s: Option<f64>,
    /// Median time from a failed deployment to what is active next there, in seconds; those that nothing followed yet
    /// are left out.
    pub restore_s: Option<f64>,
    /// Mean duration in seconds.
    pub duration_s: Option<f64>,
}

impl Figures {
    /// Returns which part of the deployments failed, 0 to 1; nothing when there was none.
    pub fn failure_ratio(&self) -> Option<f64> {
        (self.ended > 0).then(|| self.failed as f64 / self.ended as f64)
    }
}

/// How a series is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// By days of UTC.
    Day,
    /// By weeks of UTC, from Monday.
    Week,
}

/// A time that is divided into days or weeks; its last one is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it begins; microseconds, UTC.
    pub from: i64,
    /// How long one part is, in microseconds.
    pub step: i64,
    /// How many parts it has.
    pub parts: usize,
}

impl Span {
    /// Returns the last so many days until a time, in whole days or weeks.
    pub fn until(time: i64, days: i64, by: Period) -> Self {
        let today = time.div_euclid(DAY);
        let (first, length) = match by {
            Period::Day => (today - days + 1, 1),
            Period::Week => ((today - days + 1 + MONDAY).div_euclid(7) * 7 - MONDAY, 7),
        };
        let parts = usize::try_from((today - first) / length + 1).unwrap_or(1);
        Self { from: first * DAY, step: length * DAY, parts }
    }

    /// Returns in which part a time is.
    fn part(&self, time: i64) -> Option<usize> {
        usize::try_from((time - self.from).div_euclid(self.step)).ok().filter(|part| *part < self.parts)
    }
}

/// The measures of one environment of one app, over time.
#[derive(Clone, Debug)]
pub struct Series {
    /// Of all of it.
    pub whole: Figures,
    /// Of each part of the span; a deployment counts where it was deployed, or began when it never ran.
    pub parts: Vec<Figures>,
}

impl Store {
    /// Returns the measures of all apps and environments, over so many days.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn measures(&self, days: i64) -> Result<Vec<Measures>, StoreError> {
        let mut places: HashMap<(String, String), (Walk, Tally)> = HashMap::new();
        let text =
            format!("SELECT d.entity_id, d.environment, {ENDED} FROM deployments d WHERE {WHEN} {BY_DAY}");
        let mut rows = sqlx::query(AssertSqlSafe(text)).bind(now() - days * DAY).fetch(self.read());
        while let Some(row) = rows.try_next().await? {
            let (walk, tally) = places.entry((get(&row, 0)?, get(&row, 1)?)).or_default();
            for ended in ended(&row)? {
                tally.add(walk.meet(&ended));
            }
        }
        drop(rows);
        let mut names: HashMap<String, String> = HashMap::new();
        for row in sqlx::query("SELECT entity_id, name FROM entities").fetch_all(self.read()).await? {
            names.insert(get(&row, 0)?, get(&row, 1)?);
        }
        let mut all: Vec<Measures> = places
            .into_iter()
            .map(|((entity_id, environment), (_, tally))| {
                let app = names.get(&entity_id).cloned().unwrap_or_default();
                Measures { entity_id, app, environment, figures: tally.figures() }
            })
            .collect();
        all.sort_by(|one, other| {
            (&one.app, &one.environment, &one.entity_id).cmp(&(
                &other.app,
                &other.environment,
                &other.entity_id,
            ))
        });
        Ok(all)
    }

    /// Returns the measures of one environment of one app over time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn series(&self, entity: &str, environment: &str, span: Span) -> Result<Series, StoreError> {
        let text = format!(
            "SELECT d.entity_id, d.environment, {ENDED} FROM deployments d \
             WHERE {WHEN} AND d.entity_id = $2 AND d.environment = $3 {BY_DAY}"
        );
        let query = sqlx::query(AssertSqlSafe(text)).bind(span.from).bind(entity).bind(environment);
        let (mut walk, mut whole) = (Walk::default(), Tally::default());
        let mut parts = vec![Tally::default(); span.parts];
        let mut rows = query.fetch(self.read());
        while let Some(row) = rows.try_next().await? {
            for ended in ended(&row)? {
                let met = walk.meet(&ended);
                whole.add(met);
                if let Some(part) = span.part(ended.deployed_at) {
                    parts[part].add(met);
                }
            }
        }
        Ok(Series { whole: whole.figures(), parts: parts.into_iter().map(Tally::figures).collect() })
    }

    /// Returns how many deployments there are by app, environment and status, ever: the kept totals.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn totals(&self) -> Result<Vec<(String, String, String, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT e.name, c.environment, c.status, CAST(SUM(c.count) AS BIGINT) FROM counters c \
             JOIN entities e ON e.entity_id = c.scope GROUP BY e.name, c.environment, c.status \
             ORDER BY e.name, c.environment, c.status",
        )
        .fetch_all(self.read())
        .await?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?))).collect()
    }

    /// Returns the environments that an app was ever deployed to, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn environments(&self, entity: &str) -> Result<Vec<String>, StoreError> {
        let text =
            "SELECT DISTINCT environment FROM counters WHERE scope = $1 AND count > 0 ORDER BY environment";
        let rows = sqlx::query(text).bind(entity).fetch_all(self.read()).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }
}

/// The [`Ended`] of one day of one place as one text, newest first: a driver takes ten times as long for rows as the
/// database for this, and a day bounds what is held at once.
const ENDED: &str = "STRING_AGG(d.status || ',' || d.deployed_at || ',' || d.goes_back || ',' || COALESCE(d.committed_at, -1) \
    || ',' || COALESCE(d.rolled_back_at, -1) || ',' || COALESCE(d.deployment_duration_seconds, -1) || ',' || \
    CASE WHEN d.status = 'rolled_back' THEN (SELECT COUNT(*) FROM deployment_events v \
    WHERE v.deployment_id = d.deployment_id AND v.to_status = 'active') ELSE 0 END, ' ' ORDER BY d.deployed_at DESC, d.id DESC)";
/// Newest days first; the number is a day in microseconds.
const BY_DAY: &str = "GROUP BY d.entity_id, d.environment, d.deployed_at / 86400000000 ORDER BY d.deployed_at / 86400000000 DESC";
/// Since when; along an index that ends with the time.
const WHEN: &str = "d.deployed_at >= $1";

/// What is read of a deployment.
#[derive(Clone, Copy, Debug)]
struct Ended {
    status: DeploymentStatus,
    deployed_at: i64,
    goes_back: bool,
    committed_at: Option<i64>,
    rolled_back_at: Option<i64>,
    took_s: Option<i64>,
    /// Whether it was active before it was rolled back; others were never well.
    was_active: bool,
}

/// A text of [`ENDED`] that another program wrote.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no deployment that has ended")]
struct NoEnded(String);

fn ended(row: &AnyRow) -> Result<Vec<Ended>, StoreError> {
    let text: String = get(row, 2)?;
    let read = |one: &str| read(one).ok_or_else(|| StoreError::of_column(2)(NoEnded(one.to_owned())));
    text.split(' ').map(read).collect()
}

fn read(text: &str) -> Option<Ended> {
    let (status, numbers) = text.split_once(',')?;
    let numbers: Vec<i64> = numbers.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [deployed_at, goes_back, committed_at, rolled_back_at, took_s, was_active] =
        numbers.try_into().ok()?;
    let known = |number: i64| (number >= 0).then_some(number);
    Some(Ended {
        status: status.parse().ok()?,
        deployed_at,
        goes_back: goes_back != 0,
        committed_at: known(committed_at),
        rolled_back_at: known(rolled_back_at),
        took_s: known(took_s),
        was_active: was_active > 0,
    })
}

/// What one deployment adds to the figures.
#[derive(Clone, Copy, Debug)]
struct Met {
    ran: bool,
    failed: bool,
    lead: Option<i64>,
    restore: Option<i64>,
    took_s: Option<i64>,
}

/// Goes through the deployments of one place from the newest to the oldest, and knows what came after each.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    next_active: Option<i64>,
}

impl Walk {
    /// Returns what a deployment adds; nothing while it is under way, or when it was asked to go back.
    fn meet(&mut self, ended: &Ended) -> Option<Met> {
        let at = ended.deployed_at;
        let (ran, failed, restored) = match ended.status {
            Pending | Deploying => return None,
            Active | Inactive => (true, false, None),
            Failed => (false, true, self.next_active),
            // What ran before is active again.
            RolledBack => (ended.was_active, true, ended.rolled_back_at),
        };
        if ran {
            self.next_active = Some(at);
        }
        // A commit that is younger than what it brought was told by a wrong clock.
        let lead = ended.committed_at.map(|committed| at - committed).filter(|lead| ran && *lead >= 0);
        let restore = restored.map(|restored| (restored - at).max(0));
        (!ended.goes_back).then_some(Met { ran, failed, lead, restore, took_s: ended.took_s })
    }
}

/// Adds up.
#[derive(Clone, Debug, Default)]
struct Tally {
    ended: i64,
    ran: i64,
    failed: i64,
    leads: Vec<i64>,
    restores: Vec<i64>,
    timed: i64,
    took_s: i64,
}

impl Tally {
    fn add(&mut self, met: Option<Met>) {
        let Some(met) = met else { return };
        self.ended += 1;
        self.ran += i64::from(met.ran);
        self.failed += i64::from(met.failed);
        self.leads.extend(met.lead);
        self.restores.extend(met.restore);
        if let Some(took_s) = met.took_s {
            self.timed += 1;
            self.took_s = self.took_s.saturating_add(took_s);
        }
    }

    fn figures(mut self) -> Figures {
        Figures {
            ended: self.ended,
            ran: self.ran,
            failed: self.failed,
            lead_time_s: median_s(&mut self.leads),
            restore_s: median_s(&mut self.restores),
            duration_s: (self.timed > 0).then(|| self.took_s as f64 / self.timed as f64),
        }
    }
}

/// Returns the median of times in microseconds, in seconds: of two in the middle their mean.
fn median_s(times: &mut [i64]) -> Option<f64> {
    let high = times.len() / 2;
    let low = times.len().checked_sub(1)? / 2;
    times.sort_unstable();
    Some((times[low] as f64 + times[high] as f64) / 2.0 / 1_000_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn ended(status: DeploymentStatus, hour: i64) -> Ended {
        let (committed_at, rolled_back_at) = (Some((hour - 2) * HOUR), None);
        let (goes_back, was_active) = (false, false);
        let (deployed_at, took_s) = (hour * HOUR, Some(60));
        Ended { status, deployed_at, goes_back, committed_at, rolled_back_at, took_s, was_active }
    }

    /// From the oldest to the newest, as one reads it.
    fn figures(all: &[Ended]) -> Figures {
        let (mut walk, mut tally) = (Walk::default(), Tally::default());
        all.iter().rev().for_each(|ended| tally.add(walk.meet(ended)));
        tally.figures()
    }

    #[test]
    fn each_failed_deployment_is_restored_by_the_next_that_is_active_or_by_its_own_rollback() {
        let back = Ended { rolled_back_at: Some(21 * HOUR), ..ended(RolledBack, 20) };
        let all = [
            ended(Inactive, 1),
            ended(Failed, 10),
            ended(Failed, 13),
            ended(Active, 15),
            back,
            ended(Failed, 30),
        ];
        // 10 → 15, 13 → 15, 20 → 21; nothing has followed the last one yet.
        let told = figures(&all);
        assert_eq!((told.ended, told.ran, told.failed), (6, 2, 4));
        assert_eq!(told.restore_s, Some(2.0 * 3600.0));
        assert_eq!((told.lead_time_s, told.duration_s), (Some(7200.0), Some(60.0)));
        assert_eq!(told.failure_ratio(), Some(4.0 / 6.0));
    }

    #[test]
    fn what_ran_and_was_taken_back_later_is_both_a_deployment_and_a_failed_one() {
        let taken = Ended { rolled_back_at: Some(9 * HOUR), was_active: true, ..ended(RolledBack, 5) };
        let told = figures(&[ended(Failed, 4), taken]);
        // 4 → 5, when it came to run, and 5 → 9.
        assert_eq!((told.ended, told.ran, told.failed), (2, 1, 2));
        assert_eq!((told.restore_s, told.lead_time_s), (Some(2.5 * 3600.0), Some(7200.0)));
    }

    #[test]
    fn a_way_back_is_no_change_but_restores() {
        let back = Ended { goes_back: true, ..ended(Active, 6) };
        let told = figures(&[ended(Failed, 5), back, Ended { goes_back: true, ..ended(Failed, 7) }]);
        assert_eq!((told.ended, told.ran, told.restore_s, told.lead_time_s), (1, 0, Some(3600.0), None));
    }

    #[test]
    fn what_is_under_way_and_what_a_wrong_clock_said_is_left_out() {
        let wrong = Ended { committed_at: Some(9 * HOUR), ..ended(Active, 8) };
        let told = figures(&[ended(Deploying, 1), ended(Pending, 2), wrong]);
        assert_eq!((told.ended, told.lead_time_s, told.restore_s), (1, None, None));
        assert_eq!(figures(&[]), Figures::default());
    }

    #[test]
    fn a_deployment_is_read_as_the_database_writes_it() {
        let read = read("rolled_back,7,1,-1,9,-1,2").unwrap();
        assert_eq!((read.status, read.deployed_at, read.goes_back), (RolledBack, 7, true));
        assert_eq!(
            (read.committed_at, read.rolled_back_at, read.took_s, read.was_active),
            (None, Some(9), None, true)
        );
        assert!(super::read("active,7").is_none() && super::read("moon,7,1,-1,9,-1,2").is_none());
    }

    #[test]
    fn the_median_is_what_stands_in_the_middle() {
        let cases: [(&[i64], Option<f64>); 4] =
            [(&[], None), (&[5], Some(5.0)), (&[9, 1], Some(5.0)), (&[100, 1, 3], Some(3.0))];
        for (times, wanted) in cases {
            let mut times: Vec<i64> = times.iter().map(|time| time * 1_000_000).collect();
            assert_eq!(median_s(&mut times), wanted);
        }
    }

    #[test]
    fn a_span_has_whole_days_and_weeks_from_monday() {
        // 2026-11-18 was a Wednesday, 2026-11-16 a Monday.
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let now = at("2026-11-18T15:00:00Z");
        let days = Span::until(now, 3, Period::Day);
        assert_eq!((days.from, days.parts), (at("2026-11-16T00:00:00Z"), 3));
        let weeks = Span::until(now, 10, Period::Week);
        assert_eq!((weeks.from, weeks.parts), (at("2026-11-09T00:00:00Z"), 2));
        assert_eq!(weeks.part(at("2026-11-15T23:59:59Z")), Some(0));
        assert_eq!((weeks.part(now), weeks.part(at("2026-11-08T23:59:59Z"))), (Some(1), None));
    }
}
