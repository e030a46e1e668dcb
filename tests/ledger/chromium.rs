//! A real Chromium with a driver of its own, for tests of the pages: it may reach this machine alone, and what it complains
//! of fails the test.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};

/// Longest wait for anything that must appear in a page.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sizes of a window, in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    Phone,
    Desk,
}

/// Colours that the system asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Theme {
    Light,
    Dark,
}

/// A browser, and the program that drives it.
pub(crate) struct Chromium {
    driver: Child,
    pub(crate) client: Client,
    base: String,
}

/// A command that only Chromium's driver knows.
#[derive(Debug)]
struct Own(&'static str, Value);

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}

impl Chromium {
    /// Starts one for the pages of a server; nothing where there is none, unless it is required.
    pub(crate) async fn at(base: &str) -> Option<Self> {
        let found = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
        };
        // GitHub's runners have a Chrome that their driver belongs to; Debian has Chromium.
        let browser = found("google-chrome").or_else(|| found("chromium"));
        let (Some(browser), Some(driver)) = (browser, found("chromedriver")) else {
            let required = std::env::var("FFE_TEST_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|tool| tool == "chromium"),
                "no chromium or chromedriver, and FFE_TEST_REQUIRE lists it: run scripts/services"
            );
            eprintln!("SKIPPED: no chromium or chromedriver: run scripts/services");
            return None;
        };
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            line.split("successfully on port ").nth(1).map(|port| port.trim_end_matches('.').to_owned())
        });
        // What it says later is read as well: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let capabilities = json!({
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"binary": browser, "args": [
                // Root has no sandbox; the pages are ours.
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--lang=en", "--force-color-profile=srgb",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            ]},
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let client = builder.connect(&format!("http://127.0.0.1:{}", port.unwrap())).await.unwrap();
        Some(Self { driver, client, base: base.to_owned() })
    }

    async fn own(&self, endpoint: &'static str, body: Value) -> Value {
        self.client.issue_cmd(Own(endpoint, body)).await.unwrap()
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.own("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    pub(crate) async fn looks(&self, size: Size, theme: Theme) {
        let (width, height, is_mobile) = match size {
            Size::Phone => (360, 740, true),
            Size::Desk => (1280, 860, false),
        };
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_mobile});
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        let value = match theme {
            Theme::Light => "light",
            Theme::Dark => "dark",
        };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    pub(crate) async fn opens(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.unwrap();
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(crate) async fn presses(&self, keys: &str) {
        let actions = keys.chars().fold(KeyActions::new("keyboard".to_owned()), |actions, value| {
            actions.then(KeyAction::Down { value }).then(KeyAction::Up { value })
        });
        self.client.perform_actions(actions).await.unwrap();
    }

    /// Presses Tab until what has the focus matches a selector.
    pub(crate) async fn tabs_to(&self, selector: &str) {
        let script = format!("return document.activeElement.matches({})", json!(selector));
        for _ in 0..60 {
            if self.run(&script).await == true {
                let is_seen = "return getComputedStyle(document.activeElement).outlineStyle !== 'none'";
                assert_eq!(self.run(is_seen).await, true, "the focus on {selector} is not seen");
                return;
            }
            self.presses("\u{e004}").await;
        }
        panic!("no {selector} by Tab");
    }

    /// Waits until the page shows a text.
    pub(crate) async fn waits_for(&self, text: &str) {
        let began = std::time::Instant::now();
        let script = format!("return document.body?.innerText.includes({})", json!(text));
        while self.run(&script).await != true {
            let page = self.run("return document.body?.innerText").await;
            assert!(began.elapsed() < PATIENCE, "no `{text}` in {page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Saves the whole page as a picture below `$FFE_TEST_SCREENSHOTS`, when that is set.
    pub(crate) async fn saves(&self, name: &str) {
        let Some(directory) = std::env::var_os("FFE_TEST_SCREENSHOTS").map(PathBuf::from) else { return };
        std::fs::create_dir_all(&directory).unwrap();
        let taken = self.devtools("Page.captureScreenshot", json!({"captureBeyondViewport": true})).await;
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::write(directory.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Checks what has to be true of every page: nothing to scroll sideways, and everything readable.
    pub(crate) async fn is_readable(&self, what: &str) {
        let wide = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]";
        let wide = self.run(wide).await;
        assert!(wide[0].as_i64() <= wide[1].as_i64(), "{what}: {wide} is wider than the window");
        let found = self.run(include_str!("contrast.js")).await;
        assert!(found["seen"].as_i64() > Some(3), "{what}: nothing was looked at: {found}");
        assert_eq!(found["weak"], json!([]), "{what}");
    }

    /// Ends it: it has complained of nothing, and asked nobody else.
    pub(crate) async fn end(mut self) {
        let complaints = self.own("se/log", json!({"type": "browser"})).await;
        let is_bad = |line: &&Value| matches!(line["level"].as_str(), Some("SEVERE" | "WARNING"));
        let bad: Vec<&Value> = complaints.as_array().unwrap().iter().filter(is_bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        let events = self.own("se/log", json!({"type": "performance"})).await;
        let asked: Vec<String> = events.as_array().unwrap().iter().filter_map(asked_for).collect();
        assert!(asked.iter().any(|url| url.starts_with(&self.base)), "nothing was loaded: {asked:#?}");
        for url in asked {
            assert!(url.starts_with(&self.base) || url.starts_with("data:"), "{url}");
        }
        self.client.clone().close().await.unwrap();
        self.driver.kill().unwrap();
        self.driver.wait().unwrap();
    }
}

/// The address of a request, when a line of the log is about one.
fn asked_for(line: &Value) -> Option<String> {
    let event: Value = serde_json::from_str(line["message"].as_str()?).ok()?;
    let event = &event["message"];
    (event["method"] == "Network.requestWillBeSent")
        .then(|| event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned())
        .filter(|url| !url.starts_with("chrome") && !url.starts_with("about:"))
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // After `end` it is gone; after a failure the driver takes its browser with it.
        drop(Command::new("kill").arg(self.driver.id().to_string()).stderr(Stdio::null()).status());
        drop(self.driver.wait());
    }
}
