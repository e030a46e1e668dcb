//! The faults, the stages in which they happen, and how each may end.

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    Interrupt,
    Terminate,
    Kill,
    #[serde(rename = "cut_for_5_s")]
    CutFor5,
    #[serde(rename = "cut_for_60_s")]
    CutFor60,
    CutForGood,
    NoSshd,
    EngineRestarted,
    EngineKilled,
    WorkerKilled,
    AgentsKilled,
    MachineKilled,
    DiskFull,
    ClockJumps,
}

/// Where in a deployment it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum At {
    Validating,
    Pulling,
    Building,
    BackingUp,
    Deploying,
    Verifying,
    RollingBack,
}

/// Which release runs in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ends {
    Old,
    New,
}

impl Fault {
    pub(super) const ALL: [Self; 14] = [
        Self::Interrupt,
        Self::Terminate,
        Self::Kill,
        Self::CutFor5,
        Self::CutFor60,
        Self::CutForGood,
        Self::NoSshd,
        Self::EngineRestarted,
        Self::EngineKilled,
        Self::WorkerKilled,
        Self::AgentsKilled,
        Self::MachineKilled,
        Self::DiskFull,
        Self::ClockJumps,
    ];

    /// In the words of the table.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT to the runner",
            Self::Terminate => "SIGTERM to the runner",
            Self::Kill => "SIGKILL to the runner",
            Self::CutFor5 => "link cut for 5 s",
            Self::CutFor60 => "link cut for 60 s",
            Self::CutForGood => "link cut for good",
            Self::NoSshd => "sshd stopped",
            Self::EngineRestarted => "Docker daemon restarted",
            Self::EngineKilled => "Docker daemon killed, back after 5 s",
            Self::WorkerKilled => "worker killed",
            Self::AgentsKilled => "worker and guard killed",
            Self::MachineKilled => "whole host killed and started again",
            Self::DiskFull => "disk full",
            Self::ClockJumps => "clock jumps an hour",
        }
    }
}

impl At {
    pub(super) const ALL: [Self; 7] = [
        Self::Validating,
        Self::Pulling,
        Self::Building,
        Self::BackingUp,
        Self::Deploying,
        Self::Verifying,
        Self::RollingBack,
    ];

    /// The stage, as events name it.
    pub(super) const fn stage(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Pulling => "pulling",
            Self::Building => "building",
            Self::BackingUp => "backing_up",
            Self::Deploying => "deploying",
            Self::Verifying => "verifying",
            Self::RollingBack => "rolling_back",
        }
    }

    const fn is_before_the_switch(self) -> bool {
        matches!(self, Self::Pulling | Self::Building | Self::BackingUp)
    }
}

/// One fault in one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) fault: Fault,
    pub(super) at: At,
}

/// Exit code of a runner that SIGKILL has ended.
const KILLED: i32 = 137;

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        let of = |at| Fault::ALL.into_iter().map(move |fault| Self { fault, at });
        At::ALL.into_iter().flat_map(of).collect()
    }

    /// `worker_killed-pulling`.
    pub(super) fn name(self) -> String {
        let fault = serde_json::to_value(self.fault).expect("a fault is a word");
        format!("{}-{}", fault.as_str().unwrap_or_default(), self.at.stage())
    }

    /// The exit codes of the runner and the releases that may run in the end (DESIGN section 5), the most usual first.
    pub(super) fn may_end(self) -> Vec<(i32, Ends)> {
        use Ends::{New, Old};
        let goes_on = if self.at == At::RollingBack { Old } else { New };
        match self.fault {
            Fault::Interrupt | Fault::Terminate => self.cancelled(),
            Fault::Kill if self.at == At::Validating => vec![(KILLED, Old)],
            Fault::Kill => vec![(KILLED, goes_on)],
            Fault::ClockJumps => self.undisturbed(),
            Fault::CutFor5 | Fault::CutFor60 => match self.at {
                At::Validating => vec![(7, Old), (0, New)],
                _ => self.undisturbed(),
            },
            Fault::CutForGood | Fault::NoSshd => match self.at {
                At::Validating => vec![(7, Old)],
                _ => vec![(11, goes_on)],
            },
            Fault::EngineRestarted | Fault::EngineKilled => self.without_engine(),
            Fault::WorkerKilled | Fault::AgentsKilled => match self.at {
                At::Validating => vec![(7, Old), (0, New)],
                _ => self.recovered(),
            },
            Fault::MachineKilled => match self.at {
                At::Validating => vec![(7, Old)],
                _ => [self.recovered(), vec![(11, Old)]].concat(),
            },
            Fault::DiskFull => self.on_a_full_disk(),
        }
    }

    fn cancelled(self) -> Vec<(i32, Ends)> {
        match self.at {
            // Going back already: a cancel changes nothing.
            At::RollingBack => vec![(4, Ends::Old)],
            _ => vec![(8, Ends::Old)],
        }
    }

    fn undisturbed(self) -> Vec<(i32, Ends)> {
        match self.at {
            At::RollingBack => vec![(4, Ends::Old)],
            _ => vec![(0, Ends::New)],
        }
    }

    fn recovered(self) -> Vec<(i32, Ends)> {
        let exit = if self.at.is_before_the_switch() { 9 } else { 4 };
        vec![(exit, Ends::Old)]
    }

    /// What the daemon was doing has failed, or was not asked of it yet.
    fn without_engine(self) -> Vec<(i32, Ends)> {
        use Ends::{New, Old};
        match self.at {
            At::Validating => vec![(0, New), (3, Old)],
            At::RollingBack => vec![(4, Old)],
            at if at.is_before_the_switch() => vec![(9, Old), (0, New)],
            _ => vec![(4, Old), (0, New)],
        }
    }

    fn on_a_full_disk(self) -> Vec<(i32, Ends)> {
        use Ends::{New, Old};
        match self.at {
            At::Validating => vec![(3, Old), (9, Old)],
            At::RollingBack => vec![(4, Old)],
            at if at.is_before_the_switch() => vec![(9, Old), (0, New)],
            _ => vec![(0, New), (4, Old)],
        }
    }
}
