//! Whose cluster the pods are: who founds it, who belongs to it, and whether all of it is lost
//! (R13, R14).
//!
//! ```text
//!   all pods heard, all disks fresh, nothing recorded -----> epoch 1, founded by these disks
//!   disks of one cluster, nothing recorded ----------------> that cluster is taken over
//!   recorded founders with fresh disks --------------------> told that they found it
//!   other members than are recorded -----------------------> recorded anew
//!   all disks fresh, every recorded one proven gone -------> the next epoch, with nothing in it
//! ```
//!
//! In pods no node founds by itself: a cluster all of whose disks were emptied would begin again
//! with the tokens of its first day. So what is founded is written into the record of the cluster
//! first, by compare-and-set (R3), and only then told to anybody.
//!
//! A disk is *proven gone* if the pod or the claim that held it is gone, by its uid. Whatever else
//! is missing, cut off or silent may come back, and stops everything here: then a person decides,
//! by `remember recover`. Only a decision; [`super::founder`] carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pods::PodView;
use super::route::{Report, Reports};
use super::validate::Refusal;
use crate::consensus::{ClusterId, Epoch, Incarnation, MemberId, NodeId, Placed, Term};

/// A number of 64 bits as 16 hexadecimal digits: as a number most languages would round it.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(try_from = "String", into = "String")]
pub struct Hex(pub u64);

/// What is founded: recorded before anybody is told, and told as it is recorded
/// (`POST /v1/bootstrap`).
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Founding {
    /// The name of the cluster.
    pub cluster: Hex,
    /// The upper half of all its terms.
    pub epoch: u32,
    /// Who founds it.
    pub voters: Vec<Founder>,
}

/// One founder.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Founder {
    /// Its id.
    pub id: u64,
    /// Its disk.
    pub incarnation: Hex,
}

/// A voter of the newest configuration that was believed, and what holds its disk.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Voter {
    /// Its id.
    pub id: u64,
    /// Its disk.
    pub incarnation: Hex,
    /// What the disk goes with; `None` if that was never seen, so that it is never proven gone.
    pub disk: Option<Disk>,
}

/// What a disk goes with, by its uid.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Disk {
    /// A pod: its emptyDir.
    Pod(String),
    /// A PersistentVolumeClaim.
    Claim(String),
}

/// What the decision rests on.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    /// The pods, as the API server lists them.
    pub pods: &'a BTreeMap<Arc<str>, PodView>,
    /// How many there should be.
    pub replicas: u64,
    /// What their nodes say.
    pub reports: &'a Reports,
    /// Who belongs to the cluster, as far as is heard now.
    pub seated: Option<&'a (ClusterId, Placed)>,
    /// The uids of the claims of the pods, by node; `None` if their disks go with the pods.
    pub claims: Option<&'a BTreeMap<NodeId, String>>,
    /// What is recorded as founded.
    pub founding: Option<&'a Founding>,
    /// Who is recorded to vote.
    pub voters: &'a [Voter],
    /// The highest term that is to be seen anywhere.
    pub highest: Term,
    /// A name for a cluster that begins now.
    pub name: ClusterId,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// All is as it is recorded.
    Settled,
    /// Nothing yet, for this reason.
    Wait(String),
    /// Record this, if the record is still what it was.
    Record {
        founding: Founding,
        voters: Vec<Voter>,
        /// What is lost with it, if a new epoch begins.
        lost: Option<String>,
    },
    /// Tell these nodes that they found the cluster.
    Tell(Vec<NodeId>),
    /// Only a person can help.
    Stalled(Refusal),
}

