//! What goes wrong between the operator and Kubernetes, and whether trying again can help.

use std::time::Duration;

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
    /// The refusal in it, if only a person can help: the API server's own among them.
    #[must_use]
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal.clone()),
            Self::Kubernetes(kube::Error::Api(status)) if is_invalid(status.code) => {
                Some(Refusal {
                    reason: "Invalid",
                    sentence: format!(
                        "Kubernetes refuses what spec asks for: {}; correct the spec",
                        status.message
                    ),
                })
            }
            Self::Kubernetes(kube::Error::Api(status)) if status.code == 403 => Some(Refusal {
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

    /// One word for metrics.
    #[must_use]
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Kubernetes(kube::Error::Api(_)) => "Api",
            Self::Kubernetes(_) => "Unreachable",
            Self::Silent(_) => "Silent",
            Self::HandOver(_) => "HandOver",
            Self::Nameless(_) => "Nameless",
            Self::Certificates(_) => "Certificates",
        }
    }
}

/// Bad requests and objects that fail their checks; a conflict is neither.
fn is_invalid(code: u16) -> bool {
    matches!(code, 400 | 422)
}

fn sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
