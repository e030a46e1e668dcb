//! What the runner has to build (`build: runner`), read from the model that only the host has.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::executor::variables::Resolved;
use crate::model::compose::ComposeModel;
use crate::model::{BuildOrder, BuildOrders, BuildSecret, Finding};

/// Keys of `build:` that an order carries; others are told and left out.
const KNOWN: [&str; 18] = [
    "context",
    "dockerfile",
    "dockerfile_inline",
    "target",
    "platforms",
    "args",
    "labels",
    "additional_contexts",
    "secrets",
    "extra_hosts",
    "cache_from",
    "cache_to",
    "ssh",
    "network",
    "shm_size",
    "pull",
    "no_cache",
    "provenance",
];

/// Returns the orders, one for each image, and what is wrong with what would be ordered.
pub fn build_orders(
    model: &ComposeModel,
    project_dir: &Path,
    variables: &Resolved,
) -> (BuildOrders, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut images: Vec<BuildOrder> = Vec::new();
    for (name, _) in model.built() {
        let raw = &model.raw["services"][name];
        let Some(image) = model.services[name].image.clone().filter(|image| can_be_pushed(image)) else {
            findings.push(no_image(name, model.services[name].image.as_deref()));
            continue;
        };
        findings.extend(left_out(name, &raw["build"]));
        let source = Source { raw, model, project_dir, variables };
        let order = BuildOrder { services: Vec::new(), ..source.order(image) };
        let same_image = images.iter_mut().find(|other| other.image == order.image);
        match same_image {
            Some(other) if BuildOrder { services: Vec::new(), ..other.clone() } == order => {
                other.services.push(name.to_owned());
            }
            Some(other) => findings.push(two_builds(name, other)),
            None => images.push(BuildOrder { services: vec![name.to_owned()], ..order }),
        }
    }
    let hidden =
        if images.is_empty() { Vec::new() } else { variables.secret_values().map(str::to_owned).collect() };
    (BuildOrders { images, hidden }, findings)
}

/// A name that is pushed says where: `ghcr.io/org/app:1`, or `org/app:1` for Docker Hub, and no digest.
fn can_be_pushed(image: &str) -> bool {
    image.contains('/') && !image.contains('@')
}

fn no_image(service: &str, image: Option<&str>) -> Finding {
    let has = match image {
        None => "has no `image:`".to_owned(),
        Some(image) => format!("has `image: {image}`, which names no place in a registry"),
    };
    let message =
        format!("`{service}` is built by the runner (`build: runner`) and pushed from there, but {has}");
    let hint = format!(
        "add to `{service}` in the compose file, with your registry: `image: ghcr.io/OWNER/{service}:${{VERSION:-latest}}`"
    );
    Finding::error("build.image", message, hint)
}

fn two_builds(service: &str, other: &BuildOrder) -> Finding {
    let first = other.services.first().map_or("another service", String::as_str);
    let message =
        format!("`{service}` and `{first}` build two different images of one name, `{}`", other.image);
    Finding::error("build.image", message, "give each its own `image:`, or the same `build:`")
}

fn left_out(service: &str, build: &Value) -> Option<Finding> {
    let keys = build.as_object()?.keys().filter(|key| !KNOWN.contains(&key.as_str()));
    let keys: Vec<String> = keys.map(|key| format!("`{key}`")).collect();
    let message = format!("`build: runner` leaves {} of `{service}` out", keys.join(", "));
    let hint = "build with `build: host`, or write it into the Dockerfile";
    (!keys.is_empty()).then(|| Finding::warning("build.keys", message, hint))
}

/// One service's `build:`, and what its words refer to.
struct Source<'a> {
    raw: &'a Value,
    model: &'a ComposeModel,
    project_dir: &'a Path,
    variables: &'a Resolved,
}

