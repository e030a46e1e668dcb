//! What a Dockerfile says of the image that it makes: as much of it as the rules ask for.
//!
//! Enter by [`Dockerfile::parse`], then [`Dockerfile::image`] for one stage. Written for the host's half, where a
//! whole parser would be dear; tests hold it against one. What `docker build` would refuse is read as far as it goes:
//! Docker says it better. Values of variables that look secret are never given away: [`Literal`] has names only.

mod lines;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use lines::Instruction;

/// A Dockerfile, stage by stage.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    escape: char,
    /// `ARG` before the first `FROM`.
    globals: Vec<Instruction>,
    stages: Vec<Stage>,
}

/// `FROM …` and what follows it.
#[derive(Clone, Debug)]
struct Stage {
    /// As it was written, variables included.
    base: String,
    name: Option<String>,
    line: u32,
    instructions: Vec<Instruction>,
}

/// What an image of this Dockerfile will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Line of the `FROM` of its stage, from 1.
    pub line: u32,
    /// Name of its stage.
    pub stage: Option<String>,
    /// The last `USER`, inherited from stages that it starts from; absent: that of [`Image::base`].
    pub user: Option<User>,
    /// Whether the last `HEALTHCHECK` is one; absent: that of [`Image::base`].
    pub healthcheck: Option<bool>,
    /// The image that it starts from in the end: `scratch`, or one from elsewhere; absent where a variable has no value.
    pub base: Option<String>,
    /// Names of users that a `RUN` gives the id 0.
    pub aliases_of_root: Vec<String>,
}

/// A `USER` instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its value with variables filled in; absent where one has no value.
    pub value: Option<String>,
    /// Its line, from 1.
    pub line: u32,
}

/// A variable with a value that is written in the Dockerfile. The value is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// `ENV` or `ARG`.
    pub instruction: String,
    /// Name of the variable.
    pub name: String,
    /// Line of the instruction, from 1.
    pub line: u32,
}

/// How far the reading of a stage has come.
#[derive(Clone, Debug, Default)]
struct State {
    environment: BTreeMap<String, String>,
    arguments: BTreeMap<String, String>,
    later: Vec<Instruction>,
    image: Image,
}

impl Dockerfile {
    /// Reads a Dockerfile. Anything is one: what is not understood is passed over.
    pub fn parse(text: &str) -> Self {
        let (instructions, escape) = lines::read(text);
        let mut read = Self { escape, globals: Vec::new(), stages: Vec::new() };
        for instruction in instructions {
            match (instruction.keyword.as_str(), read.stages.last_mut()) {
                ("FROM", _) => read.stages.push(Stage::of(&instruction, escape)),
                (_, Some(stage)) => stage.instructions.push(instruction),
                ("ARG", None) => read.globals.push(instruction),
                (_, None) => {}
            }
        }
        read
    }

    /// Returns what the image of a stage will be; `target` is its name or number, absent: the last. `arguments` are build
    /// arguments with their values. Nothing when there is no such stage.
    pub fn image(&self, target: Option<&str>, arguments: &BTreeMap<String, String>) -> Option<Image> {
        let last = self.stages.len().checked_sub(1)?;
        let wanted = match target.filter(|target| !target.is_empty()) {
            Some(target) => self.stage(target, self.stages.len()).or_else(|| {
                let number: usize = target.parse().ok()?;
                (number <= last).then_some(number)
            })?,
            None => last,
        };
        let mut chain = vec![wanted];
        let globals = self.globals(arguments);
        let mut base = None;
        while let Some(&at) = chain.last() {
            let written = words::fill(&self.stages[at].base, &globals, self.escape);
            match self.stage(&written.text, at) {
                Some(before) => chain.push(before),
                None => {
                    base = (!written.is_open && !written.text.is_empty()).then_some(written.text);
                    break;
                }
            }
        }
        let mut state = State::default();
        for at in chain.into_iter().rev() {
            self.run_stage(&self.stages[at], &mut state, (&globals, arguments));
        }
        Some(Image { base, ..state.image })
    }