impl Sight<'_> {
    /// Decides what is next.
    pub(super) fn next(&self) -> Next {
        let clusters: BTreeSet<_> = self
            .reports
            .values()
            .filter_map(|one| one.cluster)
            .collect();
        match (self.founding, clusters.len()) {
            (None, 0) => self.begin(),
            (None, 1) => self.take_over(),
            (None, _) => Next::Stalled(differ(&clusters)),
            (Some(founding), _) => self.go_on(founding, &clusters),
        }
    }

    /// Nothing is recorded, and no disk that is heard belongs to a cluster.
    fn begin(&self) -> Next {
        let unheard = |id: &&NodeId| id.0 > self.replicas && !self.reports.contains_key(id);
        let claims = self.claims.iter().flat_map(|claims| claims.keys());
        if let Some(id) = claims.into_iter().find(unheard) {
            return Next::Stalled(Refusal {
                reason: "DisksUnproven",
                sentence: format!(
                    "node {id} has a volume of a cluster that had this name before, and no pod: \
                     scale up to it to take that cluster over, or delete its claim"
                ),
            });
        }
        if self.highest == Term::default() {
            return self.found(Epoch(1), None);
        }
        if let Some(others) = self.others() {
            return Next::Wait(others);
        }
        let lost = "the record of the cluster is lost, and so are all its disks: what was written \
                    is gone, and an epoch begins with nothing, its tokens above all earlier ones";
        self.found(Epoch(1), Some(lost.to_owned()))
    }

    /// Says which pods there are beside those that are heard.
    fn others(&self) -> Option<String> {
        let others = self.pods.values().filter(|pod| {
            let id = pod.id.filter(|id| (1..=self.replicas).contains(&id.0));
            let heard = id.and_then(|id| self.reports.get(&id));
            heard.is_none_or(|report| report.pod != pod.uid)
        });
        let others: Vec<_> = others.map(|pod| pod.name.to_string()).collect();
        (!others.is_empty()).then(|| {
            let others = others.join(", ");
            format!("pods whose disks are not known are there: {others}")
        })
    }

    /// Founds a cluster of all pods, in this epoch or the next that was never used.
    fn found(&self, epoch: Epoch, lost: Option<String>) -> Next {
        let ids: BTreeSet<_> = (1..=self.replicas).map(NodeId).collect();
        let missing: Vec<_> = ids
            .iter()
            .filter(|id| !self.reports.contains_key(id))
            .map(ToString::to_string)
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Next::Wait(format!(
                "a cluster is founded once all its nodes are heard; not heard of: {missing}"
            ));
        }
        let used = self.highest.epoch();
        let is_used = self.highest > Term::default();
        let after = Epoch(if is_used { used.0 + 1 } else { 0 });
        if epoch.max(after) > Epoch::MAX {
            return Next::Stalled(Refusal {
                reason: "EpochsUsedUp",
                sentence: format!(
                    "term {} was seen, behind which no epoch is left: correct the annotation, the \
                     status or the fence that says it",
                    self.highest
                ),
            });
        }
        let founders = ids.into_iter().filter_map(|id| {
            let report = self.reports.get(&id)?;
            Some((id, report))
        });
        let founders: Vec<_> = founders.collect();
        let founding = Founding {
            cluster: Hex(self.name.0),
            epoch: epoch.max(after).0,
            voters: founders
                .iter()
                .map(|(id, report)| Founder {
                    id: id.0,
                    incarnation: Hex(report.incarnation.0),
                })
                .collect(),
        };
        let voters = founders.iter().map(|(id, report)| Voter {
            id: id.0,
            incarnation: Hex(report.incarnation.0),
            disk: self.disk(*id, report),
        });
        Next::Record {
            voters: voters.collect(),
            founding,
            lost,
        }
    }

    /// Records a cluster that was there before its record, as volumes outlive a RememberCluster, or
    /// that somebody has recovered.
    fn take_over(&self) -> Next {
        let Some((cluster, (_, seats))) = self.seated else {
            if self.all_heard() {
                return Next::Stalled(Refusal {
                    reason: "QuorumLost",
                    sentence: "the disks of the pods belong to a cluster of which a majority is \
                               missing; bring the other volumes back, or see \"When a majority is \
                               lost for ever\" in the manual"
                        .to_owned(),
                });
            }
            return Next::Wait(
                "the disks of the pods belong to a cluster of which too few voters are heard"
                    .to_owned(),
            );
        };
        let terms = self.reports.values();
        let of_it = terms.filter(|report| report.cluster == Some(*cluster));
        let newest = of_it.map(|report| report.term).max().unwrap_or_default();
        let voters = seats.voters().map(|voter| Founder {
            id: voter.id.0,
            incarnation: Hex(voter.incarnation.0),
        });
        Next::Record {
            founding: Founding {
                cluster: Hex(cluster.0),
                epoch: newest.epoch().0,
                voters: voters.collect(),
            },
            voters: self.seated_voters(),
            lost: None,
        }
    }

    fn go_on(&self, founding: &Founding, clusters: &BTreeSet<ClusterId>) -> Next {
        let recorded = ClusterId(founding.cluster.0);
        let founders = founding.voters.iter().map(Founder::member);
        let waiting: Vec<_> = founders
            .filter(|founder| self.is_fresh(*founder))
            .map(|founder| founder.id)
            .collect();
        if !waiting.is_empty() {
            return Next::Tell(waiting);
        }
        if let Some((cluster, (since, _))) = self.seated
            && *cluster != recorded
            && (since.term.epoch().0 > founding.epoch || self.epoch_of(*cluster) > founding.epoch)
            && !self.majority_stays_in(recorded)
        {
            return self.take_over();
        }
        if clusters.iter().any(|cluster| *cluster != recorded) {
            let all = clusters.iter().copied().chain([recorded]).collect();
            return Next::Stalled(differ(&all));
        }
        if clusters.is_empty() {
            return self.begin_again(founding);
        }
        let voters = self.seated_voters();
        if !voters.is_empty() && voters != self.voters {
            return Next::Record {
                founding: founding.clone(),
                voters,
                lost: None,
            };
        }
        self.lose()
    }

    /// Whether most of the recorded voters are still what they were.
    fn majority_stays_in(&self, recorded: ClusterId) -> bool {
        let stays = |voter: &&Voter| {
            let report = self.reports.get(&NodeId(voter.id));
            report.is_some_and(|report| {
                report.incarnation.0 == voter.incarnation.0 && report.cluster == Some(recorded)
            })
        };
        self.voters.iter().filter(stays).count() * 2 > self.voters.len()
    }

    /// All disks that are heard are fresh, and none of them founds anything.
    fn begin_again(&self, founding: &Founding) -> Next {
        // That nobody is heard each operator finds for itself, and tells by other conditions.
        if !self.all_heard() {
            return Next::Settled;
        }
        if let Some(others) = self.others() {
            return Next::Wait(others);
        }
        let left: Vec<_> = self
            .voters
            .iter()
            .filter(|voter| !self.is_gone(voter))
            .collect();
        if !left.is_empty() || self.voters.is_empty() {
            return Next::Stalled(unproven(&left));
        }
        let (epoch, next) = (founding.epoch, founding.epoch.saturating_add(1));
        let lost = format!(
            "every disk of epoch {epoch} is gone, and with them all that was written; epoch {next} \
             begins with nothing, its tokens are above all earlier ones"
        );
        self.found(Epoch(next), Some(lost))
    }

    /// Says what is left if so many voters run on fresh disks that those of the others can agree on
    /// nothing any more. One of two can, if its witness lets it: a node that says that it was told
    /// of none will never ask, whatever the spec says by now (R17).
    fn lose(&self) -> Next {
        let is_lost = |voter: &&Voter| {
            let report = self.reports.get(&NodeId(voter.id));
            report.is_some_and(|report| report.incarnation.0 != voter.incarnation.0)
                && self.is_gone(voter)
        };
        let (lost, left): (Vec<_>, Vec<_>) = self.voters.iter().partition(is_lost);
        let all = self.voters.len();
        if all == 0 || lost.len() * 2 < all {
            return Next::Settled;
        }
        let gone = list(lost.iter().map(|voter| voter.id));
        let was_told = |left: &Voter| {
            let report = self.reports.get(&NodeId(left.id));
            report.is_some_and(|report| {
                report.incarnation.0 == left.incarnation.0 && report.witness.is_some()
            })
        };
        if let ([_], [left]) = (&lost[..], &left[..])
            && was_told(left)
        {
            return Next::Wait(format!(
                "the disk of node {gone} is gone, and node {} goes on without it once the witness \
                 lets it; if that does not, bring the disk back, or see \"When a majority is lost \
                 for ever\" in the manual",
                left.id
            ));
        }
        Next::Stalled(Refusal {
            reason: "QuorumLost",
            sentence: format!(
                "the disks of nodes {gone} are gone, {} of {all} voters: the others can agree on \
                 nothing without them, and may hold what was written; bring those disks back, or \
                 see \"When a majority is lost for ever\" in the manual",
                lost.len()
            ),
        })
    }

    fn all_heard(&self) -> bool {
        (1..=self.replicas).all(|id| self.reports.contains_key(&NodeId(id)))
    }

    fn is_fresh(&self, member: MemberId) -> bool {
        let report = self.reports.get(&member.id);
        report.is_some_and(|report| {
            report.cluster.is_none() && report.incarnation == member.incarnation
        })
    }

    /// The epoch in which a cluster is, as its nodes say.
    fn epoch_of(&self, cluster: ClusterId) -> u32 {
        let all = self.reports.values();
        let its = all.filter(|report| report.cluster == Some(cluster));
        its.map(|report| report.term.epoch().0).max().unwrap_or(0)
    }

    /// Those who vote by what is believed now, with their disks.
    fn seated_voters(&self) -> Vec<Voter> {
        let voters = self
            .seated
            .into_iter()
            .flat_map(|(_, (_, seats))| seats.voters());
        let voter = |member: MemberId| {
            let report = self.reports.get(&member.id);
            let report = report.filter(|report| report.incarnation == member.incarnation);
            let mut known = self.voters.iter();
            let known = known.find(|voter| voter.member() == member);
            let seen = report.and_then(|report| self.disk(member.id, report));
            Voter {
                id: member.id.0,
                incarnation: Hex(member.incarnation.0),
                disk: seen.or_else(|| known.and_then(|voter| voter.disk.clone())),
            }
        };
        voters.map(voter).collect()
    }

    /// What holds the disk of a node that was heard.
    fn disk(&self, id: NodeId, report: &Report) -> Option<Disk> {
        match self.claims {
            None => Some(Disk::Pod(report.pod.to_string())),
            Some(claims) => claims.get(&id).cloned().map(Disk::Claim),
        }
    }

    fn is_gone(&self, voter: &Voter) -> bool {
        match &voter.disk {
            None => false,
            Some(Disk::Pod(uid)) => self.pods.values().all(|pod| *pod.uid != **uid),
            Some(Disk::Claim(uid)) => self
                .claims
                .is_some_and(|claims| claims.values().all(|claim| claim != uid)),
        }
    }
}

