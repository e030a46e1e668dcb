//! Charts over time as SVG: drawn here, coloured by classes alone, so that they follow the theme and need no script.

use maud::{Markup, html};

use crate::ledger::store::Period;

/// Size of the drawing in its own units; a page scales it.
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 190.0;
/// Where the values are drawn.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 372.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 160.0;
/// Widest bar.
const WIDEST: f64 = 26.0;
/// How many dates stand below the axis at most.
const DATES: usize = 4;

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// How many.
    Count,
    /// A part of all, 0 to 1.
    Part,
    /// A time, in seconds.
    Time,
}

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Each for itself: what adds up.
    Bars,
    /// As points on a line: what goes up and down.
    Line,
}

/// Values over time; the last part is still under way.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    /// Distinguishes it from the others of a page.
    pub id: &'a str,
    /// What it shows, for whoever does not see it.
    pub title: &'a str,
    pub unit: Unit,
    pub form: Form,
    /// One for each part; nothing where there is none.
    pub values: &'a [Option<f64>],
    /// When each part begins, as `16 Nov`.
    pub dates: &'a [String],
    pub step: Period,
}

impl Chart<'_> {
    /// Returns the drawing.
    pub(super) fn draw(&self) -> Markup {
        let axis = Axis::of(self.unit, self.values.iter().flatten().copied().fold(0.0, f64::max));
        let (title, about) = (format!("{}-title", self.id), format!("{}-about", self.id));
        html! {
            svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-labelledby=(format!("{title} {about}")) {
                title id=(title) { (self.title) }
                desc id=(about) { (self.about()) }
                @for (value, said) in axis.marks() {
                    line.grid x1=(at(LEFT)) x2=(at(RIGHT)) y1=(at(axis.y(value))) y2=(at(axis.y(value))) {}
                    text.mark x=(at(LEFT - 7.0)) y=(at(axis.y(value) + 4.0)) text-anchor="end" { (said) }
                }
                @for part in self.dated() {
                    text.mark x=(at(self.x(part))) y=(at(BOTTOM + 20.0)) text-anchor=(self.anchor(part)) { (self.dates[part]) }
                }
                @match self.form { Form::Bars => (self.bars(&axis)), Form::Line => (self.line(&axis)) }
            }
        }
    }

    /// What the drawing says, in words.
    fn about(&self) -> String {
        let known = || self.values.iter().zip(self.dates).filter_map(|(value, date)| Some(((*value)?, date)));
        let highest = known().fold(None, |highest: Option<(f64, &String)>, (value, date)| match highest {
            Some((other, _)) if other >= value => highest,
            _ => Some((value, date)),
        });
        match highest {
            None => "There is nothing to show.".to_owned(),
            Some((value, date)) => {
                let word = self.word();
                let (count, parts) = (known().count(), self.values.len());
                let highest = in_words(value, self.unit);
                format!(
                    "Values for {count} of {parts} {word}s; the highest is {highest}, in the {word} of {date}. The table below has them all."
                )
            }
        }
    }

    fn word(&self) -> &'static str {
        match self.step {
            Period::Day => "day",
            Period::Week => "week",
        }
    }

    fn bars(&self, axis: &Axis) -> Markup {
        let slot = self.slot();
        let width = (slot * 0.68).min(WIDEST);
        let last = self.values.len().saturating_sub(1);
        html! {
            @for (part, value) in self.values.iter().enumerate() {
                @if let Some(value) = value {
                    // What is nothing has its mark, too: it is another thing than what is not known.
                    @let height = (BOTTOM - axis.y(*value)).max(1.5);
                    g {
                        title { (self.told(part, *value)) }
                        rect.touch x=(at(self.x(part) - slot / 2.0)) y=(at(TOP)) width=(at(slot)) height=(at(BOTTOM - TOP)) {}
                        rect.column.under-way[part == last] x=(at(self.x(part) - width / 2.0)) y=(at(BOTTOM - height))
                            width=(at(width)) height=(at(height)) rx=(at((width / 6.0).min(2.5))) {}
                    }
                }
            }
        }
    }

    fn line(&self, axis: &Axis) -> Markup {
        let known = || self.values.iter().enumerate().filter_map(|(part, value)| Some((part, (*value)?)));
        let points: Vec<String> =
            known().map(|(part, value)| format!("{},{}", at(self.x(part)), at(axis.y(value)))).collect();
        let radius = if self.slot() < 10.0 { 2.2 } else { 3.6 };
        let last = self.values.len().saturating_sub(1);
        html! {
            @if points.len() > 1 { polyline.trend points=(points.join(" ")) {} }
            @for (part, value) in known() {
                g {
                    title { (self.told(part, value)) }
                    circle.touch cx=(at(self.x(part))) cy=(at(axis.y(value))) r=(at((self.slot() / 2.0).max(6.0))) {}
                    circle.point.under-way[part == last] cx=(at(self.x(part))) cy=(at(axis.y(value))) r=(at(radius)) {}
                }
            }
        }
    }

    /// What one value says to whoever points at it.
    fn told(&self, part: usize, value: f64) -> String {
        let date = &self.dates[part];
        let value = in_words(value, self.unit);
        match self.step {
            Period::Day => format!("{date}: {value}"),
            Period::Week => format!("week of {date}: {value}"),
        }
    }

    fn slot(&self) -> f64 {
        (RIGHT - LEFT) / self.values.len().max(1) as f64
    }

    /// The middle of a part.
    fn x(&self, part: usize) -> f64 {
        LEFT + self.slot() * (part as f64 + 0.5)
    }

    /// Parts whose date stands below the axis: the first, the last, and some between.
    fn dated(&self) -> Vec<usize> {
        let parts = self.dates.len();
        let count = parts.min(DATES);
        (0..count).map(|mark| if count == 1 { 0 } else { mark * (parts - 1) / (count - 1) }).collect()
    }

    /// The first and the last date stay within the drawing.
    fn anchor(&self, part: usize) -> &'static str {
        match part {
            _ if self.slot() > 70.0 => "middle",
            0 => "start",
            _ if part + 1 == self.dates.len() => "end",
            _ => "middle",
        }
    }
}