impl Source<'_> {
    fn order(&self, image: String) -> BuildOrder {
        let build = &self.raw["build"];
        let text = |key: &str| build[key].as_str().map(str::to_owned);
        BuildOrder {
            services: Vec::new(),
            image,
            context: self.path(build["context"].as_str().unwrap_or(".")),
            dockerfile: text("dockerfile"),
            dockerfile_inline: text("dockerfile_inline"),
            target: text("target"),
            platforms: self.platforms(),
            args: self.args(),
            labels: texts_by_name(&build["labels"]),
            additional_contexts: texts_by_name(&build["additional_contexts"])
                .into_iter()
                .map(|(name, context)| (name, self.path(&context)))
                .collect(),
            secrets: self.secrets(),
            extra_hosts: pairs(&build["extra_hosts"]),
            cache_from: texts(&build["cache_from"]),
            cache_to: texts(&build["cache_to"]),
            ssh: pairs(&build["ssh"]),
            network: text("network"),
            shm_size: text("shm_size"),
            pull: build["pull"].as_bool().unwrap_or(false),
            no_cache: build["no_cache"].as_bool().unwrap_or(false),
        }
    }

    /// A path below the project relative to it; anything else as it is, for the runner to judge.
    fn path(&self, path: &str) -> String {
        match super::mounts::relative(path, self.project_dir) {
            Some(inside) if inside.is_empty() => ".".to_owned(),
            Some(inside) => inside,
            None => path.to_owned(),
        }
    }

    fn platforms(&self) -> Vec<String> {
        let wanted = texts(&self.raw["build"]["platforms"]);
        let of_service = self.raw["platform"].as_str().map(str::to_owned);
        if wanted.is_empty() { of_service.into_iter().collect() } else { wanted }
    }

    /// An argument without a value takes that of the release's variable; without one it is not passed, as with Compose.
    fn args(&self) -> BTreeMap<String, String> {
        let Some(args) = self.raw["build"]["args"].as_object() else { return BTreeMap::new() };
        let value = |name: &String, value: &Value| match value {
            Value::Null => self.variables.values.get(name).cloned(),
            value => Some(text_of(value)),
        };
        args.iter().filter_map(|(name, given)| Some((name.clone(), value(name, given)?))).collect()
    }

    fn secrets(&self) -> BTreeMap<String, BuildSecret> {
        let Some(used) = self.raw["build"]["secrets"].as_array() else { return BTreeMap::new() };
        used.iter().filter_map(|used| self.secret(used)).collect()
    }

    fn secret(&self, used: &Value) -> Option<(String, BuildSecret)> {
        let source = used["source"].as_str().or_else(|| used.as_str())?;
        let id = used["target"].as_str().unwrap_or(source).to_owned();
        let definition = &self.model.raw["secrets"][source];
        if let Some(file) = definition["file"].as_str() {
            return Some((id, BuildSecret::File(self.path(file))));
        }
        let value = self.variables.values.get(definition["environment"].as_str()?)?;
        Some((id, BuildSecret::Value(value.clone())))
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(text_of).collect()
}

fn texts_by_name(map: &Value) -> BTreeMap<String, String> {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), text_of(value))).collect()
}

/// A list, or a map whose entries are written `name=value`.
fn pairs(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| format!("{name}={}", text_of(value))).collect(),
        list => texts(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(services: &str) -> (BuildOrders, Vec<Finding>) {
        let text = format!(
            r#"{{"name": "shop", "services": {services}, "secrets": {{"npm": {{"environment": "NPM_TOKEN"}}, "key": {{"file": "/p/key"}}}}}}"#
        );
        let model = ComposeModel::from_json(&text).unwrap();
        let values = BTreeMap::from([("NPM_TOKEN".to_owned(), "npm-1234".to_owned())]);
        let variables = Resolved { values, secrets: ["NPM_TOKEN".to_owned()].into() };
        build_orders(&model, Path::new("/p"), &variables)
    }

    #[test]
    fn an_order_has_what_compose_would_build() {
        let (orders, findings) = orders(
            r#"{"web": {"image": "ghcr.io/o/web:1", "platform": "linux/arm64", "build": {"context": "/p/web", "dockerfile": "Dockerfile.prod",
                "args": {"A": "1", "NPM_TOKEN": null, "UNSET": null}, "secrets": [{"source": "npm"}, {"source": "key", "target": "k"}],
                "additional_contexts": {"base": "docker-image://x", "lib": "/p/lib"}, "extra_hosts": ["a=1.2.3.4"]}},
                "worker": {"image": "ghcr.io/o/all:1", "build": {"context": "/p"}},
                "cron": {"image": "ghcr.io/o/all:1", "build": {"context": "/p"}}, "db": {"image": "postgres:16"}}"#,
        );
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(orders.hidden, ["npm-1234"]);
        let [all, web] = &orders.images[..] else { panic!("two images") };
        assert_eq!((all.context.as_str(), all.services.join(" ")), (".", "cron worker".to_owned()));
        assert_eq!(
            (web.context.as_str(), web.platforms.as_slice()),
            ("web", &["linux/arm64".to_owned()][..])
        );
        let args: Vec<_> = web.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(args, ["A=1", "NPM_TOKEN=npm-1234"]);
        assert!(web.secrets["npm"] == BuildSecret::Value("npm-1234".into()));
        assert!(web.secrets["k"] == BuildSecret::File("key".into()));
        assert_eq!(web.additional_contexts["lib"], "lib");
    }

    #[test]
    fn what_cannot_be_pushed_is_refused_with_the_line_to_add() {
        let (orders, findings) = orders(
            r#"{"a": {"build": {"context": "/p"}}, "b": {"image": "b:1", "build": {"context": "/p"}},
                "c": {"image": "g.io/c:1", "build": {"context": "/p", "privileged": true}},
                "d": {"image": "g.io/c:1", "build": {"context": "/p/d"}}}"#,
        );
        assert_eq!(orders.images.len(), 1);
        let said: Vec<_> = findings.iter().map(|f| format!("{}: {}", f.rule, f.message)).collect();
        assert!(
            said[0].contains("build.image: `a` is built by the runner") && said[0].contains("no `image:`")
        );
        assert!(findings[0].hint.as_ref().unwrap().contains("`image: ghcr.io/OWNER/a:${VERSION:-latest}`"));
        assert!(said[1].contains("`image: b:1`, which names no place"));
        assert!(said[2].contains("build.keys: `build: runner` leaves `privileged` of `c` out"));
        assert!(said[3].contains("`d` and `c` build two different images of one name"), "{said:?}");
    }
}
