//! Every order of events in one world, by stateright.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::bounds::Bounds;
use super::ledger::{Breach, Rule};
use super::memory::Memory;
use super::nature::Nature;
use super::start::start;
use super::world::{Step, World};

thread_local! {
    /// What the last panic of this thread said.
    static LAST_WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what a panic says for the report, in the place of printing it.
pub(crate) fn listen_to_panics() {
    std::panic::set_hook(Box::new(|info| {
        LAST_WORDS.with_borrow_mut(|words| *words = info.to_string());
    }));
}

/// One world that is explored.
#[derive(Clone)]
pub(crate) struct Exploration {
    nature: Arc<Nature>,
}

impl Exploration {
    pub(crate) fn of(bounds: Bounds) -> Self {
        let memory = Memory::new();
        let nature = Arc::new(Nature { bounds, memory });
        Self { nature }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.nature.bounds
    }

    /// Explores all of it, and tells how much that was, or how a rule is broken in it.
    pub(crate) fn run(&self) -> Result<String, String> {
        let (begin, name) = (Instant::now(), self.bounds().name);
        let checker = self.clone().checker();
        // The depths first: what is left to do is a path then, and no frontier.
        let found = checker
            .threads(thread::available_parallelism().map_or(1, usize::from))
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_dfs()
            .join();
        let discoveries = found.discoveries();
        let properties = self.properties();
        let is_found = |property: &Property<Self>| discoveries.contains_key(property.name);
        let fails = |property: &Property<Self>| property.expectation.discovery_is_failure();
        if properties.iter().any(|it| fails(it) && is_found(it)) {
            return Err(self.shortest_breach());
        }
        let unseen = properties.iter().filter(|it| !fails(it) && !is_found(it));
        let unseen: Vec<_> = unseen.map(|property| property.name).collect();
        if !unseen.is_empty() {
            return Err(format!("{name}: never happened: {}", unseen.join(", ")));
        }
        let (all, unique) = (found.state_count(), found.unique_state_count());
        let (depth, seconds) = (found.max_depth(), begin.elapsed().as_secs_f64());
        Ok(format!(
            "{name}: {all} states, {unique} unique, depth {depth}, in {seconds:.1} s"
        ))
    }

    /// The shortest way to a broken rule.
    fn shortest_breach(&self) -> String {
        let name = self.bounds().name;
        let checker = self.clone().checker();
        let checker = checker.finish_when(HasDiscoveries::AnyFailures);
        let found = checker.spawn_bfs().join().discoveries();
        let fails = |name| self.property(name).expectation.discovery_is_failure();
        let Some((rule, path)) = found.into_iter().find(|(name, _)| fails(name)) else {
            return format!("{name}: a rule was broken once and not again");
        };
        let last = path.last_state().clone();
        let words = last.breach.as_ref().map(|breach| breach.words.clone());
        let words = words.unwrap_or_default();
        let steps = path.into_actions().into_iter();
        let steps: Vec<_> = steps.map(|step| format!("  {step:?}")).collect();
        format!(
            "{}\n  {last:?}\n{name}: BROKEN: {rule}: {words}",
            steps.join("\n")
        )
    }
}

impl Model for Exploration {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        match start(self.bounds()) {
            Ok(world) => vec![world],
            Err(breach) => panic!("on the way to the start: {breach:?}"),
        }
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.extend(world.steps(self.bounds()));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let next = catch_unwind(AssertUnwindSafe(|| world.after(&step, &self.nature)));
        next.unwrap_or_else(|_| {
            let words = LAST_WORDS.with_borrow(Clone::clone);
            let rule = Rule::NoAssertion;
            Some(world.ended(Breach { rule, words }))
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("one leader a term", |_, world: &World| {
                world.keeps(Rule::OneLeader)
            }),
            Property::always("a leader has all that was committed", |_, world: &World| {
                world.keeps(Rule::NothingForgotten)
            }),
            Property::always("one vote a term", |_, world: &World| {
                world.keeps(Rule::OneVote)
            }),
            Property::always("durable before told", |_, world: &World| {
                world.keeps(Rule::DurableBeforeTold)
            }),
            Property::always("committed by a majority", |_, world: &World| {
                world.keeps(Rule::OnAMajority)
            }),
            Property::always("a leader commits by its own term", |_, world: &World| {
                world.keeps(Rule::ByItsOwnTerm)
            }),
            Property::always("the same entries everywhere", |_, world: &World| {
                world.keeps(Rule::SameEntries)
            }),
            Property::always(
                "a change begins behind what is agreed",
                |_, world: &World| world.keeps(Rule::KnowsWhatIsAgreed),
            ),
            Property::always("nobody is turned away", |_, world: &World| {
                world.keeps(Rule::LetIn)
            }),
            Property::always("no node stops itself", |_, world: &World| {
                world.keeps(Rule::NoAssertion)
            }),
        ];
        let sights = self.bounds().sights.iter();
        properties.extend(sights.map(|sight| sight.property()));
        properties
    }
}