/// The values of an axis: from nothing to a round number.
#[derive(Clone, Copy, Debug)]
struct Axis {
    unit: Unit,
    /// How much one mark is, in the unit that people read.
    step: f64,
    marks: u32,
    /// How many of the chart's units one of people's is, and its sign.
    scale: (f64, &'static str),
}

impl Axis {
    fn of(unit: Unit, highest: f64) -> Self {
        let scale = match unit {
            Unit::Count => (1.0, ""),
            Unit::Part => (0.01, " %"),
            Unit::Time if highest < 120.0 => (1.0, " s"),
            Unit::Time if highest < 7200.0 => (60.0, " min"),
            Unit::Time if highest < 172_800.0 => (3600.0, " h"),
            Unit::Time => (86_400.0, " d"),
        };
        let read = highest / scale.0;
        // A single failure among many is not to fill the drawing.
        let least = if unit == Unit::Part { 20.0 } else { 0.0 };
        let step = round_up(read.max(least) / 4.0, if unit == Unit::Count { 1.0 } else { 0.1 });
        let marks = (read.max(least) / step).ceil().clamp(1.0, 5.0) as u32;
        Self { unit, step, marks, scale }
    }

    /// Each mark in the chart's units, and what it says.
    fn marks(self) -> impl Iterator<Item = (f64, String)> {
        (0..=self.marks).map(move |mark| {
            let read = f64::from(mark) * self.step;
            let sign = if mark == 0 && self.unit != Unit::Part { "" } else { self.scale.1 };
            (read * self.scale.0, format!("{}{sign}", short(read)))
        })
    }