fn differ(clusters: &BTreeSet<ClusterId>) -> Refusal {
    let clusters: Vec<_> = clusters
        .iter()
        .map(|one| format!("{:016x}", one.0))
        .collect();
    Refusal {
        reason: "DisksDiffer",
        sentence: format!(
            "the disks of the pods, and the record, belong to different clusters ({}); see by \
             /v1/watch of each which is which, and delete the claims of those that should not \
             count, and then their pods",
            clusters.join(", ")
        ),
    }
}

fn unproven(left: &[&Voter]) -> Refusal {
    let nodes = list(left.iter().map(|voter| voter.id));
    Refusal {
        reason: "DisksUnproven",
        sentence: format!(
            "all pods run on fresh disks, but those of nodes {nodes} are not proven gone: their \
             pods or claims are still there, or were never seen; delete those claims if what is on \
             them shall be lost, or bring them back"
        ),
    }
}

fn list(ids: impl Iterator<Item = u64>) -> String {
    let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
    ids.join(", ")
}

impl Founder {
    fn member(&self) -> MemberId {
        MemberId {
            id: NodeId(self.id),
            incarnation: Incarnation(self.incarnation.0),
        }
    }
}

impl Voter {
    pub(super) fn member(&self) -> MemberId {
        MemberId {
            id: NodeId(self.id),
            incarnation: Incarnation(self.incarnation.0),
        }
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.to_string()
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

#[cfg(test)]
#[path = "founding_test.rs"]
mod tests;
