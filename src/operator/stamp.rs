//! Which operator makes the objects of a cluster, where operators differ.
//!
//! While operators are replaced by those of another version, or of another image for sidecars, two
//! kinds run at once, and each would make the StatefulSet what it thinks right: again and again,
//! and pods would be replaced each time. So the StatefulSet says what the operator is like that has
//! made it, and when that one was started. One that is of another kind and started earlier leaves
//! it alone, and routes traffic only. Operators of one kind do the same anyway.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;
use twox_hash::XxHash3_64;

use super::build::Defaults;
use crate::crd::OPERATOR_ANNOTATION;

/// When an operator was started, and what is special about it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Stamp {
    /// In milliseconds since 1970.
    started: u64,
    kind: String,
}

impl Stamp {
    /// That of an operator which starts now.
    pub(super) fn new(defaults: &Defaults, now: SystemTime) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("{version} {defaults:?}");
        let started = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            kind: format!("{version}-{:016x}", XxHash3_64::oneshot(text.as_bytes())),
        }
    }

    /// The stamp on a StatefulSet. One that cannot be read is none.
    pub(super) fn on(set: &StatefulSet) -> Option<Self> {
        let stamp = set
            .metadata
            .annotations
            .as_ref()?
            .get(OPERATOR_ANNOTATION)?;
        let (started, kind) = stamp.split_once('/')?;
        Some(Self {
            started: started.parse().ok()?,
            kind: kind.to_owned(),
        })
    }

    /// The stamp that this operator puts on a StatefulSet that has this one: the same one, if it is
    /// of its kind; `None` if it must leave it alone.
    pub(super) fn against(&self, found: Option<&Self>) -> Option<Self> {
        match found {
            Some(found) if found.kind == self.kind => Some(found.clone()),
            Some(found) if found > self => None,
            _ => Some(self.clone()),
        }
    }

    /// Puts it on an object, if that is a StatefulSet.
    pub(super) fn put_on(&self, object: &mut Value) {
        if object["kind"] == "StatefulSet" {
            let stamp = format!("{}/{}", self.started, self.kind);
            object["metadata"]["annotations"][OPERATOR_ANNOTATION] = stamp.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn stamp(image: &str, second: u64) -> Stamp {
        let defaults = Defaults {
            image: image.to_owned(),
            image_pull_policy: None,
        };
        Stamp::new(&defaults, UNIX_EPOCH + Duration::from_secs(second))
    }

    #[test]
    fn the_operator_that_started_last_has_it_its_way() {
        let (old, new) = (stamp("one", 1), stamp("two", 2));
        assert_eq!(new.against(Some(&old)).as_ref(), Some(&new));
        assert_eq!(old.against(Some(&new)), None);
        assert_eq!(old.against(None).as_ref(), Some(&old));
    }

    #[test]
    fn operators_of_one_kind_do_not_write_over_each_other() {
        let (first, second) = (stamp("one", 1), stamp("one", 2));
        assert_eq!(second.against(Some(&first)).as_ref(), Some(&first));
        assert_eq!(first.against(Some(&second)).as_ref(), Some(&second));
    }

    #[test]
    fn a_stamp_reads_as_it_is_written() {
        let mut set = json!({"kind": "StatefulSet", "metadata": {"name": "store"}});
        stamp("one", 7).put_on(&mut set);
        let set: StatefulSet = serde_json::from_value(set).unwrap();
        assert_eq!(Stamp::on(&set), Some(stamp("one", 7)));
        let mut service = json!({"kind": "Service", "metadata": {}});
        stamp("one", 7).put_on(&mut service);
        assert_eq!(service, json!({"kind": "Service", "metadata": {}}));
    }
}