    /// Returns the images from elsewhere that stages start from, in order, each once; without `scratch`, and without
    /// those that only an argument without a default would tell.
    pub fn base_images(&self) -> Vec<String> {
        let globals = self.globals(&BTreeMap::new());
        let mut images = Vec::new();
        for (at, stage) in self.stages.iter().enumerate() {
            let base = words::fill(&stage.base, &globals, self.escape);
            let is_foreign = self.stage(&base.text, at).is_none() && base.text != "scratch";
            if is_foreign && !base.is_open && !base.text.is_empty() && !images.contains(&base.text) {
                images.push(base.text);
            }
        }
        images
    }

    /// Returns the variables that `ENV` or `ARG` gives a value of the file's own, in all stages, as far as `counts` says so
    /// of a name and its value.
    pub fn literals(&self, counts: impl Fn(&str, &str) -> bool) -> Vec<Literal> {
        let globals = self.globals(&BTreeMap::new());
        let mut found = Vec::new();
        let stages = self.stages.iter().map(|stage| stage.instructions.as_slice());
        for instructions in std::iter::once(self.globals.as_slice()).chain(stages) {
            let mut state = State::default();
            for instruction in instructions {
                let inner = instruction.kept_for_later().unwrap_or_else(|| instruction.clone());
                let before = [&state.arguments, &state.environment];
                let pairs = self.values_of(&inner, &merged(before)).into_iter();
                let counting = pairs.filter(|(name, value)| !value.is_empty() && counts(name, value));
                found.extend(counting.map(|(name, _)| Literal {
                    instruction: inner.keyword.clone(),
                    name,
                    line: inner.line,
                }));
                self.run(&inner, &mut state, (&globals, &BTreeMap::new()));
            }
        }
        found
    }

    /// A stage before `limit` by its name, as `FROM` finds it.
    fn stage(&self, name: &str, limit: usize) -> Option<usize> {
        let is_it = |stage: &Stage| stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        self.stages.iter().take(limit).rposition(is_it)
    }

    fn globals(&self, arguments: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut known = BTreeMap::new();
        for arg in &self.globals {
            for (name, default) in self.declared(arg, &known) {
                if let Some(value) = arguments.get(&name).cloned().or(default) {
                    known.insert(name, value);
                }
            }
        }
        known
    }

    /// Names of an `ARG`, with their defaults.
    fn declared(
        &self,
        arg: &Instruction,
        variables: &BTreeMap<String, String>,
    ) -> Vec<(String, Option<String>)> {
        let each =
            words::split(&arg.rest, self.escape).into_iter().map(|word| match words::assignment(&word) {
                Some((name, value)) => {
                    (name.to_owned(), Some(words::fill(value, variables, self.escape).text))
                }
                None => (word, None),
            });
        each.collect()
    }

    fn run_stage(&self, stage: &Stage, state: &mut State, given: Given<'_>) {
        state.image.line = stage.line;
        state.image.stage = stage.name.clone();
        state.arguments.clear();
        for instruction in std::mem::take(&mut state.later).iter().chain(&stage.instructions) {
            self.run(instruction, state, given);
        }
    }

    fn run(&self, instruction: &Instruction, state: &mut State, given: Given<'_>) {
        match instruction.keyword.as_str() {
            "ARG" => self.run_arg(instruction, state, given),
            "ENV" => {
                let variables = state.variables();
                for (name, value) in self.set(instruction) {
                    state.environment.insert(name, words::fill(&value, &variables, self.escape).text);
                }
            }
            "USER" => {
                let user = words::fill(&instruction.rest, &state.variables(), self.escape);
                let value = (!user.is_open).then_some(user.text);
                state.image.user = Some(User { value, line: instruction.line });
            }
            "HEALTHCHECK" => {
                let is_none = instruction.rest.eq_ignore_ascii_case("NONE");
                state.image.healthcheck = Some(!is_none);
            }
            "RUN" => state.image.aliases_of_root.extend(aliases_of_root(&instruction.rest)),
            "ONBUILD" => state.later.extend(instruction.kept_for_later()),
            _ => {}
        }
    }

