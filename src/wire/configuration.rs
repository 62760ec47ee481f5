//! A configuration and its encoded twin, both ways.

use std::collections::BTreeMap;

use super::body;
use super::malformed::{Malformed, required};
use super::message::position;
use crate::consensus::{Configuration, Incarnation, Index, MemberId, NodeId, Position, Seat};

impl From<&Configuration> for body::Configuration {
    fn from(configuration: &Configuration) -> Self {
        let seat = |(member, seat): (MemberId, Seat)| body::Seat {
            member: Some(member.into()),
            since: Some(seat.since.into()),
            votes: seat.votes,
            outgoing: seat.outgoing,
        };
        Self {
            seats: configuration.seats().map(seat).collect(),
            register: configuration.register().map(|made| made.0),
        }
    }
}

impl TryFrom<body::Configuration> for Configuration {
    type Error = Malformed;

    fn try_from(twin: body::Configuration) -> Result<Self, Malformed> {
        let mut seats = BTreeMap::new();
        for seat in twin.seats {
            let member = required(seat.member, "Configuration.seats.member")?;
            let member = member_id(&member, "Configuration.seats.member.incarnation")?;
            let (votes, outgoing) = (seat.votes, seat.outgoing);
            let seat = Seat {
                since: position(seat.since, "Configuration.seats.since")?,
                votes,
                outgoing,
            };
            if seats.insert(member, seat).is_some() {
                let fault = format!("name node {} twice, on one disk", member.id);
                return Err(Malformed::new("Configuration.seats", fault));
            }
        }
        let register = twin.register.map(Index);
        if register == Some(Position::START.index) {
            let fault = "is made by no entry";
            return Err(Malformed::new("Configuration.register", fault));
        }
        let none = || Malformed::new("Configuration.seats", "are none of voters");
        let configuration = Self::new(seats).ok_or_else(none)?;
        Ok(configuration.with_register(register))
    }
}

impl From<MemberId> for body::MemberId {
    fn from(member: MemberId) -> Self {
        Self {
            id: member.id.0,
            incarnation: Some(member.incarnation.0),
        }
    }
}

/// Reads who a member is; `field` is its disk's.
pub(super) fn member_id(twin: &body::MemberId, field: &'static str) -> Result<MemberId, Malformed> {
    Ok(MemberId {
        id: NodeId(twin.id),
        incarnation: Incarnation(required(twin.incarnation, field)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(id: u64, votes: bool) -> body::Seat {
        body::Seat {
            member: Some(body::MemberId {
                id,
                incarnation: Some(id),
            }),
            since: Some(body::Position::default()),
            votes,
            outgoing: false,
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let refusal =
            |twin: body::Configuration| Configuration::try_from(twin).unwrap_err().to_string();
        let complaint = |seats: &[body::Seat]| {
            refusal(body::Configuration {
                seats: seats.to_vec(),
                register: None,
            })
        };
        let by_no_entry = body::Configuration {
            seats: vec![seat(1, true)],
            register: Some(0),
        };
        let mut nobody = seat(1, true);
        nobody.member = None;
        let mut never = seat(1, true);
        never.since = None;
        let cases = [
            (complaint(&[]), "Configuration.seats are none of voters"),
            (
                complaint(&[seat(1, false)]),
                "Configuration.seats are none of voters",
            ),
            (
                complaint(&[seat(1, true), seat(1, false)]),
                "Configuration.seats name node 1 twice, on one disk",
            ),
            (
                complaint(&[nobody]),
                "Configuration.seats.member is missing",
            ),
            (complaint(&[never]), "Configuration.seats.since is missing"),
            (
                refusal(by_no_entry),
                "Configuration.register is made by no entry",
            ),
        ];
        for (said, due) in cases {
            assert_eq!(said, due);
        }
    }
}
