//! What has to happen somewhere in a world: a check in which nothing happens proves nothing.

use remember::consensus::Word;
use stateright::Property;

use super::bounds::Start;
use super::exploration::Exploration;
use super::start::member;
use super::world::World;

/// Something that is worth seeing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sight {
    Elected,
    Written,
    Changed,
    ElectedAfterCrash,
    LedJointly,
    Alone,
    PairAgain,
    Supplied,
    Exchanged,
    LedBySupply,
}

impl Sight {
    /// That it can be seen.
    pub(crate) fn property(self) -> Property<Exploration> {
        match self {
            Self::Elected => Property::sometimes("a leader is elected", elected),
            Self::Written => Property::sometimes("a write is committed", written),
            Self::Changed => Property::sometimes("a change is completed", changed),
            Self::ElectedAfterCrash => {
                Property::sometimes("a leader is elected after a crash", elected_after_crash)
            }
            Self::LedJointly => {
                Property::sometimes("a node leads while a change is joint", led_jointly)
            }
            Self::Alone => Property::sometimes("one of a pair goes on alone", alone),
            Self::Supplied => Property::sometimes("a candidate takes what it lacks", supplied),
            Self::Exchanged => {
                Property::sometimes("a candidate gives up its log for another", exchanged)
            }
            Self::LedBySupply => {
                Property::sometimes("a leader is elected after that", led_by_supply)
            }
            Self::PairAgain => {
                Property::sometimes("a register is reset after it named one", pair_again)
            }
        }
    }
}

fn elected(model: &Exploration, world: &World) -> bool {
    let first = u64::from(model.bounds().start != Start::Fresh);
    world.leaders().any(|place| place.term.0 > first)
}

fn written(_: &Exploration, world: &World) -> bool {
    world.ledger.has_command
}

fn changed(model: &Exploration, world: &World) -> bool {
    let (bounds, agreed) = (model.bounds(), &world.ledger.agreed);
    let votes = |id: &u64| agreed.lets_vote(member(*id));
    !agreed.is_joint() && bounds.promoted.iter().all(votes) && !bounds.removed.iter().any(votes)
}

fn elected_after_crash(_: &Exploration, world: &World) -> bool {
    let crashed_in = world.ledger.crashed_in;
    let mut leaders = world.leaders();
    leaders.any(|place| crashed_in.is_some_and(|crashed| place.term > crashed))
}

fn alone(_: &Exploration, world: &World) -> bool {
    world.ledger.agreed.voters().count() == 1
}

fn pair_again(_: &Exploration, world: &World) -> bool {
    let held = world.ledger.register.0;
    held.is_some_and(|held| held.number > 2 && matches!(held.word, Word::Pair(..)))
}

fn supplied(_: &Exploration, world: &World) -> bool {
    world.ledger.has_supplied
}

fn exchanged(_: &Exploration, world: &World) -> bool {
    world.ledger.has_exchanged
}

fn led_by_supply(model: &Exploration, world: &World) -> bool {
    let mut leaders = world.leaders();
    let waits = |member| {
        (0..)
            .zip(&world.places)
            .any(|(at, place)| place.member == member && model.bounds().waits_in_vain(at))
    };
    world.ledger.has_supplied && leaders.any(|place| waits(place.member))
}

fn led_jointly(_: &Exploration, world: &World) -> bool {
    let mut leaders = world.leaders();
    leaders.any(|place| place.node.configuration().is_joint())
}
