//! Asks the witness of a pair for the engine (R17), beside the node's loop, which never waits.
//!
//! ```text
//!   driver --(request, ask)--> here --ask--> Witness
//!     ^---(request, answer)----+  ^---answer, or a sentence---+
//! ```
//!
//! One request at a time, each made once. While the engine asks for nothing, the register is read
//! from time to time, first when the node starts, so that everybody sees whether it answers. What
//! is read then is told to nobody: the engine reads for itself.
//!
//! A register that was made by another entry than the pair agreed on says nothing to the engine
//! (R17), so it counts as silent here. That is said once it was found twice: a node that is behind
//! learns of the entry a moment after the register has it.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::context::{Context, Event};
use super::handle::Shared;
use super::task::Task;
use crate::consensus::{Answer, Ask, ClusterId, Index, Input};
use crate::witness::Witness;

/// After how long the register is read again that answered, or that did not.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const LOOK_SOON: Duration = Duration::from_secs(3);

/// What became of the last request to the witness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WitnessState {
    /// It was answered.
    Answers,
    /// It was not, or none was answered yet, or it is another register than was agreed on: while
    /// that lasts, no node goes on alone.
    Silent,
}

/// A request of the engine, which has one under way at most.
type Asked = (u64, Ask);

/// The driver's way to whoever asks the witness.
pub(super) struct Messenger(mpsc::Sender<Asked>);

impl Messenger {
    /// Passes a request on. Where nobody can be asked, that is the answer: it is a no (R17).
    pub(super) fn pass_on(&self, request: u64, ask: Ask) -> Option<Input> {
        let sent = self.0.try_send((request, ask));
        let answer = Answer::Unknown;
        sent.is_err().then_some(Input::Witness { request, answer })
    }
}

/// Begins to ask the witness, if there is one, for whoever has the messenger.
pub(super) fn begin(
    context: &Rc<Context>,
    shared: &Rc<Shared>,
    cluster: ClusterId,
) -> (Messenger, Option<Task<()>>) {
    let (asked, asking) = mpsc::channel(1);
    let witness = context.settings.witness.clone().map(|witness| {
        let (context, shared) = (Rc::clone(context), Rc::clone(shared));
        Task::of(carry(witness, cluster, asking, context, shared))
    });
    (Messenger(asked), witness)
}

/// Asks for the engine until the driver is gone.
async fn carry(
    witness: Witness,
    cluster: ClusterId,
    mut asked: mpsc::Receiver<Asked>,
    context: Rc<Context>,
    shared: Rc<Shared>,
) {
    let mut look_at = Instant::now();
    let mut told = String::new();
    // One that is read and not changed is of no use: what is read then is no answer.
    let mut unchanged_until = look_at;
    let mut found_before = None;
    loop {
        let look = async {
            sleep_until(look_at).await;
            witness.ask(cluster, &Ask::Read).await
        };
        let (request, swaps, answer) = tokio::select! {
            biased;
            // A look that is under way is dropped for it.
            asked = asked.recv() => {
                let Some((request, ask)) = asked else {
                    return;
                };
                debug!(request, ?ask, "asking the witness");
                let swaps = ask != Ask::Read;
                (Some(request), swaps, witness.ask(cluster, &ask).await)
            }
            answer = look => (None, false, answer),
        };
        let now = Instant::now();
        if swaps {
            unchanged_until = answer.as_ref().map_or(now + LOOK_AGAIN, |_| now);
        }
        let found = answer.as_ref().ok().and_then(|it| another(it, &shared));
        let is_sure = found.is_some() && found == found_before;
        let why = match (&answer, found) {
            (Err(why), _) => Some(why.clone()),
            (Ok(_), Some(found)) if is_sure => Some(found.to_string()),
            (Ok(_), _) => None,
        };
        if why.is_some() || (found.is_none() && unchanged_until <= now) {
            hear(&witness, &shared, why.as_ref(), &mut told);
        }
        let is_well = answer.is_ok() && found.is_none();
        look_at = now + if is_well { LOOK_AGAIN } else { LOOK_SOON };
        if answer.is_ok() {
            found_before = found;
        }
        if let Some(request) = request {
            let answer = answer.unwrap_or(Answer::Unknown);
            debug!(request, ?answer, "the witness");
            context.tell(Event::Witness(request, answer)).await;
        }
    }
}

/// A register that was found in the place of the one that was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Another {
    /// By which entry it was made.
    made: Index,
    /// By which the other one was, as far as this node knows; no other was, if `None`.
    agreed: Option<Index>,
}

impl fmt::Display for Another {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made, agreed } = self;
        write!(
            f,
            "this register is another than the one that the pair agreed on: it was made by entry \
             {}, and not by ",
            made.0
        )?;
        match agreed {
            Some(agreed) => write!(f, "{}", agreed.0)?,
            None => write!(f, "any that this node has")?,
        }
        write!(
            f,
            "; give both nodes the same one, or if they have it, remove its file or its key, and \
             the leader makes it anew"
        )
    }
}

/// Whether what was answered is another register than the newest configuration names.
fn another(answer: &Answer, shared: &Shared) -> Option<Another> {
    let Answer::Holds(Some(held)) = answer else {
        return None;
    };
    let configuration = shared.configuration.borrow();
    let agreed = configuration.as_ref()?.1.register();
    let made = held.made;
    (agreed != Some(made)).then_some(Another { made, agreed })
}

/// Lets others see whether it answers; the log, once for each reason why it does not.
fn hear(witness: &Witness, shared: &Shared, error: Option<&String>, told: &mut String) {
    let state = match error {
        None => WitnessState::Answers,
        Some(_) => WitnessState::Silent,
    };
    let changed = shared.witness.send_if_modified(|known| {
        let before = known.replace(state);
        before != Some(state)
    });
    match error {
        None if changed => info!(%witness, "the witness answers"),
        Some(error) if error != told => {
            warn!(%witness, error, "the witness does not answer, so no node goes on alone");
        }
        _ => {}
    }
    *told = error.cloned().unwrap_or_default();
}
