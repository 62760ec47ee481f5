//! What goes wrong between the operator and Kubernetes, and whether trying again can help.

use std::time::Duration;

use kube::core::Status;

use super::validate::Refusal;

/// Why a cluster is not as it should be yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The spec has to be mended by a person.
    #[error("{}", .0.sentence)]
    Refused(Refusal),
    /// The API server refuses, or cannot be reached.
    #[error("{}", sentence(.0))]
    Kubernetes(#[from] kube::Error),
    /// The API server refuses an object that was made of the spec.
    #[error("{}", sentence(.0))]
    NotApplied(kube::Error),
    /// Something of a cluster that had the name before is still there.
    #[error("{0} of the cluster that had this name before is still being removed")]
    Predecessor(String),
    /// The record of the cluster cannot be made.
    #[error("the record of the cluster: {0}")]
    Record(String),
    /// No answer.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The leader did not hand over.
    #[error("the leader does not hand over: {0}")]
    HandOver(String),
    /// What is to be written cannot be: a fault of this program.
    #[error("an object without a name or a kind: {0}")]
    Nameless(String),
    /// Certificates cannot be made, or those that there are cannot be used.
    #[error("the certificates of the cluster: {0}")]
    Certificates(String),
}

impl Trouble {
    /// What the API server says of an object that was made of the spec.
    pub(super) fn into_refused(self) -> Self {
        match self {
            Self::Kubernetes(error @ kube::Error::Api(_)) => Self::NotApplied(error),
            other => other,
        }
    }

    /// Whether somebody else was faster.
    pub(super) fn is_conflict(&self) -> bool {
        // What a failed test of a patch is called.
        let is_conflict = |code| matches!(code, 409 | 422);
        matches!(self, Self::Kubernetes(kube::Error::Api(status)) if is_conflict(status.code))
    }

    /// Whether an object has changed since what was to be written was made of it.
    pub(super) fn is_outdated(&self) -> bool {
        matches!(self, Self::NotApplied(kube::Error::Api(status)) if status.code == 409)
    }

    /// The refusal in it, if only a person can help: the API server's own among them.
    #[must_use]
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal.clone()),
            Self::NotApplied(kube::Error::Api(status)) if is_invalid(status) => Some(Refusal {
                reason: "Invalid",
                sentence: format!(
                    "Kubernetes refuses what spec asks for: {}; correct the spec",
                    status.message
                ),
            }),
            Self::NotApplied(kube::Error::Api(status)) if status.code == 403 => Some(Refusal {
                reason: "Forbidden",
                sentence: format!(
                    "the operator may not do what spec asks for: {}; give its account the right, \
                     or change the policy that refuses",
                    status.message
                ),
            }),
            _ => None,
        }
    }

    /// One word, for conditions and metrics.
    #[must_use]
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Kubernetes(kube::Error::Api(_)) | Self::NotApplied(_) => "Api",
            Self::Kubernetes(_) => "Unreachable",
            Self::Predecessor(_) => "Predecessor",
            Self::Record(_) => "Record",
            Self::Silent(_) => "Silent",
            Self::HandOver(_) => "HandOver",
            Self::Nameless(_) => "Nameless",
            Self::Certificates(_) => "Certificates",
        }
    }
}

/// Bad requests and objects that fail their checks; a conflict is neither. A field that no object
/// of a kind has is found before those checks, and is called an error of the server itself.
fn is_invalid(status: &Status) -> bool {
    matches!(status.code, 400 | 422) || status.message.contains("not declared in schema")
}

fn sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(code: u16, message: &str) -> Option<&'static str> {
        let status = Status::failure(message, "").with_code(code);
        let trouble = Trouble::from(kube::Error::Api(status.boxed())).into_refused();
        trouble.refusal().map(|refusal| refusal.reason)
    }

    #[test]
    fn what_a_person_has_to_mend_is_told_from_what_passes() {
        assert_eq!(
            applied(422, "spec.replicas: Invalid value"),
            Some("Invalid")
        );
        assert_eq!(applied(400, "unknown field"), Some("Invalid"));
        let unknown = "failed to create typed patch object: .spec.x: field not declared in schema";
        assert_eq!(applied(500, unknown), Some("Invalid"));
        assert_eq!(applied(403, "forbidden: exceeded quota"), Some("Forbidden"));
        for (code, message) in [(409, "conflict"), (429, "slow down"), (500, "etcd is away")] {
            assert_eq!(applied(code, message), None, "{code} {message}");
        }
        let outdated = Status::failure("the object has been modified", "").with_code(409);
        let outdated = Trouble::from(kube::Error::Api(outdated.boxed()));
        assert!(!outdated.is_outdated() && outdated.into_refused().is_outdated());
        // Of anything but the objects that are made of the spec, nobody is to blame.
        let status = Status::failure("the test failed", "").with_code(422);
        let conflict = Trouble::from(kube::Error::Api(status.boxed()));
        assert!(conflict.is_conflict() && conflict.refusal().is_none());
    }
}
