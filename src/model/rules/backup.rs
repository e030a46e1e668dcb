//! Rules on what a backup could not hold as it should.

use super::{Example, Group, Rule, Silence, Weight};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "backup.symlink",
        group: Group::Backup,
        title: "what is backed up is not just a link",
        looks_at: "Symlinks among `backup.paths`.",
        why: "Only the link is in the archive, not what it points to.",
        mend: "Name the directory that it points to in `backup.paths`, if it is the app's, or make it a volume.",
        weight: Weight::Warning,
        breaks: Example::Console("$ ln -s /mnt/big/data data"),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    backup: { volumes: [data] }",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "backup.live",
        group: Group::Backup,
        title: "no running service writes to a volume while it is backed up",
        looks_at: "Which running services use the volumes that are backed up.",
        why: "A database that is copied while it writes may need its own recovery after a restore.",
        mend: "Stop the service first, or have it write a dump into a directory that is backed up.",
        weight: Weight::Warning,
        breaks: Example::Words("Volume `pgdata` is backed up while `db` runs."),
        keeps: Example::Words("A job writes `pg_dump` into `data/dumps`, which is backed up."),
        silence: Silence::May,
    },
    Rule {
        id: "backup.changed",
        group: Group::Backup,
        title: "files stay as they are while they are backed up",
        looks_at: "Files that changed or vanished while they were read.",
        why: "The archive holds moments of several states.",
        mend: "Stop the service that writes them for a backup of one moment.",
        weight: Weight::Warning,
        breaks: Example::Words("A log grows while it is read."),
        keeps: Example::Words("Only what stands still is under `backup.paths`."),
        silence: Silence::May,
    },
    Rule {
        id: "backup.skipped",
        group: Group::Backup,
        title: "everything under the backup's paths has content",
        looks_at: "Sockets, FIFOs and devices under `backup.paths`.",
        why: "They have no content that could be saved.",
        mend: "Nothing needs to be done; the service makes them again when it starts.",
        weight: Weight::Warning,
        breaks: Example::Words("`data/app.sock` lies beside the data."),
        keeps: Example::Words("Sockets lie in `/run`."),
        silence: Silence::May,
    },
];
