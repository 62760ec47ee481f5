//! The flags of a node that say who keeps the register of a pair (R17).

use kube::Client;

use super::exit::{Exit, Failed};
use crate::discovery::PodsError;
use crate::tls::Identity;
use crate::witness::{Object, Url, Witness, WitnessUrl};

/// One of two, or none.
#[derive(clap::Args, Debug)]
pub(super) struct WitnessFlags {
    /// Who keeps the register by which one of two nodes may go on alone: a `remember witness`, by
    /// http:// or, with --tls-cert, https://. Both nodes must name the same register: of two
    /// registers the pair goes by one, and whoever has the other never goes on alone. Without one a
    /// cluster of two loses its leader with either
    #[arg(
        long,
        env = "REMEMBER_WITNESS",
        value_name = "URL",
        hide_env_values = true
    )]
    #[arg(conflicts_with = "witness_object")]
    witness: Option<WitnessUrl>,
    /// The same, kept in a ConfigMap of the pod's namespace, which is there already. The pod's
    /// account needs `get` and `update` of this one name
    #[arg(
        long,
        env = "REMEMBER_WITNESS_OBJECT",
        value_name = "CONFIGMAP",
        hide_env_values = true
    )]
    #[arg(requires = "cluster", value_parser = object_name)]
    witness_object: Option<String>,
}

/// A name that an object of Kubernetes can have: a DNS subdomain (RFC 1123).
fn object_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().next_back()];
        ends.into_iter().all(|end| end.is_some_and(is_plain))
            && label.bytes().all(|byte| is_plain(byte) || byte == b'-')
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err("it is a name of an object: lower case letters, digits, - and .".to_owned());
    }
    Ok(text.to_owned())
}

impl WitnessFlags {
    /// How this node asks it, if there is one; `pod` is how the API server is asked, and the
    /// namespace.
    pub(super) fn witness(
        &self,
        pod: Result<Option<(&Client, &str)>, &PodsError>,
        identity: Option<&Identity>,
        allow_plain: bool,
    ) -> Result<Option<Witness>, Failed> {
        if let Some(url) = &self.witness {
            let url = Url::new(url.clone(), identity.cloned(), allow_plain);
            let url = url.map_err(|error| Exit::Usage.because(error.to_string()))?;
            return Ok(Some(Witness::Url(url)));
        }
        let Some(name) = &self.witness_object else {
            return Ok(None);
        };
        let pod = pod.map_err(|error| Exit::Usage.because(error.to_string()))?;
        let object = |(client, namespace): (&Client, &str)| {
            Witness::Object(Object::new(client.clone(), namespace, name))
        };
        Ok(pod.map(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_name_that_kubernetes_takes() {
        for name in ["a", "store-witness", "blue.store-witness", "0"] {
            assert_eq!(object_name(name).as_deref(), Ok(name));
        }
        let long = "a".repeat(254);
        for name in ["", "Store", "a_b", "-a", "a-", "a..b", ".a", "a/b", &long] {
            assert!(object_name(name).is_err(), "{name}");
        }
    }
}