    fn y(self, value: f64) -> f64 {
        let highest = f64::from(self.marks) * self.step * self.scale.0;
        BOTTOM - (value / highest).clamp(0.0, 1.0) * (BOTTOM - TOP)
    }
}

/// The next number of 1, 2 and 5 by tens that is not below; whole numbers where `least` is one.
fn round_up(value: f64, least: f64) -> f64 {
    let value = value.max(least);
    let ten = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|by| by * ten).find(|round| *round >= value - 1e-9).unwrap_or(value)
}

/// A number without digits that say nothing.
fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Returns a value with its unit.
pub(super) fn in_words(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => short(value),
        Unit::Part => format!("{} %", short(value * 100.0)),
        Unit::Time if value < 60.0 => format!("{} s", short(value)),
        Unit::Time if value < 3600.0 => format!("{} min", short(value / 60.0)),
        Unit::Time if value < 172_800.0 => format!("{} h", short(value / 3600.0)),
        Unit::Time => format!("{} days", short(value / 86_400.0)),
    }
}

/// A coordinate as it is written.
fn at(number: f64) -> String {
    format!("{number:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(unit: Unit, highest: f64) -> Vec<String> {
        Axis::of(unit, highest).marks().map(|(_, said)| said).collect()
    }

    #[test]
    fn an_axis_goes_to_a_round_number_in_the_unit_that_people_read() {
        assert_eq!(marks(Unit::Count, 7.0), ["0", "2", "4", "6", "8"]);
        assert_eq!(marks(Unit::Count, 1.0), ["0", "1"]);
        assert_eq!(marks(Unit::Count, 0.0), ["0", "1"]);
        assert_eq!(marks(Unit::Part, 0.05), ["0 %", "5 %", "10 %", "15 %", "20 %"]);
        assert_eq!(marks(Unit::Part, 1.0), ["0 %", "50 %", "100 %"]);
        assert_eq!(marks(Unit::Time, 40.0), ["0", "10 s", "20 s", "30 s", "40 s"]);
        assert_eq!(marks(Unit::Time, 5400.0), ["0", "50 min", "100 min"]);
        assert_eq!(marks(Unit::Time, 9000.0), ["0", "1 h", "2 h", "3 h"]);
        assert_eq!(marks(Unit::Time, 864_000.0), ["0", "5 d", "10 d"]);
        for highest in [0.0, 1e-9, 3.3, 99.0, 1e12] {
            let axis = Axis::of(Unit::Time, highest);
            assert!(axis.y(highest) >= TOP && axis.y(highest) <= BOTTOM, "{highest}");
        }
    }

    #[test]
    fn values_are_told_in_words() {
        let said = [42.0, 90.0, 9000.0, 259_200.0].map(|seconds| in_words(seconds, Unit::Time));
        assert_eq!(said, ["42 s", "1.5 min", "2.5 h", "3 days"]);
        assert_eq!((in_words(0.125, Unit::Part), in_words(3.0, Unit::Count)), ("12.5 %".into(), "3".into()));
    }

    #[test]
    fn a_drawing_has_no_style_of_its_own_and_says_what_it_shows() {
        for values in [vec![], vec![None, None], vec![Some(2.0)], vec![Some(0.0), None, Some(5.0)]] {
            let dates: Vec<String> = (0..values.len()).map(|day| format!("{} Nov", day + 1)).collect();
            for form in [Form::Bars, Form::Line] {
                let (id, title, unit, step) = ("x", "Deployments <a week>", Unit::Count, Period::Week);
                let drawn = Chart { id, title, unit, form, values: &values, dates: &dates, step }
                    .draw()
                    .into_string();
                assert!(drawn.contains("Deployments &lt;a week&gt;") && drawn.contains("<desc"), "{drawn}");
                assert!(
                    !drawn.contains("style=") && !drawn.contains("NaN") && !drawn.contains("inf"),
                    "{drawn}"
                );
                assert_eq!(drawn.matches("<g>").count(), values.iter().flatten().count());
            }
        }
    }
}