    /// A stage knows a global argument only once it has declared it, too.
    fn run_arg(&self, instruction: &Instruction, state: &mut State, (globals, arguments): Given<'_>) {
        for (name, default) in self.declared(instruction, &state.variables()) {
            let value = arguments.get(&name).cloned().or(default).or_else(|| globals.get(&name).cloned());
            if let Some(value) = value {
                state.arguments.insert(name, value);
            }
        }
    }

    /// Names and values of an `ENV`, in both its forms, values as they were written.
    fn set(&self, env: &Instruction) -> Vec<(String, String)> {
        let parts = words::split(&env.rest, self.escape);
        if parts.first().is_some_and(|first| !first.contains('=')) {
            let (name, value) = env.rest.split_once(char::is_whitespace).unwrap_or((&env.rest, ""));
            return vec![(name.to_owned(), value.trim().to_owned())];
        }
        let pairs = parts.iter().filter_map(|word| words::assignment(word));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// What an `ENV` or `ARG` sets, with values filled in.
    fn values_of(
        &self,
        instruction: &Instruction,
        variables: &BTreeMap<String, String>,
    ) -> Vec<(String, String)> {
        match instruction.keyword.as_str() {
            "ENV" => {
                let fill = |value: &str| words::fill(value, variables, self.escape).text;
                self.set(instruction).into_iter().map(|(name, value)| (name, fill(&value))).collect()
            }
            "ARG" => {
                let declared = self.declared(instruction, variables).into_iter();
                declared.filter_map(|(name, default)| Some((name, default?))).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Global arguments with their values, and the build arguments that were given.
type Given<'a> = (&'a BTreeMap<String, String>, &'a BTreeMap<String, String>);

impl Stage {
    fn of(from: &Instruction, escape: char) -> Self {
        let mut parts = words::split(&from.rest, escape).into_iter().filter(|word| !word.starts_with("--"));
        let base = parts.next().unwrap_or_default();
        let name = parts.next().filter(|word| word.eq_ignore_ascii_case("AS")).and_then(|_| parts.next());
        Self { base, name, line: from.line, instructions: Vec::new() }
    }
}

impl State {
    /// What a variable is: `ENV` wins over `ARG`.
    fn variables(&self) -> BTreeMap<String, String> {
        merged([&self.arguments, &self.environment])
    }
}

fn merged<const N: usize>(maps: [&BTreeMap<String, String>; N]) -> BTreeMap<String, String> {
    maps.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Returns whether a `USER`, or `user:` of a service, means uid 0 by itself: `root`, or a number that is 0, with or
/// without a group. Nothing at all is root, too.
pub fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default().trim();
    name.is_empty() || name == "root" || name.parse::<i64>().is_ok_and(|id| id == 0)
}

/// Returns the names of users to whom a shell line gives the id 0 (`useradd -o -u 0 admin`).
pub fn aliases_of_root(line: &str) -> Vec<String> {
    let commands = line.split(['&', ';', '|', '\n']);
    let alias = |command: &str| {
        // Builders end the lines of a history with a comment.
        let words: Vec<&str> = command.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let program = words
            .iter()
            .position(|word| matches!(word.rsplit('/').next(), Some("useradd" | "adduser" | "usermod")))?;
        let flags = &words[program + 1..];
        let is_zero = |value: &str| value.parse::<i64>().is_ok_and(|id| id == 0);
        let is_root = flags.iter().enumerate().any(|(at, flag)| match flag.strip_prefix("--uid=") {
            Some(value) => is_zero(value),
            None if is_uid_flag(flag) => flags.get(at + 1).is_some_and(|value| is_zero(value)),
            None => flag.strip_prefix("-u").is_some_and(is_zero),
        });
        let name = flags.last().filter(|name| !name.starts_with('-'))?;
        is_root.then(|| (*name).to_owned())
    };
    commands.filter_map(alias).collect()
}

/// `-u`, `--uid`, or short flags of which the last one is `u` (`-ou`).
fn is_uid_flag(flag: &str) -> bool {
    let is_short = |flag: &str| flag.starts_with('-') && !flag.starts_with("--") && flag.ends_with('u');
    flag == "--uid" || is_short(flag)
}
