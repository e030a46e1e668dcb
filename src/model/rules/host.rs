//! Rules on the machine: room, ports, clock, and who owns what.

use super::{Example, Group, Rule, Silence, Weight};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "host.disk",
        group: Group::Host,
        title: "there is free disk space",
        looks_at: "Free space at the root, for users who are not root, against `requirements.disk_gb` of the app (decimal GB).",
        why: "Images, releases and the backup need room at the same time; a full disk breaks services that run well.",
        mend: "Free space (`docker system df` says what images take, `ffe-deploy prune` removes what is not needed), or lower \
               `requirements.disk_gb`. Data that only grows (`data/decisions`) can go after 30 days (R001-64); Prometheus keeps less with `--storage.tsdb.retention.time=15d` (R001-65).",
        weight: Weight::Judged(
            "error below `requirements.disk_gb` where it is written, else a warning below 20 GB (R000-58)",
        ),
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    requirements: { disk_gb: 1000000 }",
        ),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    requirements: { disk_gb: 0.1 }",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "host.memory",
        group: Group::Host,
        title: "there is enough memory",
        looks_at: "MemTotal of the machine against `requirements.memory_gb` of the app (decimal GB).",
        why: "A machine without memory kills services at random, long after the deployment succeeded.",
        mend: "Use a host with more memory, or lower `requirements.memory_gb`. `docker stats` shows who uses it (R001-64).",
        weight: Weight::Judged(
            "error below `requirements.memory_gb` where it is written, else a warning below 4 GB (R000-59)",
        ),
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    requirements: { memory_gb: 1000000 }",
        ),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    requirements: { memory_gb: 0.1 }",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "host.cores",
        group: Group::Host,
        title: "there are two CPU cores or more",
        looks_at: "The cores that this user's processes may use; 2 are wanted (R001-05), 4 are recommended (R001-06).",
        why: "With one core the new containers start on the time of those that serve, and health checks run out.",
        mend: "Use a host with more cores, or give this one more.",
        weight: Weight::Warning,
        breaks: Example::Console("$ nproc\n1"),
        keeps: Example::Console("$ nproc\n4"),
        silence: Silence::May,
    },
    Rule {
        id: "host.inodes",
        group: Group::Host,
        title: "files can still be made",
        looks_at: "Free inodes of the root's file system, where it counts them.",
        why: "A disk with free space and no free inode is full, too, and `df -h` does not show it.",
        mend: "Remove what has many small files: `docker system df`, `sudo du --inodes -x / | sort -n | tail`.",
        weight: Weight::Judged("error below 1000 free inodes, warning below 5 % of them"),
        breaks: Example::Console(
            "$ df -i /srv\nFilesystem      Inodes   IUsed IFree IUse% Mounted on\n/dev/sda1      6553600 6552998   602  100% /",
        ),
        keeps: Example::Console(
            "$ df -i /srv\nFilesystem      Inodes   IUsed   IFree IUse% Mounted on\n/dev/sda1      6553600  412998 6140602    7% /",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "host.architecture",
        group: Group::Host,
        title: "images are for this machine",
        looks_at: "`platform:` of each service, else the architecture of its image where it is on the host already.",
        why: "An image for another architecture ends with `exec format error`, or runs slowly under emulation.",
        mend: "Use an image for the host's architecture (a multi-platform tag), or another host.",
        weight: Weight::Warning,
        breaks: Example::Compose("services:\n  web:\n    image: shop:1.0.0\n    platform: linux/s390x\n"),
        keeps: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "host.ports",
        group: Group::Host,
        title: "the ports that services publish are free",
        looks_at: "Each TCP and UDP port that the compose model publishes. What a container of this project holds is ours already \
                   (C24); another container is named, and any other program where `/proc` lets us read it.",
        why: "Docker would stop the old container and then fail to start the new one (R003-55).",
        mend: "Stop what holds the port, or change the port in the compose file or by its variable in the env file.",
        weight: Weight::Error,
        breaks: Example::Compose(
            "services:\n  one: { image: \"shop:1.0.0\", ports: [\"18080:80\"] }\n  two: { image: \"shop:1.0.0\", ports: [\"18080:80\"] }\n",
        ),
        keeps: Example::Compose(
            "services:\n  one:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n    ports: [\"80\"]\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "host.root",
        group: Group::Host,
        title: "the root is this user's, writable, on a disk of this machine",
        looks_at: "Owner, permissions and file system of `<base>/<app>/<environment>`, or of the nearest directory above it.",
        why: "State that another user owns is another deployment's; on NFS, CIFS, 9p and FUSE locks and renames do not keep \
              what recovery relies on.",
        mend: "Make it this user's (`sudo install -d -o USER PATH`), or set another `root:`; `allow_network_root: true` \
               takes the risk of a network file system.",
        weight: Weight::Error,
        breaks: Example::Console("$ stat -c %U /srv/shop/production\nsomebody-else"),
        keeps: Example::Console("$ stat -c %U /srv/shop/production\ndeploy"),
        silence: Silence::Never("it protects what another user deployed"),
    },
    Rule {
        id: "host.write",
        group: Group::Host,
        title: "the host's directories can be written",
        looks_at: "What a check has to put down on the host, in the agent's cache and the state directory.",
        why: "What cannot be written before the switch cannot be written after it.",
        mend: "Make the directory writable for the user that deploys.",
        weight: Weight::Error,
        breaks: Example::Console(
            "$ touch ~/.cache/x\ntouch: cannot touch '/home/deploy/.cache/x': Read-only file system",
        ),
        keeps: Example::Console("$ touch ~/.cache/x"),
        silence: Silence::Never("nothing can be deployed without it"),
    },
    Rule {
        id: "host.clock",
        group: Group::Host,
        title: "the clocks of runner and host agree",
        looks_at: "The difference of both clocks when the connection is made; 60 s are none.",
        why: "Names of records and backups, their age and every certificate go by the host's clock.",
        mend: "Set the clock that is wrong, and keep it right by NTP (`timedatectl set-ntp true`).",
        weight: Weight::Warning,
        breaks: Example::Words("The host's clock is three hours behind."),
        keeps: Example::Words("Both clocks are kept by NTP."),
        silence: Silence::May,
    },
    Rule {
        id: "host.boot-recovery",
        group: Group::Host,
        title: "a deployment that a restart interrupts is ended at boot",
        looks_at: "Whether the unit for recovery at boot (systemd, else cron) is installed or can be.",
        why: "Power that fails in the middle of the switch leaves half of each release; without the unit the next \
              deployment has to end it.",
        mend: "Install cron (`crontab`), or let init run `ffe-deploy recover` at boot; `recover_at_boot: false` says that \
               this is wanted.",
        weight: Weight::Warning,
        breaks: Example::Words("A host with neither systemd nor cron."),
        keeps: Example::Environments("environments:\n  production: { recover_at_boot: false }"),
        silence: Silence::May,
    },
    Rule {
        id: "inplace.shared-data",
        group: Group::Host,
        title: "no two environments in place write to one directory",
        looks_at: "Writable binds below the project's directory, and containers of other environments that bind the same.",
        why: "Staging that writes into production's database is not staging.",
        mend: "Give one of them a `root:` in environments.yaml, or other paths in a compose file of its own.",
        weight: Weight::Warning,
        breaks: Example::Words(
            "`dev` and `production` are deployed in place from one checkout, and both mount `./data`.",
        ),
        keeps: Example::Environments(
            "environments:\n  dev: { host: local }\n  production: { host: local, root: /srv }",
        ),
        silence: Silence::May,
    },
];
