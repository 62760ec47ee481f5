//! Conditions: one aspect of a cluster each, with a reason and a sentence. The time of a condition
//! is that of its last change between yes, no and unknown; a new sentence alone moves nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest sentence that Kubernetes takes.
const MESSAGE_BYTES_MAX: usize = 32_768;

/// The aspects that a cluster is told about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConditionKind {
    /// All in one: it leads, traffic reaches the leader, and all pods are as the spec says.
    Ready,
    /// The operator is at work on it.
    Reconciling,
    /// The operator cannot go on without a person.
    Stalled,
    /// A majority agrees on one leader.
    LeaderElected,
    /// A majority of the members can be reached.
    QuorumAvailable,
    /// The leader's pod has the label that its Service selects by, and no other has.
    TrafficRouted,
    /// The witness of a pair answers those who have votes. Told where there is a witness only.
    WitnessReady,
}

impl ConditionKind {
    /// Those that every cluster is told about from its first visit on, in this order.
    pub const ALWAYS: [Self; 6] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::LeaderElected,
        Self::QuorumAvailable,
        Self::TrafficRouted,
    ];

    /// All that there can be, in the order in which they are told.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALWAYS.into_iter().chain([Self::WitnessReady])
    }

    /// Its type in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::LeaderElected => "LeaderElected",
            Self::QuorumAvailable => "QuorumAvailable",
            Self::TrafficRouted => "TrafficRouted",
            Self::WitnessReady => "WitnessReady",
        }
    }
}

/// The conditions of one status while they are written. Each kind that every cluster is told about
/// is there, if only as unknown.
#[derive(Clone, PartialEq, Debug)]
pub struct Conditions {
    told: Vec<Condition>,
    generation: Option<i64>,
    now: Time,
}

impl Conditions {
    /// Goes on from what the status said before; `generation` is that of the spec that is judged.
    #[must_use]
    pub fn since(before: &[Condition], generation: Option<i64>, now: Time) -> Self {
        let mut conditions = Self {
            told: Vec::new(),
            generation,
            now,
        };
        for kind in ConditionKind::ALWAYS {
            conditions.tell_of(kind, before);
        }
        conditions
    }

    /// Goes on from what was said of one kind, which is unknown if nothing was.
    pub fn tell_of(&mut self, kind: ConditionKind, before: &[Condition]) {
        let told = before.iter().find(|told| told.type_ == kind.name());
        let told = told.cloned().unwrap_or_else(|| Condition {
            type_: kind.name().to_owned(),
            status: "Unknown".to_owned(),
            reason: "NotYetSeen".to_owned(),
            message: "the operator has not looked yet".to_owned(),
            last_transition_time: self.now.clone(),
            observed_generation: self.generation,
        });
        self.told.push(told);
    }

    /// Says yes (`true`), no (`false`) or unknown, with a reason of one word and a sentence.
    pub fn say(&mut self, kind: ConditionKind, is: Option<bool>, reason: &str, message: &str) {
        let status = match is {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let told = self.told.iter_mut().find(|told| told.type_ == kind.name());
        let Some(told) = told else { return };
        if told.status != status {
            status.clone_into(&mut told.status);
            told.last_transition_time = self.now.clone();
        }
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
        reason.clone_into(&mut told.reason);
        message
            .get(..end)
            .unwrap_or_default()
            .clone_into(&mut told.message);
        told.observed_generation = self.generation;
    }

    /// What is said by now: yes, no, or `None` if that is unknown.
    #[must_use]
    pub fn is(&self, kind: ConditionKind) -> Option<bool> {
        let told = self.told.iter().find(|told| told.type_ == kind.name())?;
        match told.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        }
    }

    /// Whether that is so for this reason, of the spec that is judged.
    #[must_use]
    pub fn has_said(&self, kind: ConditionKind, reason: &str) -> bool {
        let mut told = self.told.iter();
        told.any(|told| {
            told.type_ == kind.name()
                && (told.status.as_str(), told.reason.as_str()) == ("True", reason)
                && told.observed_generation == self.generation
        })
    }

    /// What the status says from now on.
    #[must_use]
    pub fn told(self) -> Vec<Condition> {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn every_kind_is_told_from_the_first_visit_on() {
        let told = Conditions::since(&[], Some(1), at(1)).told();
        let kinds: Vec<_> = told.iter().map(|told| told.type_.as_str()).collect();
        assert_eq!(kinds, ConditionKind::ALWAYS.map(ConditionKind::name));
        assert!(told.iter().all(|told| told.status == "Unknown"));
    }

    #[test]
    fn what_not_every_cluster_has_is_told_where_it_is_asked_for() {
        let mut first = Conditions::since(&[], Some(1), at(1));
        first.say(ConditionKind::WitnessReady, Some(true), "Asked", "for once");
        assert_eq!(first.is(ConditionKind::WitnessReady), None);
        first.tell_of(ConditionKind::WitnessReady, &[]);
        first.say(ConditionKind::WitnessReady, Some(true), "Asked", "for once");
        let told = first.told();
        let mut second = Conditions::since(&told, Some(1), at(2));
        assert_eq!(second.is(ConditionKind::WitnessReady), None);
        second.tell_of(ConditionKind::WitnessReady, &told);
        assert_eq!(second.told(), told);
    }

    #[test]
    fn time_moves_with_the_answer_and_not_with_the_sentence() {
        let mut first = Conditions::since(&[], Some(1), at(1));
        first.say(ConditionKind::Ready, Some(true), "Led", "pod a-0 leads");
        let mut second = Conditions::since(&first.told(), Some(2), at(2));
        second.say(ConditionKind::Ready, Some(true), "Led", "pod a-1 leads");
        let told = second.told();
        let ready = |told: &[Condition]| told.first().cloned().unwrap();
        assert_eq!(ready(&told).last_transition_time, at(1));
        assert_eq!(ready(&told).message, "pod a-1 leads");
        assert_eq!(ready(&told).observed_generation, Some(2));
        let mut third = Conditions::since(&told, Some(2), at(3));
        third.say(ConditionKind::Ready, None, "NoMajority", "nobody answers");
        assert_eq!(ready(&third.told()).last_transition_time, at(3));
    }

    #[test]
    fn a_sentence_without_end_is_cut() {
        let mut conditions = Conditions::since(&[], None, at(1));
        let long = "ä".repeat(MESSAGE_BYTES_MAX);
        conditions.say(ConditionKind::Stalled, Some(true), "Long", &long);
        assert!(
            conditions
                .told()
                .iter()
                .all(|told| told.message.len() <= MESSAGE_BYTES_MAX)
        );
    }
}
